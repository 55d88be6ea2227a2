"""Requests and responses of an evaluation as JSON, for curl and for pipelines.

A request names the transforms as torch.func does, and gives the arguments in the structure that
the function was written for::

    {"function": "arm", "transforms": [{"transform": "vmap"}, {"transform": "jacfwd", "argnums": 0}],
     "args": [[[0.0, -0.78, 0.0, -2.35, 0.0, 1.57, 0.78]]], "kwargs": {}, "seed": 7, "encoding": "lists"}

``args`` and ``kwargs`` are those of the outermost transform; ``jvp`` takes ``[primals, tangents]``,
``vjp`` ``[primals, cotangents]``. A tuple is a list; a value that is no array stands as it is, or
may be left out of ``kwargs``. Arrays are in any form of :mod:`farfunc_protocol.array_json`; those
of the response are in the form that ``encoding`` names, ``"lists"`` or ``"base64"``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from . import array_json, transforms
from .arrays import Array
from .errors import InvalidRequest
from .graph import Function, TensorType
from .lengths import at_lengths, symbols_of
from .limits import DEFAULT_LIMITS, Limits
from .messages import MAX_TRANSFORMS, EvaluateRequest, check_reference, check_seed
from .pytree import broadcast_prefix, flatten, spec_tree
from .strict_json import list_of, members_of, shown
from .transforms import Arguments, Jvp, Transform, Vjp, Vmap
from .transforms.flat import with_axis

__all__ = ["JsonRequest", "encode_json_response", "read_json_request"]

_BATCH = "batch_"
"""The lengths of batches, which any number matches, are symbols of this name and a number."""


@dataclass(frozen=True, slots=True)
class JsonRequest:
    """A request that has been read, but not yet held against its function.

    Attributes
    ----------
    function, seed:
        As in :class:`~farfunc_protocol.messages.EvaluateRequest`.
    transforms:
        In the user's form, outermost first.
    args, kwargs:
        The JSON of the arguments.
    encoding:
        Of the response's arrays.
    arrays:
        Those that have been read so far, by their paths.
    """

    function: str
    transforms: tuple[Transform, ...]
    args: list[Any]
    kwargs: Mapping[str, Any]
    seed: int | None = None
    encoding: str = "lists"
    arrays: dict[str, Array] = field(default_factory=dict, compare=False, repr=False)

    def lengths(self, function: Function, *, limits: Limits = DEFAULT_LIMITS) -> dict[str, int]:
        """Bind the symbolic dimensions of a function, by the arrays that are given for its arguments.

        Tangents and cotangents say nothing here: they are held against the lengths by :meth:`bind`.

        Raises
        ------
        FarfuncError
            With the path of the argument that does not fit, or has another length than one before it.
        """
        symbols = symbols_of(function.graph)
        if not symbols:
            return {}
        reader = _Reader(limits, self.arrays, symbols)
        maps, args, where = _primals(self.transforms, self.args)
        is_product = where != "args"
        given = (args, {} if is_product else self.kwargs)
        expected_args, expected_kwargs = spec_tree(function.in_tree, list(function.graph.inputs))
        for depth, transform in enumerate(reversed(maps)):
            expected_args = _batched(transform, expected_args, _batch_symbol(depth, symbols))
        reader.read(given[0], expected_args, where)
        reader.read(given[1], {} if is_product else expected_kwargs, "kwargs")
        return {name: length for name, (length, _) in reader.lengths.items()}

    def bind(
        self,
        function: Function,
        output_types: Sequence[TensorType],
        lengths: Mapping[str, int] | None = None,
        *,
        limits: Limits = DEFAULT_LIMITS,
    ) -> tuple[EvaluateRequest, Any]:
        """Hold the request against its function.

        Parameters
        ----------
        function:
            The one that ``self.function`` names.
        output_types:
            The types of its result leaves, at those lengths.
        lengths:
            What :meth:`lengths` has returned, for a function with symbolic dimensions.

        Returns
        -------
        request:
            In the flat form, with the arrays.
        result:
            The spec tree of the result, for :func:`encode_json_response`.

        Raises
        ------
        FarfuncError
            With the path of the argument at fault.
        """
        reader = _Reader(limits, self.arrays)
        args, kwargs = _expected(self.transforms, function, output_types, lengths or {})
        given = (reader.read(self.args, args, "args"), reader.read(self.kwargs, kwargs, "kwargs"))
        leaves, tree = flatten(given)
        arrays = tuple(leaf for leaf in leaves if isinstance(leaf, Array))
        args, kwargs = spec_tree(tree, [leaf.type if isinstance(leaf, Array) else leaf for leaf in leaves])
        levels: list[Arguments] = [(args, kwargs)]
        for transform in self.transforms:
            args, kwargs = transform.inner(args, kwargs)
            levels.append((args, kwargs))
        out = spec_tree(function.out_tree, list(output_types))
        flats = []
        for transform, (args, kwargs) in zip(reversed(self.transforms), reversed(levels[:-1]), strict=True):
            flats.append(transform.flat(args, kwargs, out))
            out = transform.outer(args, kwargs, out)
        return EvaluateRequest(self.function, tuple(reversed(flats)), arrays, seed=self.seed), out


def read_json_request(document: Any, *, function: str | None = None, where: str = "request") -> JsonRequest:
    """Read the JSON document of a request.

    Parameters
    ----------
    function:
        The function, where the URL names it and the document does not.
    """
    required = ("args",) if function else ("function", "args")
    members = members_of(
        document, where, required=required, optional=("transforms", "kwargs", "seed", "encoding"), error=InvalidRequest
    )
    chain = list_of(members.get("transforms", []), f"{where}.transforms", error=InvalidRequest)
    if len(chain) > MAX_TRANSFORMS:
        raise InvalidRequest(
            f"{len(chain)} transforms are given, {MAX_TRANSFORMS} are allowed", where=f"{where}.transforms"
        )
    kwargs = members.get("kwargs", {})
    if not isinstance(kwargs, dict):
        raise InvalidRequest(f"kwargs is an object, not {shown(kwargs)}", where=f"{where}.kwargs")
    encoding = members.get("encoding", "lists")
    if encoding not in ("lists", "base64"):
        raise InvalidRequest(f'encoding is "lists" or "base64", not {shown(encoding)}', where=f"{where}.encoding")
    return JsonRequest(
        function=check_reference(members.get("function", function), f"{where}.function"),
        transforms=tuple(transforms.from_json(item, where=f"{where}.transforms[{i}]") for i, item in enumerate(chain)),
        args=list_of(members["args"], f"{where}.args", error=InvalidRequest),
        kwargs=kwargs,
        seed=check_seed(members.get("seed"), f"{where}.seed"),
        encoding=encoding,
    )


def encode_json_response(arrays: Sequence[Array], result: Any, encoding: str) -> dict[str, Any]:
    """The JSON document of a result.

    Parameters
    ----------
    arrays:
        The result leaves.
    result:
        The spec tree that :meth:`JsonRequest.bind` returned.

    >>> import numpy as np
    >>> array = Array.from_numpy(np.ones(2))
    >>> encode_json_response([array], {"w": array.type}, "lists")
    {'result': {'w': {'dtype': 'float64', 'data': [1.0, 1.0]}}}
    """
    write = array_json.to_base64 if encoding == "base64" else array_json.to_lists
    leaves = iter(arrays)

    def encode(tree: Any) -> Any:
        if isinstance(tree, TensorType):
            return write(next(leaves))
        if isinstance(tree, list | tuple):
            return [encode(item) for item in tree]
        if isinstance(tree, dict):
            return {str(key): encode(item) for key, item in tree.items()}
        return tree if isinstance(tree, str | int | float | bool | None) else None

    return {"result": encode(result)}


def _expected(
    transforms: Sequence[Transform],
    function: Function,
    output_types: Sequence[TensorType],
    lengths: Mapping[str, int],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The spec trees of the outermost arguments; the length of a batch is a symbol."""
    args, kwargs = spec_tree(function.in_tree, [at_lengths(type, lengths) for type in function.graph.inputs])
    out = spec_tree(function.out_tree, list(output_types))
    for depth, transform in enumerate(reversed(transforms)):
        if isinstance(transform, Vmap):
            args = _batched(transform, args, _batch_symbol(depth))
        elif isinstance(transform, Jvp):
            args, kwargs = (args, args), {}
        elif isinstance(transform, Vjp):
            args, kwargs = (args, transform.check_output(out)[0]), {}
        transform.inner(args, kwargs)  # raises what torch.func raises
        out = transform.outer(args, kwargs, out)
    return args, kwargs


