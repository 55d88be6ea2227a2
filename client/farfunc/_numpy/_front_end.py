"""The NumPy front end: ndarrays, NumPy's scalars and Python's floats in, the same out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np

from farfunc_protocol.arrays import Array
from farfunc_protocol.builder import GraphBuilder, Value, ValueOperand
from farfunc_protocol.dtypes import from_numpy_dtype
from farfunc_protocol.errors import FarfuncError, InvalidArray, MutationError, TraceError, UnsupportedOperator
from farfunc_protocol.graph import TensorType

from .._memory import check_writable_array, refuse_shared, share_memory
from .._signals import NeedsStatic
from .._walk import register_array
from .._writes import Alias, Returned, Write
from . import _function_calls, _functions, _masked_calls, _masked_indexing, _methods, _tensor_methods, _ufunc_calls
from ._current import pop_trace, push_trace
from ._dtypes import graph_dtype
from ._masked_selection import is_selection, refuse_selection, where_selected
from ._operands import holds_tracer, lower
from ._patches import patched
from ._source import user_line
from ._storage import Place
from ._tracer import Tracer, is_traced

__all__ = ["NumpyFrontEnd", "NumpyTrace"]


class NumpyFrontEnd:
    """Functions of NumPy arrays.

    Arrays are ndarrays, NumPy's scalars and Python's floats and complex numbers: each is an input
    of the graph. Python's integers, truth values, strings and None are part of the function.
    """

    name = "numpy"

    def is_array(self, leaf: Any) -> bool:
        """Whether the leaf becomes an input."""
        if isinstance(leaf, Tracer):
            return True
        if isinstance(leaf, np.ndarray | np.generic):
            return leaf.dtype.kind in "biufc" or leaf.dtype.name == "bfloat16"
        return isinstance(leaf, float | complex)

    def type_of(self, leaf: Any) -> TensorType:
        """Its dtype and shape."""
        if isinstance(leaf, Tracer):
            return TensorType(graph_dtype(leaf.dtype), leaf.shape)
        if type(leaf) is np.ndarray:
            return TensorType(from_numpy_dtype(leaf.dtype).name, leaf.shape)
        return Array.from_numpy(leaf).type

    def to_array(self, leaf: Any) -> Array:
        """A concrete leaf, for the wire."""
        return Array.from_numpy(np.asarray(leaf) if isinstance(leaf, Tracer) else leaf)

    def from_array(self, array: Array, like: Any) -> Any:
        """An ndarray; one without axes becomes a NumPy scalar, unless ``like`` is a 0-d ndarray."""
        result = array.to_numpy()
        if result.ndim == 0 and not (isinstance(like, np.ndarray) and like.ndim == 0):
            return result[()]
        return result if result.flags.writeable else result.copy()

    def results(self, call: Any, arrays: Sequence[Array], like: Any) -> list[Any]:
        """The result leaves of a call."""
        return [self.from_array(array, like) for array in arrays]

    def check_overwrite(self, leaves: Sequence[Any], written: Sequence[int]) -> None:
        """Refuse to write to arguments that NumPy does not write to, or that share memory."""
        for position in written:
            check_writable_array(leaves[position])
            for other, leaf in enumerate(leaves):
                if other != position and share_memory(leaves[position], np.asarray(leaf)):
                    refuse_shared(position, other)

    def overwrite(self, leaf: Any, array: Any) -> None:
        """Write a result to the call's own array."""
        leaf[...] = array

    def view_of(self, leaf: Any, returned: Returned) -> Any:
        """The call's own array; None where it would be a view."""
        return leaf if all(first == second for first, second in returned.axes) else None

    def settings(self) -> None:
        """Nothing outside of a function changes what it computes."""

    def draw(self, draws: None) -> dict[str, Any]:
        """A seed for the function's random numbers, drawn from NumPy's own generator."""
        return {"seed": int(np.random.randint(0, 2**63 - 1, dtype=np.int64))}

    def drawn(self, draws: None, state: Array) -> None:
        """Do nothing: a seed leaves no state behind."""

    def guard(self, chain: Sequence[Any]) -> AbstractContextManager[Any]:
        """Refuse nothing."""
        return nullcontext()

    @contextmanager
    def start(self) -> Iterator[NumpyTrace]:
        """Begin a trace in this thread."""
        trace = NumpyTrace(self)
        push_trace(trace)
        try:
            with patched():
                yield trace
        except ValueError as error:
            # NumPy wraps what float(tracer) raises, or drops it: "setting an array element with a sequence".
            if isinstance(trace.refused, TraceError) and not isinstance(error, FarfuncError):
                raise trace.refused from None
            raise
        finally:
            pop_trace()


