"""What is done with an operator as the user's function calls it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedOperatorException,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from farfunc_protocol.builder import Value, ValueOperand
from farfunc_protocol.errors import InvalidArray, InvalidGraph, UnsupportedOperator
from farfunc_protocol.graph import TensorType
from farfunc_protocol.ops.op import Op

from .aliases import Alias, Memory, alias_of, attach
from .capture import NotConstant, WithoutElements, outside_traces
from .conversion import dtype_name, tensor_type, torch_dtype
from .inplace import run_write
from .location import CustomFunctionOnStack, user_line
from .numbers import scalar_overload, tensor_of_number
from .plans import Action, Kind, Plan, decomposition_of, plan_for
from .refusals import refuse_custom_function, refuse_operator, refuse_value
from .views import make_view

if TYPE_CHECKING:
    from .trace import TorchTrace

__all__ = ["TraceMode", "call", "fake_call", "record"]

T = TypeVar("T")
_UNKNOWN_TO_FAKES = (DataDependentOutputException, DynamicOutputShapeException, UnsupportedOperatorException)


class TraceMode(TorchDispatchMode):
    """Hands each operator to the trace."""

    supports_higher_order_operators = True

    def __init__(self, trace: TorchTrace) -> None:
        super().__init__()
        self._trace = trace
        self._active = True
        self._paused = False

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
        except WithoutElements:
            # A module on the device meta is copied (copy.deepcopy), and its parameters replaced before it is called.
            if any(alias_of(tensor) is not None or not tensor.is_meta for tensor in _tensors(args, kwargs)):
                raise
            with outside_traces():
                return func(*args, **(kwargs or {}))
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


def _python_operator(trace: TorchTrace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An operator that is made of Python functions, one for each of torch's dispatch keys.

    One of the user's own is what its function for autograd computes: in terms of operators, as a graph needs it.
    """
    definition = func.py_kernels.get(torch._C.DispatchKey.AutogradCPU) or func.py_kernels.get(
        torch._C.DispatchKey.CompositeImplicitAutograd
    )
    if definition is None or type(func).__module__.partition(".")[0] == "torch":
        refuse_operator(f"{func} is an operator that takes functions", "call farfunc's own transforms instead")
    return trace.run(definition, *args, **kwargs)


