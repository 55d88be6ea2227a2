"""ATen's schema strings: what an operator's arguments are called, and what each may hold.

``add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor`` is the whole contract of
an operator: its tensor arguments, in order, become the inputs of an equation, the others its
attributes. A schema also normalises attributes, so that one meaning has one representation
(and a function one identity):

========================  ==========================================================
type                      value of an attribute
========================  ==========================================================
``int``                   int of 64 bits
``SymInt``                the same, or ``{"dim": "n"}`` for a symbolic dimension
``float``                 float
``bool``, ``str``         bool, str
``Scalar``                bool, int, float or complex, kept as given
``ScalarType``            the name of a dtype, ``"float64"``
``T[]``, ``T[2]``         tuple; one ``int`` given for ``int[2]`` stands for both
``T?``                    any of these, or None
========================  ==========================================================

``Layout``, ``Device``, ``MemoryFormat``, ``Generator`` and ``pin_memory`` say where and how a
tensor is stored. That is the server's affair: they are no attributes and never travel.
"""

from __future__ import annotations

import functools
import math
import numbers
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from .dtypes import DTYPES
from .errors import InvalidGraph

__all__ = ["REQUIRED", "Argument", "Schema", "Type", "parse_schema"]

Attribute = Any
"""The value of an attribute, in the representation of the table above."""


class _Required:
    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = _Required()
"""The default of an argument that has none."""

