"""The ATen calls that PyTorch's operator database (op_db) makes, above autograd: samples for the op table."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch._dispatch.python import enable_python_dispatcher
from torch.fx.experimental.proxy_tensor import ProxyTorchDispatchMode
from torch.utils._python_dispatch import TorchDispatchMode

from farfunc_protocol.dtypes import DTYPES
from farfunc_protocol.graph import TensorType
from farfunc_protocol.ops import OPS, TypedOperand

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db

CALLS_PER_OPERATOR = 400


@dataclass(frozen=True)
class OperatorCall:
    """One call of a row: its operands and attributes, and the types that torch gave the results."""

    name: str
    inputs: tuple[TypedOperand, ...]
    attributes: dict[str, Any]
    results: tuple[TensorType, ...]

    def __str__(self) -> str:
        shown = ", ".join(map(_show, self.inputs))
        return f"{self.name}({shown}) {self.attributes} -> {', '.join(map(str, self.results))}"


class Recorder(ProxyTorchDispatchMode):
    """Notes each operator as it comes by, above autograd.

    PyTorch lets only its own modes onto the PreDispatch key; a subclass of one is let through.
    """

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self, torch._C.DispatchKey.PreDispatch)
        self._dispatch_key = torch._C.DispatchKey.PreDispatch
        self.noted: list[OperatorCall] = []

    def __enter__(self) -> Recorder:
        return TorchDispatchMode.__enter__(self)

    def __exit__(self, *error: object) -> None:
        TorchDispatchMode.__exit__(self, *error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        # Types are taken now: a later operator may resize the tensors in place.
        if func.namespace == "aten" and (call := as_call(func, args, kwargs, result)) is not None:
            self.noted.append(call)
        return result


def entries(dtype: torch.dtype, *, differentiable: bool = False) -> Iterator[Any]:
    """The entries of op_db that have samples of a dtype."""
    for entry in op_db:
        if entry.name.startswith("jiterator") or (differentiable and not entry.supports_autograd):
            continue
        if entry.supports_dtype(dtype, "cpu"):
            yield entry


def record(entry: Any, dtype: torch.dtype, samples: int) -> list[OperatorCall]:
    """Run samples of one entry, and return the rows that came by."""
    torch.manual_seed(0)
    recorder = Recorder()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for sample in islice(entry.sample_inputs("cpu", dtype, requires_grad=False), samples):
            with enable_python_dispatcher(), recorder:
                entry.op(sample.input, *sample.args, **sample.kwargs)
    return recorder.noted


@functools.cache
def calls(dtype_name: str, samples: int = 6) -> dict[str, list[OperatorCall]]:
    """The calls of rows, by row, in the first samples of each entry."""
    found: dict[str, dict[str, OperatorCall]] = {}
    dtype = getattr(torch, dtype_name)
    for entry in entries(dtype):
        for call in record(entry, dtype, samples):
            known = found.setdefault(call.name, {})
            if len(known) < CALLS_PER_OPERATOR:
                known[str(call)] = call
    return {name: list(known.values()) for name, known in found.items()}


def as_call(func: Any, args: tuple, kwargs: dict[str, Any], result: Any) -> OperatorCall | None:
    """The call as a graph would have it; None where there is no row, or a number is in a tensor's place."""
    op = OPS.get(wire_name(func))
    if op is None:
        return None
    given = dict(zip((argument.name for argument in op.schema.arguments), args, strict=False)) | kwargs
    inputs = tuple(types_of(given.get(argument.name)) for argument in op.schema.tensor_arguments)
    if any(isinstance(operand, int | float | complex) for operand in inputs):
        return None
    attributes = {
        argument.name: types_of(given[argument.name]) for argument in op.schema.attributes if argument.name in given
    }
    results = types_of(result)
    flat = results if isinstance(results, tuple) else (results,)
    return OperatorCall(op.name, inputs, attributes, tuple(leaf for item in flat for leaf in _leaves(item)))


def wire_name(func: Any) -> str:
    """The name of an operator in a graph."""
    return func._schema.name.removeprefix("aten::") + (
        f".{func._schema.overload_name}" if func._schema.overload_name else ""
    )


def overload(name: str) -> Any:
    """torch's operator of that name."""
    base, _, suffix = name.partition(".")
    return getattr(getattr(torch.ops.aten, base), suffix or "default")


def types_of(value: Any) -> Any:
    """Tensors as their types and dtypes as their names, lists as tuples."""
    if isinstance(value, torch.Tensor):
        return TensorType(str(value.dtype).removeprefix("torch."), tuple(value.shape))
    if isinstance(value, list | tuple):
        return tuple(types_of(item) for item in value)
    return str(value).removeprefix("torch.") if isinstance(value, torch.dtype) else value


def tensors_of(operand: TypedOperand) -> Any:
    """Tensors of these types, filled with ones."""
    if operand is None:
        return None
    if isinstance(operand, tuple):
        return [tensors_of(item) for item in operand]
    return torch.ones(operand.shape, dtype=getattr(torch, operand.dtype))


def run(name: str, inputs: tuple[TypedOperand, ...], attributes: dict[str, Any]) -> tuple[TensorType, ...]:
    """The types that torch itself gives the results."""
    arguments = {
        a.name: tensors_of(operand) for a, operand in zip(OPS[name].schema.tensor_arguments, inputs, strict=True)
    }
    for key, value in attributes.items():
        arguments[key] = getattr(torch, value) if isinstance(value, str) and value in DTYPES else value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = types_of(overload(name)(**arguments))
    return results if isinstance(results, tuple) else (results,)


def _leaves(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _show(operand: TypedOperand) -> str:
    if isinstance(operand, tuple):
        return f"[{', '.join(map(_show, operand))}]"
    return str(operand)


def core_operators() -> list[str]:
    """The names of the operators that torch tags as core."""
    found = []
    for qualified in torch._C._dispatch_get_all_op_names():
        namespace, _, name = qualified.partition("::")
        if namespace != "aten":
            continue
        try:
            operator = overload(name)
        except AttributeError:
            continue
        if torch.Tag.core in operator.tags:
            found.append(name)
    return sorted(found)
