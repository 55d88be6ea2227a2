"""Which front end serves a call.

Front ends stand above the tracing machinery and above calls: torch's calls for gradients. So what
there is of them is handed down to this module (by :mod:`farfunc._wiring`), and each is loaded when
it is first needed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from farfunc_protocol.pytree import flatten
from farfunc_protocol.transforms import Jvp, Transform, Vjp

from ._tracing import FrontEnd, current_trace

__all__ = [
    "LocalTransforms",
    "add_front_end",
    "front_end_for",
    "front_end_of_call",
    "local_transforms",
    "numpy_front_end",
    "torch_front_end",
]

_loaders: dict[str, Callable[[], Any]] = {}
_loaded: dict[str, Any] = {}


def add_front_end(name: str, load: Callable[[], FrontEnd]) -> None:
    """Say how a front end is loaded."""
    _loaders[name] = load


def _front_end(name: str) -> Any:
    if name not in _loaded:
        _loaded[name] = _loaders[name]()
    return _loaded[name]


def torch_front_end() -> FrontEnd:
    """The torch front end; imports torch if nobody has yet."""
    return _front_end("torch")


def numpy_front_end() -> FrontEnd:
    """The front end that needs no torch."""
    return _front_end("numpy")


def front_end_for(func: Callable[..., Any], leaves: Sequence[Any]) -> FrontEnd:
    """Choose the front end of a call.

    torch's, if an argument leaf is a tensor, or the function belongs to torch (``torch.sin``, an
    ``nn.Module``) or closes over something that does; NumPy's otherwise. Where a torch function
    is found only as the trace runs, :class:`NeedsTorch` corrects the choice.
    """
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "Tensor"):  # not imported, or being imported right now
        return numpy_front_end()
    tensor = torch.Tensor
    if any(isinstance(leaf, tensor) for leaf in leaves) or _belongs_to_torch(func, torch, 3):
        return torch_front_end()
    return numpy_front_end()


def front_end_of_call(func: Callable[..., Any], arguments: Any) -> FrontEnd:
    """That of the running trace; outside of one, that of a call with these arguments."""
    trace = current_trace()
    return front_end_for(func, flatten(arguments)[0]) if trace is None else trace.front_end


class LocalTransforms(Protocol):
    """torch.func's own transforms."""

    def apply_locally(
        self, transform: Transform, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call ``func`` under the transform of the same name."""
        ...

    def hold_locally(
        self,
        transform: Jvp | Vjp,
        func: Callable[..., Any],
        primals: tuple[Any, ...],
        finish: Callable[[Any, Any], Any],
    ) -> Any:
        """vjp or linearize; ``finish`` as for :func:`farfunc._held.hold`."""
        ...


def local_transforms() -> LocalTransforms | None:
    """torch.func's own transforms where torch itself transforms or traces the running code; else None."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "_C"):
        return None
    inside_transform = torch._C._functorch.peek_interpreter_stack() is not None
    if current_trace() is None and not inside_transform:
        if not torch._C._len_torch_dispatch_stack() and not torch.compiler.is_compiling():
            return None  # the common case, told without loading the torch front end
    elif not inside_transform:
        return None
    return _front_end("torch").local_transforms()


def _belongs_to_torch(thing: Any, torch: Any, depth: int) -> bool:
    if isinstance(thing, torch.Tensor | torch.nn.Module):
        return True
    if not callable(thing) or depth == 0:
        return False
    if (getattr(thing, "__module__", None) or "").partition(".")[0] == "torch" or _is_torch_builtin(thing):
        return True
    inside = [getattr(thing, "__self__", None), getattr(thing, "func", None), *getattr(thing, "args", ())]
    for cell in getattr(thing, "__closure__", None) or ():
        try:
            inside.append(cell.cell_contents)
        except ValueError:  # a variable that is assigned later
            continue
    return any(_belongs_to_torch(item, torch, depth - 1) for item in inside if item is not None)


def _is_torch_builtin(thing: Any) -> bool:
    # torch.sin and Tensor.sin are C functions without a module of their own.
    owner = getattr(thing, "__self__", None) or getattr(thing, "__objclass__", None)
    return (getattr(owner, "__module__", None) or getattr(type(owner), "__module__", None) or "").startswith("torch")
