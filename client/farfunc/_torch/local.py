"""Where torch itself transforms or traces the code around a call, the call becomes part of that.

Inside ``torch.func.vmap(...)``, ``make_fx(...)`` or ``torch.compile`` arguments have no values that
could be sent. There each transform stands for torch.func's own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._C import _functorch  # pyright: ignore[reportAttributeAccessIssue]
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from farfunc_protocol.transforms import Grad, GradAndValue, Hessian, Jacfwd, Jacrev, Jvp, Transform, Vjp, Vmap

__all__ = ["apply_locally", "hold_locally", "is_inside_torch", "without_saved_tensors_hooks"]

_REVERSE = (Jacrev, Hessian, Grad, GradAndValue, Vjp)
_NO_HOOKS = (
    "torch.func.{grad, vjp, jacrev, hessian} don't yet support saved tensor hooks, and farfunc's do not either: "
    "what is saved for the backward pass is saved on the server. Leave the hooks out of the function and of its call."
)


def is_inside_torch() -> bool:
    """Whether a transform of torch.func, make_fx or torch.compile is under way, and no trace of ours."""
    return (
        _functorch.peek_interpreter_stack() is not None or get_proxy_mode() is not None or torch.compiler.is_compiling()
    )


def without_saved_tensors_hooks(chain: Sequence[Transform]) -> contextlib.AbstractContextManager[Any]:
    """Refuse saved-tensor hooks where torch.func does: around and inside what is differentiated in reverse mode."""
    if any(isinstance(transform, _REVERSE) for transform in chain):
        return torch.autograd.graph.disable_saved_tensors_hooks(_NO_HOOKS)
    return contextlib.nullcontext()


def apply_locally(transform: Transform, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call ``func`` under torch.func's transform of the same name."""
    if isinstance(transform, Jvp):
        return torch.func.jvp(func, *args, strict=transform.strict, has_aux=transform.has_aux)
    if isinstance(transform, Vjp):
        output, pull_back, *aux = torch.func.vjp(func, *args[0], has_aux=transform.has_aux)
        return (output, pull_back(args[1]), *aux)
    return _transformed(transform, func)(*args, **kwargs)


def hold_locally(
    transform: Jvp | Vjp, func: Callable[..., Any], primals: tuple[Any, ...], finish: Callable[[Any, Any], Any]
) -> Any:
    """vjp or linearize, by torch.func's own; ``finish`` as for :func:`farfunc._held.hold`."""
    if isinstance(transform, Vjp):
        output, pull_back, *aux = torch.func.vjp(func, *primals, has_aux=transform.has_aux)
        return finish((output, *aux) if aux else output, pull_back)
    output, push_forward = torch.func.linearize(func, *primals)
    return finish(output, lambda tangents: push_forward(*tangents))


def _transformed(transform: Transform, func: Callable[..., Any]) -> Callable[..., Any]:
    match transform:
        case Jacfwd(argnums, has_aux, randomness):
            return torch.func.jacfwd(func, argnums, has_aux, randomness=randomness)  # type: ignore[arg-type]  # or None
        case Jacrev(argnums, has_aux, chunk_size):
            return torch.func.jacrev(func, argnums, has_aux=has_aux, chunk_size=chunk_size)
        case Hessian(argnums):
            return torch.func.hessian(func, argnums)
        case Grad(argnums, has_aux):
            return torch.func.grad(func, argnums, has_aux)
        case GradAndValue(argnums, has_aux):
            return torch.func.grad_and_value(func, argnums, has_aux)
        case Vmap(in_dims, out_dims, randomness, chunk_size):
            return torch.func.vmap(func, in_dims, out_dims, randomness, chunk_size=chunk_size)
    raise AssertionError(f"{transform.name} is not a transform that returns a callable")