class NumpyTrace:
    """One run of a function on tracers.

    Attributes
    ----------
    front_end:
        The NumPy front end.
    builder:
        The innermost builder.
    python_numbers:
        The inputs that may stand for a Python number of the call, by id.
    refused:
        The first error that was raised for what the function asked; where it has caught that, it is raised again.
    """

    def __init__(self, front_end: NumpyFrontEnd) -> None:
        self.front_end = front_end
        self.builder = GraphBuilder()
        self.python_numbers: dict[int, Value] = {}
        self.refused: TraceError | NeedsStatic | None = None
        self._arguments: dict[int, tuple[Value, Place]] = {}
        self._equations: dict[tuple[Any, ...], tuple[Value, ...]] = {}
        self._types: dict[tuple[Any, ...], tuple[TensorType, ...]] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Array] = {}

    def user_line(self) -> str | None:
        """The user's own line that is running."""
        return user_line()

    @contextmanager
    def nested(self) -> Iterator[GraphBuilder]:
        """A body: what is traced inside goes to a builder of its own."""
        outer = self.builder
        self.builder = GraphBuilder(outer=outer)
        try:
            yield self.builder
        finally:
            self.builder = outer

    def lift(self, value: Value, *, is_python_number: bool | None = None) -> Tracer:
        """An argument, as the user's function handles it.

        Parameters
        ----------
        value:
            An input of the innermost builder, or the result of a transform.
        is_python_number:
            Whether the call has a float or complex there: it does not promote float32 arrays, and Python may ask
            for its value. None: not known; any 0-d float64 or complex128 may be one.
        """
        leaf = Tracer.of(value, is_argument=value.equation is None)
        if value.equation is None:
            self._arguments[id(value)] = value, leaf._place
        if not leaf.shape and leaf.dtype in (np.float64, np.complex128) and is_python_number is not False:
            if self.builder.outer is None:
                self.python_numbers[id(value)] = value
            leaf._is_weak = bool(is_python_number)
        return leaf

    def argument(self, value: Value, like: Any) -> Tracer:
        """An argument of the call, which ``like`` is."""
        return self.lift(value, is_python_number=type(like) in (float, complex))

    def written(self, inputs: Sequence[Value]) -> list[tuple[Write, Value]]:
        """Which of a body's arguments were written to, and what they hold now."""
        storages = [self._arguments[id(value)][1].storage for value in inputs]
        return [
            (Write(position, inputs[position].type, storage.first_write), storage.content)
            for position, storage in enumerate(storages)
            if storage.first_write is not None and isinstance(storage.content, Value)
        ]

    def alias_in(self, leaf: Any, inputs: Sequence[Value]) -> Alias | None:
        """Which of these arguments a leaf is."""
        for position, value in enumerate(inputs):
            if isinstance(leaf, Tracer) and leaf._place.is_same(self._arguments[id(value)][1]):
                return Alias(position)
        return None

    def write(self, leaves: Sequence[Any], position: int, value: Value) -> None:
        """Write to an array that was given to a transformed function."""
        leaf = leaves[position]
        if not isinstance(leaf, Tracer):
            raise MutationError(
                "a transformed function writes to its argument, for which an array from outside is given: the write "
                "would mutate a captured array, of which the server has a copy",
                where=user_line(),
                remedy="give it a copy: x.copy()",
            )
        storages = [item._place.storage for item in leaves if isinstance(item, Tracer)]
        if storages.count(leaf._place.storage) > 1:
            raise MutationError(
                "a transformed function writes to an array that is given to it twice, or together with a view of it",
                where=user_line(),
                remedy="give it copies: x.copy()",
            )
        leaf.overwrite(value)

    def lower(self, leaf: Any) -> Value:
        """The value of a result; a concrete array becomes a constant."""
        if type(leaf) is np.ndarray and leaf.dtype == object and holds_tracer(leaf.ravel().tolist()):
            raise UnsupportedOperator(
                "an array of objects that holds traced arrays cannot be returned",
                where=user_line(),
                remedy="build it with np.stack or farfunc.numpy.array",
            )
        if is_selection(leaf):
            refuse_selection("is returned", "returned", where_selected(leaf))
        return lower(leaf)

    def add(self, op: str, operands: tuple[ValueOperand, ...], attributes: dict[str, Any]) -> tuple[Value, ...]:
        """Add an equation, unless the same one is there: ``x[0]`` is read again and again."""
        # repr tells 1 from 1.0 and True, and 0.0 from -0.0, which are equal as keys.
        written = repr(attributes)
        key = (id(self.builder), op, _each(id, operands), written)
        if key not in self._equations:
            known = (op, _each(_type, operands), written)
            added = self.builder.add(op, operands, attributes, types=self._types.get(known), source=user_line())
            self._types[known] = tuple(value.type for value in added)
            self._equations[key] = added
        return self._equations[key]

    def constant(self, array: np.ndarray) -> Value:
        """Bring in a copy of an array as it is now; equal ones are one constant."""
        try:
            given = Array.from_numpy(array)
        except InvalidArray as error:
            raise InvalidArray(error.detail, where=user_line(), remedy=error.remedy) from None
        key = (given.dtype, given.shape, hashlib.blake2b(given.buffer, digest_size=16).digest())
        if key not in self._constants:
            self._constants[key] = Array(given.dtype, given.shape, given.data.copy())
        return self.builder.constant(self._constants[key])


class _Tracers:
    """Arrays of an earlier trace that a program has kept: a table in a cache, for instance."""

    def describe(self, array: Tracer) -> tuple[Any, ...] | None:
        return None if is_traced(array) else (array.dtype.str, array.shape)

    def snapshot(self, array: Tracer) -> np.ndarray:
        return np.array(array.content())

    def unchanged(self, array: Tracer, snapshot: np.ndarray) -> bool:
        return not is_traced(array) and np.asarray(array.content()).tobytes() == snapshot.tobytes()


register_array(Tracer, _Tracers())

# Importing them registers what they implement.
_ = (_function_calls, _functions, _masked_calls, _masked_indexing, _methods, _tensor_methods, _ufunc_calls)


def _each(function: Callable[[Any], Any], operands: tuple[ValueOperand, ...]) -> tuple[Any, ...]:
    return tuple(_each(function, item) if isinstance(item, tuple) else function(item) for item in operands)


def _type(value: Value | None) -> TensorType | None:
    return None if value is None else value.type