def _primals(transforms: Sequence[Transform], args: list[Any]) -> tuple[list[Vmap], list[Any], str]:
    """The part of the outermost arguments that the function itself is given, batched.

    Returns
    -------
    maps:
        What batches it, outermost first: each vmap, without what its in_dims say of tangents and cotangents.
    args, where:
        Its JSON, and its path.
    """
    maps: list[Vmap] = []
    where = "args"
    for transform in transforms:
        if isinstance(transform, Vmap):
            maps.append(transform)
        elif isinstance(transform, Jvp | Vjp):
            args = list_of(args, where, error=InvalidRequest)
            _check_count(args, ("primals", "cotangents" if isinstance(transform, Vjp) else "tangents"), where)
            args, where = args[0], f"{where}[0]"
            maps = [replace(outer, in_dims=_first(outer.in_dims)) for outer in maps]
    return maps, args, where


def _first(in_dims: Any) -> Any:
    """What in_dims for a pair says of its first part."""
    return in_dims[0] if isinstance(in_dims, tuple) and in_dims else in_dims


def _batch_symbol(depth: int, taken: frozenset[str] = frozenset()) -> str:
    name = f"{_BATCH}{depth}"
    while name in taken:
        name += "_"
    return name


def _batched(transform: Vmap, args: tuple[Any, ...], size: str) -> tuple[Any, ...]:
    leaves, tree = flatten(args)
    axes = broadcast_prefix(transform.in_dims, tree)
    batched = []
    for leaf, axis in zip(leaves, axes, strict=True):
        if axis is None or not isinstance(leaf, TensorType):
            batched.append(leaf)
            continue
        if not -len(leaf.shape) - 1 <= axis <= len(leaf.shape):
            raise InvalidRequest(f"in_dims has {axis} for an argument that is {leaf} without its batch axis")
        batched.append(with_axis(leaf, axis, size))
    return spec_tree(tree, batched)


