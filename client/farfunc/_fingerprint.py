"""Everything that a function's behaviour may depend on, taken down so that two calls can be compared.

The walk starts at the function and follows what its code can reach: defaults, closure cells, the
globals that it names (attributes of the user's own modules included), the functions and classes
found there, bound objects with their attributes, containers. Scalars are compared by value, modules
and types of libraries by identity, arrays by their bytes with a snapshot: no hash stands in for them.

What cannot be looked into (a file, a generator, an instance of a foreign C class) makes the
function *opaque*: it is traced at every call, which is always right. A library (the standard one,
torch, NumPy, whatever lies in ``site-packages``) is taken not to change while the process runs.
"""

from __future__ import annotations

import builtins
import copyreg
import enum
import functools
import sys
import types
from collections import OrderedDict, defaultdict, deque
from typing import Any

import numpy as np

from ._code_names import is_library, names_of
from ._walk import HANDLERS, PLAIN, ArrayKind, Fingerprint, Handler, Same, register_array, register_class, special_class

__all__ = ["ArrayKind", "Fingerprint", "Same", "fingerprint", "register_array", "register_class", "transformed_of"]


def fingerprint(func: Any) -> Fingerprint:
    """Take down a function.

    >>> def make(scale):
    ...     return lambda x: scale * x
    >>> fingerprint(make(2.0)).tokens == fingerprint(make(2.0)).tokens
    True
    >>> fingerprint(make(2.0)).tokens == fingerprint(make(3.0)).tokens
    False
    """
    found = Fingerprint()
    found.add(func)
    return found


def transformed_of(func: Any) -> Any:
    """What farfunc knows about a callable that one of its transforms returned; None for any other."""
    known = getattr(func, "__farfunc__", None)
    # functools.wraps copies the attribute to callables of the user's own: those are not ours.
    return known if known is not None and known.wrapper is func else None


def _function(found: Fingerprint, func: Any) -> None:
    known = transformed_of(func)
    if known is not None:
        found.tokens += ("transformed", known.key)
        found.add(known.func)
        return
    original = getattr(func, "__farfunc_stands_for__", None)
    if original is not None:  # another thread is tracing right now: see _numpy/_patches.py
        found.add(original)
        return
    code = func.__code__
    found.same(code)
    found.add(func.__defaults__)
    found.add(func.__kwdefaults__)
    for cell in func.__closure__ or ():
        try:
            found.add(cell.cell_contents)
        except ValueError:  # assigned later
            found.tokens.append("empty")
    if not is_library(func.__module__):
        for name, value in func.__dict__.items():
            found.tokens.append(name)
            found.add(value)
        _globals(found, code, func.__globals__)


def _globals(found: Fingerprint, code: Any, names: dict[str, Any]) -> None:
    reads = names_of(code)
    if reads.foreign_import is not None:
        found.opaque = f"the module {reads.foreign_import}, imported as it runs"
    for name, attributes in reads.reads:
        if name not in names:
            found.tokens.append("builtin" if hasattr(builtins, name) else "missing")
            continue
        value = names[name]
        if not isinstance(value, types.ModuleType):
            found.add(value)
            continue
        for attribute in attributes:
            if is_library(value.__name__) or attribute not in vars(value):
                break
            value = vars(value)[attribute]
            if not isinstance(value, types.ModuleType):
                break
        found.temporary(value)


def _by_identity(found: Fingerprint, thing: Any) -> None:
    found.same(thing)


def _float(found: Fingerprint, value: float) -> None:
    found.tokens += (float, value.hex())  # tells -0.0 from 0.0; NaN is equal to NaN


def _complex(found: Fingerprint, value: complex) -> None:
    found.tokens += (complex, value.real.hex(), value.imag.hex())


def _numpy_scalar(found: Fingerprint, value: np.generic) -> None:
    found.tokens += (type(value), value.tobytes())


def _sequence(found: Fingerprint, items: Any) -> None:
    found.tokens += (type(items), len(items))
    for item in items:
        found.add(item)


