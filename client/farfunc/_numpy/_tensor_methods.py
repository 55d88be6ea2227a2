"""Methods of torch's tensors that are one operator each: the row of the op table says what they take."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np

from farfunc_protocol.ops import OPS
from farfunc_protocol.schema import REQUIRED, Schema

from ._operands import as_array, emit, emit_many
from ._registry import METHODS
from ._tracer import Tracer

_NAMES = (
    "addbmm", "addcdiv", "addcmul", "addmv", "addr", "baddbmm", "lerp", "dist", "logdet", "matrix_exp",
    "cholesky_inverse", "cholesky_solve", "lu_solve", "logcumsumexp", "cummax", "cummin", "topk", "kthvalue",
    "aminmax", "mode", "renorm", "polygamma", "mvlgamma", "igamma", "igammac", "unfold", "unflatten", "scatter",
    "scatter_add", "index_add", "index_copy", "index_fill", "masked_scatter", "take_along_dim",
    "repeat_interleave", "select_scatter", "slice_scatter", "diagonal_scatter", "hardshrink", "prelu",
)  # fmt: skip


_Ordered = namedtuple("_Ordered", "values indices")
_MinMax = namedtuple("_MinMax", "min max")


def _bound(schema: Schema, self: Tracer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """What each argument of a schema is given; None where the call does not fit it."""
    names = [argument.name for argument in schema.arguments if not argument.keyword_only]
    if len(args) + 1 > len(names):
        return None
    given = {**dict(zip(names, (self, *args), strict=False)), **kwargs}
    known = {argument.name: argument for argument in schema.arguments}
    if not set(given) <= set(known):
        return None
    for name, argument in known.items():
        if name not in given:
            if argument.default is REQUIRED:
                return None
        elif argument.is_tensor != isinstance(given[name], Tracer | np.ndarray | list) and not (
            argument.type.is_list or given[name] is None
        ):
            return None
    return given


def _method(name: str) -> Callable[..., Any]:
    rows = [op for key, op in OPS.items() if key == name or key.startswith(f"{name}.")]

    def call(self: Tracer, *args: Any, **kwargs: Any) -> Any:
        for op in rows:
            given = _bound(op.schema, self, args, kwargs)
            if given is None:
                continue
            arrays = [argument.name for argument in op.schema.tensor_arguments]
            operands = [None if given.get(key) is None else as_array(given[key]) for key in arrays]
            attributes = {key: value for key, value in given.items() if key not in arrays}
            if len(op.schema.returns) == 1:
                return emit(op.name, *operands, **attributes)
            return (_MinMax if name == "aminmax" else _Ordered)(*emit_many(op.name, *operands, **attributes))
        forms = ", or ".join(str(op.schema) for op in rows)
        raise TypeError(f"{name}() was given arguments that fit none of its forms: {forms}")

    call.__name__ = name
    return call


for _name in _NAMES:
    METHODS[_name] = _method(_name)


def _as_method(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *args, **kwargs: function(self, *args, **kwargs)


METHODS.update(
    {
        "angle": _as_method(np.angle),
        "clamp_max": lambda self, max: np.clip(self, None, max),
        "clamp_min": lambda self, min: np.clip(self, min, None),
        "conj_physical": _as_method(np.conjugate),
        "diagflat": _as_method(np.diagflat),
        "i0": _as_method(np.i0),
        "is_complex": lambda self: self.dtype.kind == "c",
        "is_contiguous": lambda self: self.strides_in_elements() is None,
        "is_floating_point": lambda self: self.dtype.kind == "f",
        "isneginf": _as_method(np.isneginf),
        "isposinf": _as_method(np.isposinf),
        "msort": lambda self: np.sort(self, axis=0),
        "new_full": lambda self, size, fill_value, dtype=None: np.full_like(
            self, fill_value, self.dtype if dtype is None else dtype, shape=size
        ),
        "new_tensor": lambda self, data, dtype=None: as_array(data).astype(self.dtype if dtype is None else dtype),
        "resolve_conj": lambda self: self,
        "resolve_neg": lambda self: self,
        "to_device": lambda self, device, *, stream=None: self,
        "tensor_split": lambda self, indices_or_sections, dim=0: tuple(np.array_split(self, indices_or_sections, dim)),
        "xlogy": lambda self, other: emit("xlogy.Tensor", self, as_array(other)),
    }
)
for _name, _kind in {"short": np.int16, "char": np.int8, "byte": np.uint8}.items():
    METHODS[_name] = (lambda kind: lambda self: self.astype(kind))(_kind)
