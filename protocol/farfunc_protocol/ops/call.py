"""What a shape rule is given: one application of an operator to typed operands.

A symbolic dimension (``"n"``) is a :class:`Symbol` here: equal to itself and to nothing that is
certain. A rule that only copies or compares lengths works on symbols as it does on numbers; one
that must compute with a length raises :class:`UnknownDimension`, and is asked again when a call
has bound the symbol.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NoReturn

from ..errors import InvalidGraph
from ..graph import Dimension, TensorType
from ..schema import Schema

__all__ = ["MAX_OUTPUTS", "Call", "Shape", "Symbol", "TypedOperand", "UnknownDimension", "shape_of"]

TypedOperand = TensorType | None | tuple[TensorType | None, ...]
"""The types of one operand: ``Tensor``, ``Tensor?``, ``Tensor[]`` or ``Tensor?[]``."""

Shape = tuple[Any, ...]
"""The lengths that rules and costs compute with: numbers, and a :class:`Symbol` for each that is not bound."""

MAX_RANK = 64
"""torch's own bound on the number of axes."""

MAX_OUTPUTS = 65_536
"""One operation never defines more variables: ``unbind`` of a long axis is refused."""

MAX_ELEMENTS = 2**63
"""Where torch's counts of elements end."""


class UnknownDimension(InvalidGraph):
    """The answer depends on the length that a symbolic dimension will have."""


class Symbol:
    """The unknown length of an axis.

    >>> Symbol("n") == Symbol("n"), Symbol("n") == 1
    (True, False)
    >>> Symbol("n") * 2
    Traceback (most recent call last):
        ...
    farfunc_protocol.ops.call.UnknownDimension: the shape depends on the value of the symbolic dimension 'n'
      remedy: bind the dimension first
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def _unknown(self, *_: object) -> NoReturn:
        raise UnknownDimension(
            f"the shape depends on the value of the symbolic dimension {self.name!r}", remedy="bind the dimension first"
        )

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Symbol) and other.name == self.name:
            return True
        # A symbol is taken to be neither 0 nor 1 (as in torch.export), so it never broadcasts;
        # once bound, the shapes are inferred again from the numbers.
        if isinstance(other, int) and other in (-1, 0, 1):
            return False
        self._unknown()

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return self.name

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __neg__ = __abs__ = _unknown
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __divmod__ = __truediv__ = __rtruediv__ = _unknown
    __lt__ = __le__ = __gt__ = __ge__ = __index__ = __int__ = __float__ = __bool__ = _unknown


class Call:
    """One application of an operator: its operands and attributes by name, defaults filled in.

    ``call.self``, ``call.dim`` and so on read an argument by its name in the schema.
    """

    __slots__ = ("arguments", "schema", "where")

    def __init__(
        self,
        schema: Schema,
        inputs: tuple[TypedOperand, ...],
        attributes: Mapping[str, object],
        where: str | None = None,
    ) -> None:
        self.schema = schema
        self.where = where
        self.arguments: dict[str, Any] = {}
        declared = schema.tensor_arguments
        if len(inputs) != len(declared):
            names = ", ".join(f"{argument.type} {argument.name}" for argument in declared)
            self.refuse(f"{len(inputs)} inputs were given; its tensor arguments are ({names})")
        for argument, operand in zip(declared, inputs, strict=True):
            self.arguments[argument.name] = self._operand(argument, operand)
        attribute_path = f"{where}.at" if where else "at"
        for name, value in schema.complete(attributes, where=attribute_path).items():
            self.arguments[name] = _attribute(value)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.arguments[name]
        except KeyError:
            raise AttributeError(f"{self.schema.wire_name} has no argument {name!r}") from None

    @property
    def tensors(self) -> list[TensorType]:
        """Every tensor operand, those in lists included, the missing ones left out."""
        found: list[TensorType] = []
        for argument in self.schema.tensor_arguments:
            operand = self.arguments[argument.name]
            items = operand if isinstance(operand, tuple) else (operand,)
            found.extend(item for item in items if item is not None)
        return found

    def refuse(self, detail: str, *, argument: str | None = None, remedy: str | None = None) -> NoReturn:
        """Raise :class:`InvalidGraph` in the name of this operator, pointing at one argument."""
        where = self.where
        if argument is not None:
            names = [declared.name for declared in self.schema.tensor_arguments]
            place = f"in[{names.index(argument)}]" if argument in names else f"at.{argument}"
            where = f"{where}.{place}" if where else place
        raise InvalidGraph(f"{self.schema.wire_name}: {detail}", where=where, remedy=remedy)

    def require(self, condition: bool, detail: str, *, argument: str | None = None, remedy: str | None = None) -> None:
        """Refuse unless the condition holds."""
        if not condition:
            self.refuse(detail, argument=argument, remedy=remedy)

    def _operand(self, argument: Any, operand: object) -> Any:
        kind = argument.type
        if kind.is_list:
            if operand is None and kind.is_optional:
                return None
            if not isinstance(operand, tuple):
                self.refuse(f"{argument.name!r} takes a list of tensors", argument=argument.name)
            return tuple(self._tensor(argument, item, kind.has_optional_items) for item in operand)
        return self._tensor(argument, operand, kind.is_optional)

    def _tensor(self, argument: Any, operand: object, optional: bool) -> TensorType | None:
        if operand is None and optional:
            return None
        if not isinstance(operand, TensorType):
            self.refuse(f"{argument.name!r} takes {argument.type}", argument=argument.name)
        if len(operand.shape) > MAX_RANK:
            self.refuse(f"{len(operand.shape)} axes are more than {MAX_RANK}", argument=argument.name)
        if math.prod(length for length in operand.shape if isinstance(length, int)) >= MAX_ELEMENTS:
            self.refuse("a tensor of 2**63 elements or more", argument=argument.name)
        return with_symbols(operand)


def with_symbols(type_: TensorType) -> TensorType:
    """The type with symbols in place of names."""
    if all(isinstance(length, int) for length in type_.shape):
        return type_
    shape: Shape = tuple(Symbol(n) if isinstance(n, str) else n for n in type_.shape)
    return TensorType(type_.dtype, shape)


def shape_of(type_: TensorType) -> Shape:
    """The shape of an operand or a result as rules and costs see it."""
    return type_.shape


def without_symbols(shape: Shape) -> tuple[Dimension, ...]:
    """The shape with names in place of symbols."""
    return tuple(length.name if isinstance(length, Symbol) else length for length in shape)


def _attribute(value: Any) -> Any:
    if isinstance(value, dict):
        return Symbol(value["dim"])
    if isinstance(value, tuple):
        return tuple(map(_attribute, value))
    return value
