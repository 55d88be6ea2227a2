"""The user's form of a transform as a JSON object, for REST.

``{"transform": "vmap", "in_dims": [0, null]}``: the parameters of torch.func by name, those with
their default left out. A tuple is a JSON array.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ..errors import FarfuncError, InvalidRequest
from ..strict_json import shown
from ..treespec import MAX_DEPTH
from .base import Transform
from .gradient import Grad, GradAndValue
from .jacobian import Hessian, Jacfwd, Jacrev
from .products import Jvp, Vjp
from .vmap import Vmap

__all__ = ["TRANSFORMS", "from_json", "to_json"]

TRANSFORMS: dict[str, type[Transform]] = {
    kind.name: kind for kind in (Jacfwd, Jacrev, Hessian, Grad, GradAndValue, Vmap, Jvp, Vjp)
}


def to_json(transform: Transform) -> dict[str, Any]:
    """The JSON object of a transform.

    >>> to_json(Jacrev(argnums=(0, 1)))
    {'transform': 'jacrev', 'argnums': [0, 1]}
    """
    document: dict[str, Any] = {"transform": transform.name}
    for parameter in _parameters(type(transform)):
        value = getattr(transform, parameter.name)
        if value != parameter.default or type(value) is not type(parameter.default):
            document[parameter.name] = _plain(value)
    return document


def from_json(document: Any, *, where: str = "transform") -> Transform:
    """Read the JSON object of a transform.

    Raises
    ------
    InvalidRequest
        With the path of the member at fault.

    >>> from_json({"transform": "vmap", "in_dims": [0, {"w": None}]})
    Vmap(in_dims=(0, {'w': None}), out_dims=0, randomness='error', chunk_size=None)
    """
    name = document.get("transform") if isinstance(document, dict) else None
    if not isinstance(name, str) or name not in TRANSFORMS:
        raise InvalidRequest(
            f"{shown(document if name is None else name)} is not a transform",
            where=where,
            remedy=f'give an object whose member "transform" is one of {", ".join(TRANSFORMS)}',
        )
    kind = TRANSFORMS[name]
    known = [parameter.name for parameter in _parameters(kind)]
    given = {}
    for key, value in document.items():
        if key == "transform":
            continue
        if key not in known:
            raise InvalidRequest(
                f"{name} has no parameter {shown(key)}", where=where, remedy=f"its parameters are {', '.join(known)}"
            )
        given[key] = _READERS[key](value, f"{where}.{key}")
    try:
        return kind(**given)
    except FarfuncError as error:
        raise InvalidRequest(error.detail, where=where, remedy=error.remedy) from None


def _parameters(kind: type[Transform]) -> list[Any]:
    return [parameter for parameter in fields(kind) if parameter.repr]  # type: ignore[arg-type]  # all are dataclasses


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _argnums(value: Any, where: str) -> Any:
    items = value if isinstance(value, list) else [value]
    if not items or any(type(item) is not int for item in items):
        raise InvalidRequest(f"argnums is an integer or a list of integers, not {shown(value)}", where=where)
    return tuple(items) if isinstance(value, list) else value


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest(f"true or false is expected, not {shown(value)}", where=where)
    return value


def _count(value: Any, where: str) -> int | None:
    if value is not None and type(value) is not int:
        raise InvalidRequest(f"an integer or null is expected, not {shown(value)}", where=where)
    return value


def _word(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"a string is expected, not {shown(value)}", where=where)
    return value


def _axes(value: Any, where: str, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise InvalidRequest(f"a tree has at most {MAX_DEPTH} levels", where=where)
    if isinstance(value, list):
        return tuple(_axes(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value))
    if isinstance(value, dict):
        return {key: _axes(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
    if value is not None and type(value) is not int:
        raise InvalidRequest(f"an axis is an integer or null, not {shown(value)}", where=where)
    return value


_READERS = {
    "argnums": _argnums,
    "has_aux": _flag,
    "strict": _flag,
    "randomness": _word,
    "chunk_size": _count,
    "in_dims": _axes,
    "out_dims": _axes,
}