def _mapping(found: Fingerprint, items: Any) -> None:
    found.tokens += (type(items), len(items))
    for key, value in items.items():
        found.add(key)
        found.add(value)


def _set(found: Fingerprint, items: Any) -> None:
    kinds = {type(item) for item in items}
    if kinds <= PLAIN:
        found.tokens += (type(items), frozenset((type(item), item) for item in items))
    elif all(issubclass(kind, type | enum.Enum) for kind in kinds):
        found.tokens += (type(items), frozenset(map(id, items)))
        found.alive.extend(items)
    else:
        found.opaque = "a set of objects"


def _slice(found: Fingerprint, value: slice) -> None:
    found.tokens.append(slice)
    for part in (value.start, value.stop, value.step):
        found.add(part)


def _range(found: Fingerprint, value: range) -> None:
    found.tokens += (range, value.start, value.stop, value.step)


def _bytearray(found: Fingerprint, value: bytearray) -> None:
    found.tokens += (bytearray, bytes(value))


def _partial(found: Fingerprint, value: functools.partial[Any]) -> None:
    found.tokens.append(functools.partial)
    for part in (value.func, value.args, value.keywords):
        found.temporary(part)


def _method(found: Fingerprint, value: types.MethodType) -> None:
    found.tokens.append("method")
    found.temporary(value.__func__)
    found.temporary(value.__self__)


def _builtin(found: Fingerprint, value: types.BuiltinMethodType) -> None:
    owner = value.__self__
    if owner is None or isinstance(owner, types.ModuleType | type):
        found.same(value if owner is None else owner)
        found.tokens.append(value.__name__)
    else:  # a method of an object: array.sum, list.append
        found.tokens += ("builtin method", value.__name__)
        found.temporary(owner)


def _wrapper(found: Fingerprint, value: Any) -> None:
    found.tokens.append(type(value))
    found.temporary(value.__wrapped__)


def _property(found: Fingerprint, value: property) -> None:
    found.tokens.append(property)
    found.temporary(value.fget)


def _class(found: Fingerprint, cls: type) -> None:
    found.same(cls)
    for base in cls.__mro__:
        if is_library(base.__module__):
            continue
        for name, value in vars(base).items():
            if name not in _CLASS_FURNITURE:
                found.tokens.append(name)
                found.add(value)


def _instance(found: Fingerprint, thing: Any) -> None:
    """An instance of a class written in Python: its class and its attributes."""
    cls = type(thing)
    found.add(cls)
    state = getattr(thing, "__farfunc_state__", None)  # an object of farfunc's own, which knows what matters
    if state is not None:
        found.temporary(state())
        return
    for base in cls.__mro__:
        for name in _slots(base):
            found.tokens.append(name)
            if hasattr(thing, name):
                found.temporary(getattr(thing, name))
    attributes = getattr(thing, "__dict__", None)
    if attributes is not None:
        found.tokens.append(len(attributes))
        for name, value in attributes.items():
            found.tokens.append(name)
            found.add(value)


def _slots(cls: type) -> tuple[str, ...]:
    slots = cls.__dict__.get("__slots__", ())
    slots = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in slots if name not in ("__dict__", "__weakref__") and not name.startswith("__"))


def _subclass_of_container(found: Fingerprint, thing: Any) -> None:
    (_mapping if isinstance(thing, dict) else _sequence)(found, thing)
    _instance(found, thing)


def _opaque(found: Fingerprint, thing: Any) -> None:
    found.opaque = f"an instance of {type(thing).__module__}.{type(thing).__qualname__}"


_CLASS_FURNITURE = frozenset(
    {
        "__abstractmethods__", "__annotate__", "__annotate_func__", "__annotations__", "__annotations_cache__",
        "__dataclass_fields__", "__dataclass_params__", "__dict__", "__doc__", "__firstlineno__", "__hash__",
        "__match_args__", "__module__", "__orig_bases__", "__parameters__", "__qualname__", "__slots__",
        "__static_attributes__", "__weakref__", "_abc_impl",
    }
)  # fmt: skip
"""Entries of a class that no computation reads."""