_PLACEMENT = ("Layout", "Device", "MemoryFormat", "Generator")
_BASES = ("Tensor", "int", "SymInt", "float", "bool", "str", "Scalar", "ScalarType", *_PLACEMENT)
_TYPE = re.compile(r"(?P<base>\w+)(?P<optional_item>\?)?(?P<list>\[(?P<size>\d*)\])?(?P<optional>\?)?\Z")
_ALIAS = re.compile(r"\([a-z](?: -> \*)?!?\)")
_SCHEMA = re.compile(r"(?P<name>\w+)(?:\.(?P<overload>\w+))?\((?P<arguments>.*)\) -> (?P<returns>.*)\Z")
_SCALAR_TYPES = ("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
"""c10::ScalarType by number: ``ScalarType? dtype=4`` in the schema of randperm is int64."""


@dataclass(frozen=True, slots=True)
class Type:
    """The type of an argument.

    >>> Type.parse("Tensor?[]")
    Type(base='Tensor', is_list=True, size=None, is_optional=False, has_optional_items=True)
    >>> print(Type.parse("SymInt[2]?"))
    SymInt[2]?
    """

    base: str
    is_list: bool = False
    size: int | None = None
    is_optional: bool = False
    has_optional_items: bool = False

    @classmethod
    def parse(cls, text: str) -> Type:
        """Read a type as schemas write it, without its alias annotation."""
        found = _TYPE.match(text)
        if found is None or found["base"] not in _BASES:
            raise ValueError(f"{text!r} is not a type of a schema that farfunc carries")
        is_list = found["list"] is not None
        return cls(
            base=found["base"],
            is_list=is_list,
            size=int(found["size"]) if found["size"] else None,
            is_optional=bool(found["optional"] if is_list else found["optional_item"]),
            has_optional_items=is_list and bool(found["optional_item"]),
        )

    def __str__(self) -> str:
        item = self.base + "?" * self.has_optional_items
        brackets = f"[{'' if self.size is None else self.size}]" if self.is_list else ""
        return item + brackets + "?" * self.is_optional


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of an operator.

    Attributes
    ----------
    name:
        ATen's own.
    type:
        What it may hold.
    default:
        In the representation of attributes, or :data:`REQUIRED`.
    keyword_only:
        Whether it stands after the ``*``.
    """

    name: str
    type: Type
    default: Attribute = REQUIRED
    keyword_only: bool = False

    @property
    def is_tensor(self) -> bool:
        """Whether it is an input of the equation (a tensor, or a list of them)."""
        return self.type.base == "Tensor"

    @property
    def is_placement(self) -> bool:
        """Whether it says where or how a tensor is stored: never carried."""
        return self.type.base in _PLACEMENT or self.name == "pin_memory"

    def normalise(self, value: object, *, where: str | None = None) -> Attribute:
        """Bring a value into the one representation that its type has, or refuse it.

        >>> parse_schema("f(Tensor self, int[2] stride, float p) -> Tensor").attributes[0].normalise(3)
        (3, 3)
        """
        kind = self.type
        if value is None and kind.is_optional:
            return None
        if not kind.is_list:
            return _scalar(kind.base, value, self, where)
        if isinstance(value, list | tuple):
            return tuple(_scalar(kind.base, item, self, _at(where, i)) for i, item in enumerate(value))
        if kind.size is not None:
            return (_scalar(kind.base, value, self, where),) * kind.size
        raise _refusal(self, value, where)


@dataclass(frozen=True, slots=True)
class Schema:
    """The signature of an operator.

    >>> schema = parse_schema("add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor")
    >>> schema.wire_name, [argument.name for argument in schema.tensor_arguments]
    ('add.Tensor', ['self', 'other'])
    >>> schema.normalise({"alpha": 2})
    {'alpha': 2}
    """

    text: str
    name: str
    overload: str
    arguments: tuple[Argument, ...]
    returns: tuple[Type, ...]
    tensor_arguments: tuple[Argument, ...]
    attributes: tuple[Argument, ...]

    def __str__(self) -> str:
        return self.text

    @property
    def wire_name(self) -> str:
        """``name.overload``; the overload ``default`` is left out."""
        return f"{self.name}.{self.overload}" if self.overload != "default" else self.name

    def normalise(self, attributes: Mapping[str, object], *, where: str | None = None) -> dict[str, Attribute]:
        """Check attributes and return their canonical form: in order, defaults left out.

        >>> parse_schema("amax(Tensor self, int[1] dim=[], bool keepdim=False) -> Tensor").normalise(
        ...     {"keepdim": False, "dim": 0})
        {'dim': (0,)}
        """
        self._check_names(attributes, where)
        canonical = {}
        for argument in self.attributes:
            if argument.name in attributes:
                value = argument.normalise(attributes[argument.name], where=_member(where, argument.name))
                if not _same(value, argument.default):
                    canonical[argument.name] = value
            elif argument.default is REQUIRED:
                raise InvalidGraph(
                    f"{self.wire_name} needs the attribute {argument.name!r} ({argument.type})", where=where
                )
        return canonical

    def complete(self, attributes: Mapping[str, object], *, where: str | None = None) -> dict[str, Attribute]:
        """Check attributes and return all of them, defaults filled in."""
        defaults = {argument.name: argument.default for argument in self.attributes}
        return {**defaults, **self.normalise(attributes, where=where)}

    def _check_names(self, attributes: Mapping[str, object], where: str | None) -> None:
        known = {argument.name for argument in self.attributes}
        for name in attributes:
            if name in known:
                continue
            if any(argument.name == name and argument.is_placement for argument in self.arguments):
                raise InvalidGraph(
                    f"{self.wire_name}: {name!r} says how a tensor is stored, which the server decides",
                    where=_member(where, name),
                    remedy="leave it out",
                )
            raise InvalidGraph(
                f"{self.wire_name} has no attribute {name!r}",
                where=where,
                remedy=f"its attributes are {', '.join(sorted(known))}" if known else "it has no attributes",
            )


@functools.lru_cache(maxsize=4096)
def parse_schema(text: str) -> Schema:
    """Read a schema string of ATen.

    >>> schema = parse_schema("select.int(Tensor(a) self, int dim, SymInt index) -> Tensor(a)")
    >>> [(argument.name, str(argument.type)) for argument in schema.attributes]
    [('dim', 'int'), ('index', 'SymInt')]
    """
    found = _SCHEMA.match(_ALIAS.sub("", text))
    if found is None:
        raise ValueError(f"{text!r} is not a schema")
    arguments, keyword_only = [], False
    for part in _split(found["arguments"]):
        if part == "*":
            keyword_only = True
            continue
        arguments.append(_parse_argument(part, keyword_only))
    returns = found["returns"].removeprefix("(").removesuffix(")")
    return Schema(
        text=text,
        name=found["name"],
        overload=found["overload"] or "default",
        arguments=tuple(arguments),
        returns=tuple(Type.parse(part.split(" ")[0]) for part in _split(returns)),
        tensor_arguments=tuple(a for a in arguments if a.is_tensor),
        attributes=tuple(a for a in arguments if not a.is_tensor and not a.is_placement),
    )


def _split(text: str) -> list[str]:
    """Split at the commas that stand outside brackets."""
    return re.split(r", (?![^\[]*\])", text) if text else []


@functools.lru_cache(maxsize=4096)  # most arguments are "Tensor self" and its like
def _parse_argument(text: str, keyword_only: bool) -> Argument:
    declaration, has_default, default = text.partition("=")
    kind, name = declaration.split(" ")
    parsed = Type.parse(kind)
    return Argument(name, parsed, _parse_default(parsed, default) if has_default else REQUIRED, keyword_only)


def _parse_default(kind: Type, text: str) -> Attribute:
    if text == "None":
        return None
    if text.startswith("["):
        return tuple(_parse_default(Type(kind.base), item) for item in _split(text[1:-1]))
    if kind.is_list:
        return (_parse_default(Type(kind.base), text),) * (kind.size or 1)
    if kind.base in ("str", "bool"):
        return text[1:-1] if kind.base == "str" else text == "True"
    if kind.base == "ScalarType":
        return _SCALAR_TYPES[int(text)]
    return float(text) if kind.base == "float" or not re.fullmatch(r"-?\d+", text) else int(text)


def _scalar(base: str, value: object, argument: Argument, where: str | None) -> Attribute:
    is_bool = isinstance(value, bool | np.bool_)
    if base in ("int", "SymInt"):
        if isinstance(value, numbers.Integral) and not is_bool and -(2**63) <= int(value) < 2**63:
            return int(value)
        if base == "SymInt" and isinstance(value, dict) and set(value) == {"dim"} and isinstance(value["dim"], str):
            return {"dim": value["dim"]}
    elif base == "float":
        if isinstance(value, numbers.Real) and not is_bool:
            return _float(value, argument, where)
    elif base == "bool":
        if is_bool:
            return bool(value)
    elif base == "str":
        if isinstance(value, str):
            return str(value)
    elif base == "ScalarType":
        if isinstance(value, str) and value in DTYPES:
            return value
    elif base == "Scalar":
        if is_bool:
            return bool(value)
        if isinstance(value, numbers.Integral):
            if -(2**63) <= int(value) < 2**64:
                return int(value)
        elif isinstance(value, numbers.Real):
            return _float(value, argument, where)
        elif isinstance(value, numbers.Complex):
            return complex(value)
    raise _refusal(argument, value, where)


def _float(value: numbers.Real, argument: Argument, where: str | None) -> float:
    try:
        return float(value)
    except (OverflowError, ValueError):
        raise _refusal(argument, value, where) from None


_MEANING = {
    "int": "an integer of 64 bits",
    "SymInt": "an integer of 64 bits, or a symbolic dimension",
    "float": "a number",
    "bool": "True or False",
    "str": "a string",
    "Scalar": "a number",
    "ScalarType": "the name of a dtype",
}


def _refusal(argument: Argument, value: object, where: str | None) -> InvalidGraph:
    kind = argument.type
    meaning = _MEANING[kind.base]
    if kind.is_list:
        meaning = f"a list, each item {meaning}"
    if kind.is_optional:
        meaning += ", or None"
    shown = repr(value) if not isinstance(value, int) or abs(value) < 2**64 else "an integer beyond 64 bits"
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return InvalidGraph(f"{argument.name!r} is {kind}, which {shown} is not", where=where, remedy=f"give {meaning}")


def _same(value: Attribute, default: Attribute) -> bool:
    """Whether an attribute is its default: 1, 1.0 and True differ, and so do 0.0 and -0.0."""
    if type(value) is not type(default):
        return False
    if isinstance(value, tuple):
        return len(value) == len(default) and all(map(_same, value, default))
    if isinstance(value, float):
        return value == default and math.copysign(1.0, value) == math.copysign(1.0, default)
    return value == default


def _at(where: str | None, index: int) -> str:
    return f"{where or ''}[{index}]"


def _member(where: str | None, name: str) -> str:
    return f"{where}.{name}" if where else name