def record(trace: TorchTrace, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Write down one equation, and return tensors for its results."""
    assert plan.row is not None
    if plan.row.random:
        generators = [item for item in (*args, *kwargs.values()) if isinstance(item, torch.Generator)]
        trace.drawing.draw(plan.func, *generators, is_nested=trace.builder is not trace.outermost)
        if generators:
            args = tuple(None if isinstance(item, torch.Generator) else item for item in args)
            kwargs = {name: None if isinstance(item, torch.Generator) else item for name, item in kwargs.items()}
    bound = _bind(trace, plan, args, kwargs)
    if bound is None:
        return call(trace, *scalar_overload(plan.func, args, kwargs))
    operands, attributes = bound
    try:
        out = fake_call(trace, plan.func, args, kwargs)
    except _UNKNOWN_TO_FAKES:
        out = _by_rule(trace, plan.row, operands, attributes)
        if out is None:
            return _without_row(trace, plan.func, args, kwargs)
    results = [out] if isinstance(out, torch.Tensor) else list(out)
    views: list[tuple[torch.Tensor, Alias] | None] = [None] * len(results)
    if plan.may_alias:
        sources = [_stand_in(trace, leaf) for leaf in _tensors(args, kwargs)]
        if all(any(result is source for source in sources) for result in results):
            return out  # x.expand_as(x): the tensor itself
        for index, result in enumerate(results):
            views[index] = _shared_with(trace, result, sources)
    if any(result is None for result in results):
        refuse_operator(f"{plan.func} returns an undefined tensor here")
    if plan.makes_dtype:
        attributes["dtype"] = dtype_name(results[0].dtype)
    values = add(trace, plan.row.name, operands, attributes, _types(plan.func, results), plan.row.schema.normalise)
    for index, (result, value, shared) in enumerate(zip(results, values, views, strict=True)):
        if shared is not None and shared[0] is result:
            continue
        if shared is None:
            alias = Alias(trace, value, Memory("local", trace.builder))
        else:
            source, parent = shared
            position = None if isinstance(out, torch.Tensor) else index
            view = make_view(parent, source, plan.func, _fakes(trace, args), _fakes(trace, kwargs), result, position)
            alias = Alias(trace, value, parent.memory, view)
        attach(result, alias)
    if any(result.is_neg() for result in results):
        return _without_bits(trace, out)
    return out


def add(
    trace: TorchTrace,
    op: str,
    operands: list[ValueOperand],
    attributes: dict[str, Any],
    types: list[TensorType],
    normalise: Callable[[dict[str, Any]], dict[str, Any]],
) -> tuple[Value, ...]:
    """Add an equation to the innermost graph."""
    try:
        source = user_line(refuse_custom_functions=True)
    except CustomFunctionOnStack as found:
        refuse_custom_function(*found.args)
    try:
        attributes = normalise(attributes)
    except InvalidGraph as error:
        refuse_operator(f"{op}: {error.detail}")
    # Without a derivative there is nothing for no_grad() to take away: the mark is left out.
    grad = trace.grad_enabled or not any(value.varies for operand in operands for value in _values(operand))
    return trace.settled(trace.builder.add(op, operands, attributes, types=types, grad=grad, source=source))


def decompose(trace: TorchTrace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Follow torch's own definition."""
    if func._can_decompose():
        return trace.run(func.decompose, *args, **kwargs)
    return trace.run(decomposition_of(func), *args, **kwargs)


def fake_call(trace: TorchTrace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The results without their elements: dtype, shape, strides, and what shares memory with what."""
    if "device" in kwargs:
        kwargs = {**kwargs, "device": trace.device}
    return func(*_fakes(trace, args), **_fakes(trace, kwargs))


def _bind(
    trace: TorchTrace, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[list[ValueOperand], dict[str, Any]] | None:
    """The operands and attributes of a call; None where a number stands for a tensor, and an overload takes it."""
    operands: list[ValueOperand] = []
    attributes: dict[str, Any] = {}
    count = len(args)
    for index, slot in enumerate(plan.slots):
        given = index < count or slot.name in kwargs
        value = (args[index] if index < count else kwargs[slot.name]) if given else None
        if slot.kind is Kind.TENSOR:
            if isinstance(value, torch.Tensor):
                operands.append(trace.lower(value))
            elif value is None:
                operands.append(None)
            elif scalar_overload(plan.func, args, kwargs) is not None:
                return None
            else:
                operands.append(trace.lower(tensor_of_number(trace, plan.func, value, args, kwargs)))
        elif slot.kind is Kind.TENSORS:
            operands.append(
                None if value is None else tuple(None if item is None else trace.lower(item) for item in value)
            )
        elif given and slot.kind is Kind.ATTRIBUTE:
            if slot.argument is not None:
                attributes[slot.name] = _attribute(value)
            elif value is not None and value != plan.func._schema.arguments[index].default_value:
                refuse_operator(f"{plan.func} is given {slot.name}={value!r}, which the op table does not know")
    return operands, attributes


def _attribute(value: Any) -> Any:
    if isinstance(value, torch.dtype):
        try:
            return dtype_name(value)
        except InvalidArray as error:
            refuse_operator(error.detail, error.remedy)
    if isinstance(value, list | tuple):
        return tuple(_attribute(item) for item in value)
    if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
        return value.node.guard_int("", 0)
    return value


def _query(trace: TorchTrace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A question whose answer is no tensor: about shapes and dtypes, or about elements that are constants."""
    if func._opname.startswith(("_assert_async", "_functional_assert", "_assert_tensor_metadata")):
        return None
    try:
        return fake_call(trace, func, args, kwargs)
    except _UNKNOWN_TO_FAKES:
        try:
            return evaluated(trace, func, args, kwargs)
        except NotConstant:
            refuse_value(func, "a number")


def _by_rule(trace: TorchTrace, row: Op, operands: list[ValueOperand], attributes: dict[str, Any]) -> Any:
    """Results by the shape rule of the op table, where torch finds the shape only as it computes; None without one."""
    try:
        types = row.infer(tuple(_operand_types(operand) for operand in operands), attributes)
    except (UnsupportedOperator, InvalidGraph):
        return None
    with trace.mode.paused():
        fakes = [torch.empty(t.shape, dtype=torch_dtype(t.dtype), device=trace.device) for t in types]
    return fakes[0] if len(row.schema.returns) == 1 and not row.schema.returns[0].is_list else tuple(fakes)


def _operand_types(operand: ValueOperand) -> Any:
    if isinstance(operand, tuple):
        return tuple(None if value is None else value.type for value in operand)
    return None if operand is None else operand.type


def _without_bits(trace: TorchTrace, out: Any) -> Any:
    """Lazy negation is carried out, so that what follows meets plain tensors."""

    def resolve(tensor: torch.Tensor) -> torch.Tensor:
        return trace.run(lambda: tensor.resolve_conj().resolve_neg())

    return tree_map_only(torch.Tensor, resolve, out)


def _without_row(trace: TorchTrace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A row whose result has a shape that depends on elements: of constants, or in a composite's special case."""
    try:
        return adopted(trace, evaluated(trace, func, args, kwargs))
    except NotConstant:
        if func._can_decompose():
            return decompose(trace, func, args, kwargs)
        refuse_value(func, "a shape")


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
        refuse_operator(f"{func} is an operator of {func.namespace}, not of torch itself")
    refuse_operator(f"{func} has no row in the op table, and no definition in terms of those that have")


def evaluated(trace: TorchTrace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The real result of an operator on constants; raises NotConstant."""
    if torch.Tag.nondeterministic_seeded in func.tags:
        raise NotConstant

    def real(tensor: torch.Tensor) -> torch.Tensor:
        return trace.constants.elements(trace.lower(tensor))

    args, kwargs = tree_map_only(torch.Tensor, real, (args, kwargs))
    if kwargs.get("device") is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    with outside_traces():
        return func(*args, **kwargs)


def adopted(trace: TorchTrace, result: Any) -> Any:
    """Real results, as constants of the trace."""
    return tree_map_only(torch.Tensor, trace.constants.adopt, result)


def _stand_in(trace: TorchTrace, tensor: torch.Tensor) -> torch.Tensor:
    trace.alias(tensor)
    return tensor if "_farfunc_alias" in tensor.__dict__ else trace.constants.fake_of(tensor)


def _fakes(trace: TorchTrace, given: Any) -> Any:
    """The arguments, with fakes in place of real tensors."""
    if isinstance(given, torch.Tensor):
        return _stand_in(trace, given)
    if isinstance(given, dict):
        return {name: _fakes(trace, item) for name, item in given.items()} if given else given
    if isinstance(given, list | tuple) and any(isinstance(item, torch.Tensor | list | tuple) for item in given):
        return type(given)([_fakes(trace, item) for item in given])
    return given


def _tensors(args: Any, kwargs: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]


def _shared_with(
    trace: TorchTrace, result: torch.Tensor, sources: list[torch.Tensor]
) -> tuple[torch.Tensor, Alias] | None:
    for source in sources:
        if torch._C._is_alias_of(result, source):
            return source, trace.alias(source)
    return None


def _types(func: Any, results: list[torch.Tensor]) -> list[TensorType]:
    try:
        return [tensor_type(result) for result in results]
    except InvalidArray as error:
        refuse_operator(f"{func}: {error.detail}", error.remedy)


def _values(operand: ValueOperand) -> tuple[Value, ...]:
    if isinstance(operand, tuple):
        return tuple(value for value in operand if value is not None)
    return () if operand is None else (operand,)


from .special import SPECIAL  # noqa: E402 - the special operators call back into this module
