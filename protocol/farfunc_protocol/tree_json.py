"""The JSON form of a tree's structure: compact, canonical, and never the name of code to run.

::

    tree   = "*"                                             a leaf
           | ["tuple", tree, ...]
           | ["list", tree, ...]
           | {"dict": [[key, tree], ...]}                    key: a string or an integer
           | {"class": name, "dict": [[key, tree], ...]}     OrderedDict, defaultdict
           | {"class": name, "node": [tree, ...]}            any other class
           | {"class": name, "fields": [name, ...], "node": [tree, ...]}     a namedtuple
           | {"static": value}
    value  = null | true | false | integer | number | string
           | {"float": special}
           | {"complex": [number or special, number or special]}
           | {"opaque": name}                                any other object: its type's name
    special = "NaN" | "Infinity" | "-Infinity"

The order of a dict's keys is the order of its leaves, hence a list of pairs. Integer and number
are told apart (``3`` and ``3.0``). A class travels as information only: at the other end an
``OrderedDict`` is one again, any other mapping comes back as a dict, and any other class as a
tuple. A dict with a key that is neither a string nor an integer travels like a class.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any, NoReturn

from .errors import LimitExceeded, ProtocolError
from .strict_json import shown
from .treespec import LEAF, MAX_DEPTH, NodeType, Opaque, TreeSpec, is_scalar, static_type_name

__all__ = ["from_json", "to_json"]

_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_REMEDY = 'a tree is "*" (an array), ["tuple", tree, ...], ["list", tree, ...] or {"dict": [[key, tree], ...]}'


def to_json(spec: TreeSpec) -> Any:
    """The structure as a document for :func:`json.dumps`.

    >>> to_json(TreeSpec("tuple", (LEAF, TreeSpec("dict", (LEAF,), keys=("w",)), TreeSpec("static", value=2))))
    ['tuple', '*', {'dict': [['w', '*']]}, {'static': 2}]
    """
    if spec.kind == "leaf":
        return "*"
    if spec.kind == "static":
        return {"static": _static_to_json(spec.value)}
    children = [to_json(child) for child in spec.children]
    if spec.kind in ("tuple", "list"):
        return [spec.kind, *children]
    name = spec.node.name if spec.node is not None else "dict"
    if spec.is_mapping and all(_is_wire_key(key) for key in spec.keys or ()):
        pairs = [[key, child] for key, child in zip(spec.keys or (), children, strict=True)]
        return {"dict": pairs} if spec.node is None else {"class": name, "dict": pairs}
    if spec.keys is not None and not spec.is_mapping:
        return {"class": name, "fields": list(spec.keys), "node": children}
    return {"class": name, "node": children}


def from_json(document: Any, *, where: str = "tree") -> TreeSpec:
    """Read what :func:`to_json` wrote.

    Raises :class:`ProtocolError` with the place of the fault, or :class:`LimitExceeded` for a
    tree of more than ``MAX_DEPTH`` levels.

    >>> from_json(["list", "*", {"static": None}])
    TreeSpec([*, None])
    >>> from_json(["list", "*", {"dict": [["w"]]}], where="out_tree")
    Traceback (most recent call last):
    ...
    farfunc_protocol.errors.ProtocolError: an entry of a dict is a pair [key, tree], not ['w']
      where: out_tree[2].dict[0]
      remedy: a tree is "*" (an array), ["tuple", tree, ...], ["list", tree, ...] or {"dict": [[key, tree], ...]}
    """
    return _read(document, where, 0)


def _read(document: Any, where: str, depth: int) -> TreeSpec:
    if document == "*" and isinstance(document, str):
        return LEAF
    if depth > MAX_DEPTH:
        raise LimitExceeded(
            f"a tree of more than {MAX_DEPTH} levels", where=where, remedy="pass the arrays in a flatter structure"
        )
    if isinstance(document, list):
        if not document or document[0] not in ("tuple", "list"):
            _refuse(f"a list begins with 'tuple' or 'list', not with {shown(document[0] if document else None)}", where)
        return TreeSpec(document[0], _read_all(document[1:], where, depth, first=1))
    if not isinstance(document, dict):
        _refuse(f"a tree is '*', a list or an object, not {shown(document)}", where)
    members = set(document)
    if members == {"static"}:
        return TreeSpec("static", value=_static_from_json(document["static"], f"{where}.static"))
    if members == {"dict"} or members == {"class", "dict"}:
        return _read_dict(document, where, depth)
    if members in ({"class", "node"}, {"class", "fields", "node"}):
        return _read_node(document, where, depth)
    _refuse(f"an object with the members {shown(sorted(map(str, members)))} is no tree", where)


def _read_all(documents: list[Any], where: str, depth: int, first: int = 0) -> tuple[TreeSpec, ...]:
    return tuple([_read(child, f"{where}[{index}]", depth + 1) for index, child in enumerate(documents, first)])


def _read_dict(document: dict[str, Any], where: str, depth: int) -> TreeSpec:
    pairs = document["dict"]
    if not isinstance(pairs, list):
        _refuse(f"a dict is a list of pairs, not {shown(pairs)}", f"{where}.dict")
    keys: dict[Any, None] = {}
    children = []
    for index, pair in enumerate(pairs):
        place = f"{where}.dict[{index}]"
        if not isinstance(pair, list) or len(pair) != 2:
            _refuse(f"an entry of a dict is a pair [key, tree], not {shown(pair)}", place)
        key, child = pair
        if not _is_wire_key(key):
            _refuse(f"a key is a string or an integer of 64 bits, not {shown(key)}", f"{place}[0]")
        if key in keys:
            _refuse(f"the key {shown(key)} occurs twice", f"{place}[0]")
        keys[key] = None
        children.append(_read(child, f"{place}[1]", depth + 1))
    if "class" not in document:
        return TreeSpec("dict", tuple(children), keys=tuple(keys))
    node = _read_class(document, where, is_mapping=True)
    return TreeSpec("node", tuple(children), keys=tuple(keys), node=node)


def _read_node(document: dict[str, Any], where: str, depth: int) -> TreeSpec:
    children, fields = document["node"], document.get("fields")
    if not isinstance(children, list):
        _refuse(f"the children of a node are a list, not {shown(children)}", f"{where}.node")
    if "fields" in document and not (
        isinstance(fields, list)
        and len(fields) == len(children)
        and all(isinstance(name, str) and is_scalar(name) for name in fields)
    ):
        _refuse(f"fields are one name for each child, not {shown(fields)}", f"{where}.fields")
    node = _read_class(document, where, is_mapping=False)
    keys = None if fields is None else tuple(fields)
    return TreeSpec("node", _read_all(children, f"{where}.node", depth), keys=keys, node=node)


def _read_class(document: dict[str, Any], where: str, *, is_mapping: bool) -> NodeType:
    name = document["class"]
    if not isinstance(name, str) or not is_scalar(name):
        _refuse(f"a class is a name, not {shown(name)}", f"{where}.class")
    if is_mapping and name == "OrderedDict":
        return NodeType(name, OrderedDict, is_mapping=True)
    return NodeType(name, None, is_mapping=is_mapping)


def _is_wire_key(key: Any) -> bool:
    return type(key) in (str, int) and is_scalar(key)


def _static_to_json(value: Any) -> Any:
    if not is_scalar(value):
        return {"opaque": static_type_name(value)}
    if isinstance(value, complex):
        return {"complex": [_number_to_json(value.real), _number_to_json(value.imag)]}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": _number_to_json(value)}
    return value


def _number_to_json(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _static_from_json(document: Any, where: str) -> Any:
    if isinstance(document, float) and not math.isfinite(document):
        _refuse(f"a number is finite, not {document}", where, 'write {"float": "NaN"}, "Infinity" or "-Infinity"')
    if is_scalar(document):
        return document
    if isinstance(document, dict) and len(document) == 1:
        ((form, content),) = document.items()
        if form == "float" and isinstance(content, str) and content in _SPECIAL:
            return _SPECIAL[content]
        if form == "complex" and isinstance(content, list) and len(content) == 2:
            real, imag = (_number_from_json(part, f"{where}.complex[{index}]") for index, part in enumerate(content))
            return complex(real, imag)
        if form == "opaque" and isinstance(content, str) and is_scalar(content):
            return Opaque(content)
    _refuse(f"{shown(document)} is not a static value", where)


def _number_from_json(part: Any, where: str) -> float:
    if isinstance(part, str) and part in _SPECIAL:
        return _SPECIAL[part]
    if type(part) is float and math.isfinite(part):
        return part
    _refuse(f"a part of a complex number is a number with a point, or a special name, not {shown(part)}", where)


def _refuse(detail: str, where: str, remedy: str = _REMEDY) -> NoReturn:
    raise ProtocolError(detail, where=where, remedy=remedy)
