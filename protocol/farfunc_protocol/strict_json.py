"""JSON as the protocol reads and writes it: canonical going out, strict coming in."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Sequence
from typing import Any, NoReturn

from .errors import InvalidGraph, InvalidRequest, ProtocolError

__all__ = ["canonical_json", "list_of", "members_of", "parse_json", "shown"]


def canonical_json(document: Any) -> bytes:
    """The one spelling of a document: sorted keys, no spaces, ASCII, no NaN.

    >>> canonical_json({"b": [1, 2.0], "a": None})
    b'{"a":null,"b":[1,2.0]}'
    """
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def parse_json(text: bytes | bytearray | memoryview | str, *, where: str = "document") -> Any:
    """Parse JSON, refusing what parsers disagree about.

    Raises
    ------
    InvalidRequest
        For text that is no UTF-8, no JSON, nested too deeply, that names a key twice, or holds
        ``NaN``, ``Infinity`` or an integer of thousands of digits.

    >>> parse_json(b'{"a": [1, 2.5]}')
    {'a': [1, 2.5]}
    """
    if not isinstance(text, str):
        try:
            text = bytes(text).decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"the text is not UTF-8: {error.reason} at byte {error.start}", where=where) from None
    try:
        document = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
        if "\\ud" in text.lower():  # a lone surrogate is no character, and could not be written again
            json.dumps(document, ensure_ascii=False).encode()
        return document
    except UnicodeEncodeError:
        raise InvalidRequest("a string holds half of a surrogate pair", where=where) from None
    except json.JSONDecodeError as error:
        place = f"{where}, line {error.lineno} column {error.colno}"
        raise InvalidRequest(f"the text is not JSON: {error.msg}", where=place) from None
    except RecursionError:
        raise InvalidRequest("the JSON is nested too deeply", where=where) from None
    except InvalidRequest as error:
        error.where = where
        raise
    except ValueError as error:  # an integer beyond sys.get_int_max_str_digits
        raise InvalidRequest(f"the JSON holds a number that cannot be read: {error}", where=where) from None


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidRequest(
        f"{name} is no JSON",
        remedy=f'in an array write the string "{name}"; in an attribute write {{"float": "{name}"}}',
    )


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise InvalidRequest(f"the key {twice!r} stands twice in one object")
    return found


def members_of(
    document: Any,
    where: str,
    *,
    required: Sequence[str],
    optional: Sequence[str] = (),
    error: type[ProtocolError] = InvalidGraph,
) -> dict[str, Any]:
    """The members of a JSON object; raises ``error`` for a missing or an unknown one."""
    if not isinstance(document, dict):
        raise error(f"an object is expected here, not {shown(document)}", where=where)
    known = ", ".join((*required, *optional))
    missing = [name for name in required if name not in document]
    if missing:
        raise error(f"the member {missing[0]!r} is missing", where=where, remedy=f"the members are {known}")
    unknown = sorted(set(document) - set(required) - set(optional))
    if unknown:
        raise error(f"there is no member {unknown[0]!r} here", where=where, remedy=f"the members are {known}")
    return document


def list_of(document: Any, where: str, *, error: type[ProtocolError] = InvalidGraph) -> list[Any]:
    """The items of a JSON array."""
    if not isinstance(document, list):
        raise error(f"a list is expected here, not {shown(document)}", where=where)
    return document


def shown(value: Any) -> str:
    """A JSON value as an error message quotes it: short, however long or deep the value is.

    >>> shown([True, None])
    '[true, null]'
    >>> shown([[[[[1]]]], "x" * 1000])
    "[[[[...]]], 'xxxxxxxxxxxx...xxxxxxxxxxxxx']"
    """
    text = _SHORT.repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


class _Short(reprlib.Repr):
    """Writes null, true and false as the document does; reprlib finds the methods by the types' names."""

    def repr_NoneType(self, value: None, level: int) -> str:
        return "null"

    def repr_bool(self, value: bool, level: int) -> str:
        return "true" if value else "false"


_SHORT = _Short()
_SHORT.maxlevel = 3
