"""What is done with an operator as the user's function calls it: the policy of :mod:`.plans`, carried out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .aliases import alias_of
from .capture import NotConstant, WithoutElements, outside_traces
from .fakes import UNKNOWN_TO_FAKES, fake_call, tensors_in
from .inplace import run_write
from .plans import Action, decomposition_of, plan_for
from .recording import record
from .refusals import refuse_operator, refuse_value
from .special import SPECIAL
from .values import adopted, evaluated

if TYPE_CHECKING:
    from .trace import TorchTrace

__all__ = ["TraceMode", "call", "decompose"]

T = TypeVar("T")


class TraceMode(TorchDispatchMode):
    """Hands each operator to the trace."""

    supports_higher_order_operators = True

    def __init__(self, trace: TorchTrace) -> None:
        super().__init__()
        self._trace = trace
        self._active = True
        self._paused = False
        self.raised: Exception | None = None
        """By the last operator that failed: a scripted function that called it has another error to tell of."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # torch would wrap the method below, to keep torch.compile out of it: a tenth of the time of a trace.
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._paused:
            return func(*args, **(kwargs or {}))
        self._active = False
        try:
            return call(self._trace, func, args, kwargs or {})
        except WithoutElements as error:
            self.raised = error
            # A module on the device meta is copied (copy.deepcopy), and its parameters replaced before it is called.
            if any(alias_of(tensor) is not None or not tensor.is_meta for tensor in tensors_in(args, kwargs)):
                raise
            with outside_traces():
                return func(*args, **(kwargs or {}))
        except Exception as error:
            self.raised = error
            raise
        finally:
            self._active = True

    def run(self, function: Callable[..., T], *arguments: Any, **keywords: Any) -> T:
        """Call a function whose operators are to be recorded, from inside an operator or from outside."""
        if self._active:
            return function(*arguments, **keywords)
        with self:
            self._active = True
            try:
                return function(*arguments, **keywords)
            finally:
                self._active = False

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Tensors are made without being recorded."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before


def call(trace: TorchTrace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One operator, as the user's function called it."""
    special = SPECIAL.get(func)
    if special is not None:
        return special(trace, func, args, kwargs)
    if not isinstance(func, torch._ops.OpOverload):
        return _python_operator(trace, func, args, kwargs)
    plan = plan_for(func)
    if plan.action is Action.RECORD:
        return record(trace, plan, args, kwargs)
    if plan.action is Action.WRITE:
        return run_write(trace, func, args, kwargs)
    if plan.action is Action.QUERY:
        return _query(trace, func, args, kwargs)
    if plan.action is Action.DECOMPOSE:
        return decompose(trace, func, args, kwargs)
    return _evaluated_or_refused(trace, func, args, kwargs)


_WITHOUT_FUNCTIONS = {
    "cond": "choose with torch.where(condition, a, b), which computes both",
    **dict.fromkeys(
        ("while_loop", "scan", "associative_scan", "map_impl"),
        "write a Python loop of a fixed length, or farfunc.vmap where its steps do not depend on one another; where a "
        "loop would end early, let torch.where keep what it has found",
    ),
}


def _python_operator(trace: TorchTrace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An operator that is made of Python functions, one for each of torch's dispatch keys.

    One of the user's own is what its function for autograd computes: in terms of operators, as a graph needs it.
    """
    definition = func.py_kernels.get(torch._C.DispatchKey.AutogradCPU) or func.py_kernels.get(
        torch._C.DispatchKey.CompositeImplicitAutograd
    )
    if definition is None or type(func).__module__.partition(".")[0] == "torch":
        refuse_operator(f"torch's {func} is an operator that takes functions", _WITHOUT_FUNCTIONS.get(str(func)))
    return trace.run(definition, *args, **kwargs)


def decompose(trace: TorchTrace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Follow torch's own definition."""
    if func._can_decompose():
        return trace.run(func.decompose, *args, **kwargs)
    return trace.run(decomposition_of(func), *args, **kwargs)


def _query(trace: TorchTrace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A question whose answer is no tensor: about shapes and dtypes, or about elements that are constants."""
    if func._opname.startswith(("_assert_async", "_functional_assert", "_assert_tensor_metadata")):
        return None
    try:
        return fake_call(trace, func, args, kwargs)
    except UNKNOWN_TO_FAKES:
        try:
            return evaluated(trace, func, args, kwargs)
        except NotConstant:
            refuse_value(func, "a number")


def _evaluated_or_refused(trace: TorchTrace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return adopted(trace, evaluated(trace, func, args, kwargs))
    except NotConstant:
        pass
    if torch.Tag.dynamic_output_shape in func.tags:
        refuse_value(func, "a shape")
    if torch.Tag.data_dependent_output in func.tags:
        refuse_value(func, "a number")
    if "sparse" in func._opname:
        refuse_operator(f"{func} makes a sparse tensor, or takes one", "use dense tensors: x.to_dense()")
    if func.namespace not in ("aten", "prims"):
        refuse_operator(
            f"{func} is an operator of {func.namespace}, not of torch itself",
            "call the function that it is made of, if that consists of torch's own operators",
        )
    refuse_operator(f"{func} has no row in the op table, and no definition in terms of those that have")