class _Reader:
    """Reads arrays where a spec tree expects them.

    Attributes
    ----------
    arrays:
        Those that have been read, by their paths; none is read twice.
    lengths:
        What ``symbols`` are bound to, and the path where each was met first.
    """

    def __init__(self, limits: Limits, arrays: dict[str, Array], symbols: frozenset[str] = frozenset()) -> None:
        self.arrays = arrays
        self.lengths: dict[str, tuple[int, str]] = {}
        self._limits = limits
        self._symbols = symbols

    def read(self, document: Any, expected: Any, where: str) -> Any:
        """The expected tree with the arrays of the document."""
        if isinstance(expected, TensorType):
            return self._array(document, expected, where)
        if isinstance(expected, list | tuple):
            items = list_of(document, where, error=InvalidRequest)
            _check_count(items, expected, where)
            pairs = enumerate(zip(items, expected, strict=True))
            read = [self.read(item, tree, f"{where}[{i}]") for i, (item, tree) in pairs]
            return read if isinstance(expected, list) else tuple(read)
        if isinstance(expected, dict):
            return self._members(document, expected, where)
        if type(document) is not type(expected) or document != expected:
            raise InvalidRequest(
                f"the function was traced with {shown(expected)} here, and {shown(document)} is given",
                where=where,
                remedy="a value that is no array is part of the function: trace it anew with the other value",
            )
        return expected

    def _array(self, document: Any, expected: TensorType, where: str) -> Array:
        array = self.arrays.get(where)
        if array is None:
            array = array_json.from_json(document, expected=expected, where=where, limits=self._limits)
        _check_type(array.type, expected, where)
        self.arrays[where] = array
        for name, length in zip(expected.shape, array.shape, strict=True):
            if isinstance(name, str) and name in self._symbols:
                known, first = self.lengths.setdefault(name, (length, where))
                if known != length:
                    raise InvalidRequest(
                        f"the dimension {name!r} is {length} here, and {known} at {first}",
                        where=where,
                        remedy="give arrays whose axes of one name have one length",
                    )
        return array

    def _members(self, document: Any, expected: dict[Any, Any], where: str) -> dict[Any, Any]:
        if not isinstance(document, dict):
            raise InvalidRequest(f"an object is expected here, not {shown(document)}", where=where)
        names = {str(key): key for key in expected}
        unknown = sorted(set(document) - set(names))
        if unknown:
            remedy = f"the members are {', '.join(names)}" if names else "leave it out: there are no members"
            raise InvalidRequest(f"there is no member {shown(unknown[0])} here", where=where, remedy=remedy)
        read = {}
        for name, key in names.items():
            if name in document:
                read[key] = self.read(document[name], expected[key], f"{where}.{name}")
            elif any(isinstance(leaf, TensorType) for leaf in flatten(expected[key])[0]):
                raise InvalidRequest(f"the member {name!r} is missing", where=where, remedy=f"give {_form(expected)}")
            else:
                read[key] = expected[key]
        return read


