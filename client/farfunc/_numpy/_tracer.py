"""The array that a user's function handles while it is traced."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

import numpy as np

from farfunc_protocol.builder import Value

from .._signals import NeedsTorch
from ._dtypes import numpy_dtype
from ._layout import Strides
from ._refusals import no_such_attribute, not_hashable, value_needed
from ._registry import METHODS
from ._source import user_line
from ._steps import Step
from ._storage import Content, Place, Storage

__all__ = ["Tracer", "is_traced"]

_NUMBERS = (int, float, complex)


class _ScalarHasNone(TypeError, AttributeError):
    """``len(s)`` of a scalar is a TypeError, ``hasattr(s, "__len__")`` is False."""


class _Length:
    """``__len__``, which arrays have and NumPy's scalars have not: programs ask by ``hasattr(t, "__len__")``."""

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        if instance._is_scalar:
            raise _ScalarHasNone(f"object of type 'numpy.{instance.dtype.name}' has no len()")
        return instance._length


class Tracer:
    """An array whose dtype and shape are known, and whose value, as a rule, is not.

    It answers NumPy's protocols, so ``np.sin(x)``, ``np.stack([x, y])``, ``A @ x`` and ``x[1:] += 1`` work
    as they stand, and it has the methods of NumPy's arrays and of torch's tensors.

    What was made inside the function out of numbers (``np.zeros(3)``) is a Tracer as well, a *concrete* one: its
    value is known, Python and other libraries may read it, and it turns into a traced one when something
    traced is written to it.
    """

    __slots__ = ("__weakref__", "_is_scalar", "_is_weak", "_is_writable", "_place", "dtype", "shape")

    dtype: np.dtype
    shape: tuple[int, ...]

    def __init__(self, place: Place, dtype: np.dtype, shape: tuple[int, ...], *, is_scalar: bool = False) -> None:
        self._place = place
        self.dtype = dtype
        self.shape = shape
        self._is_scalar = is_scalar
        """Whether NumPy has a scalar here, which is immutable: ``s += 1`` binds a new one."""
        self._is_weak = False
        """Whether it stands for a Python number, which does not promote float32 to float64."""
        self._is_writable = True

    @classmethod
    def of(cls, value: Value, *, is_argument: bool = False, strides: Strides = None) -> Tracer:
        """A new base with a traced content."""
        shape = tuple(map(int, value.type.shape))
        storage = Storage(value, is_argument=is_argument, strides=strides)
        return cls(Place(storage), numpy_dtype(value.type.dtype), shape, is_scalar=not shape)

    @classmethod
    def of_array(cls, array: np.ndarray) -> Tracer:
        """A new base with a concrete content, which becomes its own."""
        strides = None if array.flags.c_contiguous else tuple(s // array.itemsize for s in array.strides)
        return cls(Place(Storage(array, strides=strides)), array.dtype, array.shape)

    @property
    def __class__(self) -> type:  # type: ignore[override]
        """What NumPy has here, for ``isinstance``: a program that asks goes the same way as without a trace."""
        if not self._is_scalar:
            return np.ndarray
        if self._is_weak:
            return complex if self.dtype.kind == "c" else float
        return self.dtype.type

    # What the other modules of the front end use.

    def content(self) -> Content:
        """The present content: a value of the graph, or an ndarray that must not escape."""
        return self._place.read()

    def through(self, *steps: Step, is_writable: bool = True) -> Tracer:
        """A view."""
        place, content = self._place, self._place.read()
        for step in steps:
            place = place.view(step)
            content = place.read()
        if isinstance(content, Value):
            view = Tracer(place, numpy_dtype(content.type.dtype), tuple(map(int, content.type.shape)))
        else:
            view = Tracer(place, content.dtype, content.shape)
        view._is_writable = self._is_writable and is_writable
        return view

    def snapshot(self) -> Any:
        """What NumPy has for ``x[0]``: a scalar that later writes do not change."""
        content = self.content()
        return Tracer.of(content) if isinstance(content, Value) else content[()]

    def overwrite(self, content: Content) -> None:
        """Replace the content by one of the same dtype and shape."""
        if not self._is_writable:
            raise ValueError("assignment destination is read-only")
        self._place.write(content)

    def strides_in_elements(self) -> Strides:
        """The layout that NumPy would have given it; None for C order."""
        return self._place.strides()

    # Facts that need no value.

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.dtype.itemsize

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from one element to the next along each axis."""
        found = self.strides_in_elements()
        if found is None:
            found = tuple(int(np.prod(self.shape[axis + 1 :], dtype=np.int64)) for axis in range(self.ndim))
        return tuple(step * self.dtype.itemsize for step in found)

    @property
    def device(self) -> str:
        """``"cpu"``, as the array API standard has it for NumPy: where it is computed is the server's affair."""
        return "cpu"

    def _length(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError("iteration over a 0-d array")
        return (self[index] for index in range(self.shape[0]))

    __len__ = _Length()

    def __repr__(self) -> str:
        content = self.content()
        lengths = ",".join(map(str, self.shape))
        return f"traced {self.dtype}[{lengths}]" if isinstance(content, Value) else repr(content)

    def __format__(self, specification: str) -> str:
        content = self.content()
        return repr(self) if isinstance(content, Value) else format(content[()], specification)

    def __hash__(self) -> int:
        content = self.content()
        if not self._is_scalar or not isinstance(content, Value):
            raise TypeError("unhashable type: 'numpy.ndarray'")
        not_hashable(content)

    # Protocols.

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return METHODS["__array_ufunc__"](self, ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        return METHODS["__array_function__"](self, function, args, kwargs)

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return METHODS["__array_namespace__"](self)

    def __dlpack__(self, **kwargs: Any) -> Any:
        return np.array(self._number("DLPack", "array")).__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return np.zeros(0).__dlpack_device__()

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise NeedsTorch(f"{getattr(function, '__name__', function)} at {user_line()}")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        content = self.content()
        if isinstance(content, Value):
            value_needed(content, "NumPy", "array")
        if copy or (dtype is not None and np.dtype(dtype) != content.dtype):
            return np.array(content, dtype)
        # What is written to it would be lost once this array turns into a traced one.
        view = content.view()
        view.flags.writeable = False
        return view

    # Conversions to Python.

    def _number(self, asked: str, kind: str) -> Any:
        content = self.content()
        if isinstance(content, Value):
            value_needed(content, asked, kind)
        return content

    def __bool__(self) -> bool:
        return bool(self._number("a branch (if, while, and, or, not, min, max)", "bool"))

    def __float__(self) -> float:
        return float(self._number("float()", "number"))

    def __int__(self) -> int:
        return int(self._number("int()", "number"))

    def __complex__(self) -> complex:
        return complex(self._number("complex()", "number"))

    def __index__(self) -> int:
        content = self._number("an index", "index")
        return operator.index(content[()])

    def __contains__(self, item: Any) -> bool:
        content = self._number("`in`", "in")
        return item in content

    def item(self, *args: Any) -> Any:
        """Raise DataDependentError, unless the value is known."""
        return self._number("item()", "number").item(*args)

    def tolist(self) -> Any:
        """Raise DataDependentError, unless the value is known."""
        return self._number("tolist()", "number").tolist()

    def tobytes(self, *args: Any) -> bytes:
        """Raise DataDependentError, unless the value is known."""
        return self._number("tobytes()", "number").tobytes(*args)

    def __trunc__(self) -> int:
        return int(self._number("int()", "number"))

    def __floor__(self) -> int:
        return int(np.floor(self._number("math.floor", "number")))

    def __ceil__(self) -> int:
        return int(np.ceil(self._number("math.ceil", "number")))

    def __round__(self, digits: int | None = None) -> Any:
        content = self.content()
        if digits is None and not isinstance(content, Value):
            return round(content.item())
        return np.round(self, digits or 0)

    # Elements.

    def __getitem__(self, index: Any) -> Any:
        return METHODS["__getitem__"](self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        METHODS["__setitem__"](self, index, value)

    @property
    def flat(self) -> Tracer:
        """All elements in C order: a view, as ``x.flat`` is one."""
        from ._steps import Reshape

        return self.through(Reshape((self.size,)))

    def __getattr__(self, name: str) -> Any:
        found = METHODS.get(name)
        if found is not None:
            return MethodType(found, self)
        found = _PROPERTIES.get(name)
        if found is not None:
            return found(self)
        if name.startswith("__"):
            raise AttributeError(name)
        no_such_attribute(name, (*METHODS, *_PROPERTIES))

    @property
    def real(self) -> Tracer:
        """The real part: a view, as in NumPy."""
        return np.real(self)

    @real.setter
    def real(self, value: Any) -> None:
        np.real(self)[...] = value

    @property
    def imag(self) -> Tracer:
        """The imaginary part: of a complex array a view, as in NumPy."""
        return np.imag(self)

    @imag.setter
    def imag(self, value: Any) -> None:
        np.imag(self)[...] = value

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *METHODS, *_PROPERTIES})

    def __copy__(self) -> Any:
        return np.copy(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return np.copy(self)

    def __reduce__(self) -> Any:
        raise TypeError("a traced array lives as long as its trace, and cannot be stored")


_PROPERTIES: dict[str, Callable[[Any], Any]] = {
    "T": np.transpose,
    "mT": np.matrix_transpose,
    "mH": lambda x: np.conjugate(np.matrix_transpose(x)),
    "H": lambda x: np.conjugate(np.matrix_transpose(x)),
    "base": lambda x: None,
    "requires_grad": lambda x: True,
}


def is_traced(leaf: Any) -> bool:
    """Whether a leaf is an array whose value is not known."""
    return isinstance(leaf, Tracer) and isinstance(leaf.content(), Value)


def _is_operand(other: Any) -> bool:
    return isinstance(other, Tracer | np.ndarray | np.generic | int | float | complex | list | tuple)


def _is_weak(operand: Any) -> bool:
    return operand._is_weak if isinstance(operand, Tracer) else type(operand) in _NUMBERS


def _keep_weak(result: Any, *operands: Any) -> Any:
    """A Python number stays one under operators, so that ``2 * a * x`` is float32 where ``x`` is."""
    if isinstance(result, Tracer) and result.dtype.kind in "fc" and all(map(_is_weak, operands)):
        result._is_weak = True
    return result


def _forward(ufunc: np.ufunc) -> Callable[[Tracer, Any], Any]:
    def forward(self: Tracer, other: Any) -> Any:
        return _keep_weak(ufunc(self, other), self, other) if _is_operand(other) else NotImplemented

    return forward


def _reflected(ufunc: np.ufunc) -> Callable[[Tracer, Any], Any]:
    def reflected(self: Tracer, other: Any) -> Any:
        return _keep_weak(ufunc(other, self), other, self) if _is_operand(other) else NotImplemented

    return reflected


def _in_place(ufunc: np.ufunc) -> Callable[[Tracer, Any], Any]:
    def in_place(self: Tracer, other: Any) -> Any:
        if not _is_operand(other):
            return NotImplemented
        if self._is_scalar:
            return _keep_weak(ufunc(self, other), self, other)
        return ufunc(self, other, out=(self,))

    return in_place


def _unary(ufunc: np.ufunc) -> Callable[[Tracer], Any]:
    return lambda self: _keep_weak(ufunc(self), self)


_BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "truediv": np.true_divide,
    "floordiv": np.floor_divide,
    "mod": np.remainder,
    "pow": np.power,
    "matmul": np.matmul,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "lshift": np.left_shift,
    "rshift": np.right_shift,
}
for _name, _ufunc in _BINARY.items():
    setattr(Tracer, f"__{_name}__", _forward(_ufunc))
    setattr(Tracer, f"__r{_name}__", _reflected(_ufunc))
    setattr(Tracer, f"__i{_name}__", _in_place(_ufunc))
for _name, _ufunc in {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "divmod": np.divmod,
}.items():
    setattr(Tracer, f"__{_name}__", _forward(_ufunc))
Tracer.__rdivmod__ = _reflected(np.divmod)  # type: ignore[attr-defined]
for _name, _ufunc in {"neg": np.negative, "pos": np.positive, "abs": np.absolute, "invert": np.invert}.items():
    setattr(Tracer, f"__{_name}__", _unary(_ufunc))
