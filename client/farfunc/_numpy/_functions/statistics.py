"""Averages, covariances, counts and histograms."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._operands import as_array, dtype_of, holds_traced, to_tracer
from .._refusals import data_dependent
from .._registry import implements
from .._shaping import astype, axes_of, reshape


@implements(np.average)
def _average(a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: Any = False) -> Any:
    a = as_array(a)
    keep = keepdims is not np._NoValue and bool(keepdims)
    if weights is None:
        average = np.mean(a, axis, keepdims=keep)
        count = a.size / np.size(average)
        return (average, np.full(np.shape(average), count)) if returned else average
    weights = as_array(weights)
    kind = dtype_of(a, weights) if a.dtype.kind in "fc" else np.result_type(a.dtype, weights.dtype, np.float64)
    if weights.shape != a.shape:
        axes = axes_of(axis, a.ndim)
        shape = [1] * a.ndim
        for place, length in zip(axes, weights.shape, strict=True):
            shape[place] = length
        weights = reshape(weights, shape)
    weights = np.broadcast_to(weights, a.shape)
    total = np.sum(weights, axis, kind, keepdims=keep)
    average = np.sum(np.multiply(a, weights, dtype=kind), axis, keepdims=keep) / total
    return (average, np.broadcast_to(total, np.shape(average))) if returned else average


@implements(np.cov)
def _cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: Any = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    rows = [_variables(m, rowvar)] + ([] if y is None else [_variables(y, rowvar)])
    kind = np.result_type(*(row.dtype for row in rows), np.float64) if dtype is None else np.dtype(dtype)
    x = astype(np.concatenate(rows, 0), kind, copy=False)
    ddof = (0 if bias else 1) if ddof is None else ddof
    weights = None
    if fweights is not None:
        weights = as_array(fweights)
    if aweights is not None:
        weights = as_array(aweights) if weights is None else weights * as_array(aweights)
    if weights is None:
        centered, factor = x - np.mean(x, 1, keepdims=True), x.shape[1] - ddof
        weighted = centered
    else:
        total = np.sum(weights)
        centered = x - np.sum(x * weights, 1, keepdims=True) / total
        weighted = centered * weights
        factor = total - ddof if aweights is None or ddof == 0 else total - ddof * np.sum(weights * aweights) / total
    return np.squeeze(np.matmul(weighted, np.conjugate(np.transpose(centered))) * np.true_divide(1, factor))


def _variables(m: Any, rowvar: bool) -> Any:
    m = np.atleast_2d(to_tracer(m))
    return m if rowvar or m.shape[0] == 1 else np.transpose(m)


@implements(np.corrcoef)
def _corrcoef(x: Any, y: Any = None, rowvar: bool = True, *args: Any, dtype: Any = None) -> Any:
    covariance = np.cov(x, y, rowvar, dtype=dtype)
    if not np.ndim(covariance):
        return covariance / covariance
    deviation = np.sqrt(np.real(np.diagonal(covariance)))
    scaled = covariance / deviation[:, None] / deviation[None, :]
    return np.clip(scaled, -1, 1) if scaled.dtype.kind == "f" else scaled


@implements(np.bincount)
def _bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    if holds_traced(x):
        data_dependent("np.bincount of traced integers: the length of the result depends on their values")
    places = np.asarray(x)
    length = max(int(places.max(initial=-1)) + 1, minlength)
    counts = to_tracer(np.zeros(length))
    np.add.at(counts, places, astype(as_array(weights), np.float64))
    return counts


@implements(np.histogram, np.histogram2d, np.histogramdd)
def _histogram(*args: Any, **kwargs: Any) -> Any:
    data_dependent("a histogram of traced values has no derivative, and its bins would depend on them")