_IDENTITY = (types.ModuleType, np.ufunc, np.dtype, types.WrapperDescriptorType)
_IDENTITY += (types.MethodDescriptorType, types.GetSetDescriptorType, types.MemberDescriptorType)
_IDENTITY += (types.ClassMethodDescriptorType, types.GenericAlias)

_IDENTITY_BY_NAME = {
    ("logging", "Logger"),
    ("_thread", "lock"),
    ("_thread", "RLock"),
    ("re", "Pattern"),
    ("numpy", "_ArrayFunctionDispatcher"),
    ("torch", "dtype"),
    ("torch", "layout"),
    ("torch", "memory_format"),
    ("torch._ops", "OpOverload"),
    ("torch._ops", "OpOverloadPacket"),
    ("torch._ops", "_OpNamespace"),
}
"""Classes of libraries whose instances do not change what a function computes."""

_KINDS: dict[type, Handler] = {
    float: _float,
    complex: _complex,
    tuple: _sequence,
    list: _sequence,
    deque: _sequence,
    dict: _mapping,
    OrderedDict: _mapping,
    defaultdict: _mapping,
    types.MappingProxyType: _mapping,
    set: _set,
    frozenset: _set,
    slice: _slice,
    range: _range,
    bytearray: _bytearray,
    functools.partial: _partial,
    type(lambda: None): _function,
    types.MethodType: _method,
    types.BuiltinFunctionType: _builtin,
    types.MethodWrapperType: _builtin,
    staticmethod: _wrapper,
    classmethod: _wrapper,
    type(functools.lru_cache(len)): _wrapper,
    property: _property,
    types.SimpleNamespace: lambda found, value: _mapping(found, vars(value)),
    Same: lambda found, value: found.same(value.thing),
    **dict.fromkeys(_IDENTITY, _by_identity),
}


def _choose(cls: type) -> Handler:
    """The handler of a class that was not met before."""
    if (cls.__module__, cls.__qualname__) in _IDENTITY_BY_NAME or issubclass(cls, enum.Enum):
        return _by_identity
    if issubclass(cls, type):
        return _class
    if issubclass(cls, np.generic):
        return _numpy_scalar
    special = special_class(cls)
    if special is not None:
        return special
    solid = _solid_base(cls)
    if solid is object:
        return _instance
    if solid in (tuple, list, dict, OrderedDict):
        return _subclass_of_container
    return _opaque


def _solid_base(cls: type) -> type:
    """The nearest class that is written in C, as :mod:`copyreg` finds it; its part of an instance is invisible."""
    new_type = type(int.__new__)
    for base in cls.__mro__:
        if not base.__flags__ & copyreg._HEAPTYPE:  # type: ignore[attr-defined]
            return base
        new = base.__new__
        if isinstance(new, new_type) and new.__self__ is base:
            return base
    return object


class _Ndarrays:
    """NumPy's arrays, by their bytes."""

    def describe(self, array: np.ndarray) -> tuple[Any, ...] | None:
        return None if array.dtype.hasobject else (array.dtype.str, array.shape)

    def snapshot(self, array: np.ndarray) -> np.ndarray:
        return words(np.array(array, order="C", copy=True))

    def unchanged(self, array: np.ndarray, snapshot: np.ndarray) -> bool:
        return np.array_equal(words(np.asarray(array, order="C")), snapshot)


def words(array: np.ndarray) -> np.ndarray:
    """The bytes of a contiguous array, eight at a time where they can be.

    >>> words(np.zeros(3, np.float32)).dtype, words(np.zeros(3)).shape
    (dtype('uint8'), (3,))
    """
    return array.reshape(-1).view(np.uint64 if array.nbytes % 8 == 0 and array.ndim and array.size else np.uint8)


HANDLERS.update(_KINDS)
HANDLERS.choose = _choose
register_array(np.ndarray, _Ndarrays())

if sys.version_info >= (3, 12):
    import typing

    HANDLERS[typing.TypeAliasType] = _by_identity