def _form_remedy(where: str, items: list[Any], expected: Any) -> str:
    if where == "args" and items and not any(isinstance(item, list | dict) for item in items):
        return "args is the list of the arguments: one vector stands in it as [[1, 2, 3]]"
    return f"give {_form(expected)}"


def _form(expected: Any) -> str:
    """The JSON of an expected tree, with the types of its arrays in their places."""
    if isinstance(expected, list | tuple):
        return f"[{', '.join(map(_form, expected))}]"
    if isinstance(expected, dict):
        return f"{{{', '.join(f'{json.dumps(str(key))}: {_form(value)}' for key, value in expected.items())}}}"
    return str(expected) if isinstance(expected, TensorType) else json.dumps(expected, default=str)


def _check_count(items: list[Any], expected: Any, where: str) -> None:
    if len(items) != len(expected):
        raise InvalidRequest(
            f"a list of {len(expected)} is expected here, and one of {len(items)} is given",
            where=where,
            remedy=_form_remedy(where, items, expected),
        )


def _check_type(given: TensorType, expected: TensorType, where: str) -> None:
    pairs = zip(given.shape, expected.shape, strict=False)
    if len(given.shape) > len(expected.shape):
        remedy = "one axis more is mapped by a vmap in the transforms; each vmap takes one axis"
    elif len(given.shape) < len(expected.shape):
        is_batch = any(isinstance(length, str) for length in expected.shape)
        axes = f"{len(expected.shape)} {'axis' if len(expected.shape) == 1 else 'axes'}"
        remedy = f"give {axes}{'; each vmap takes one of them' if is_batch else ''}"
    elif not all(isinstance(length, str) or own == length for own, length in pairs):
        remedy = "the function was traced for this shape: for another one register it anew"
    elif given.dtype != expected.dtype:
        remedy = f"give plain lists, or data of dtype {expected.dtype}"
    else:
        return
    shown = str(expected)
    raise InvalidRequest(f"{given} is given, {shown} is expected", where=where, remedy=remedy)
