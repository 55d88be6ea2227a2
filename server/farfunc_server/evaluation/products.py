"""Matrix products that share a factor, as one product.

Under vmap a weight is the same for every row of the batch, and what arrives at the kernels is ``bmm`` with an
operand that is expanded along it: as many small products, each of which reads the weight anew. Where that was
measured to be faster the rows are put one below another, and one ``mm`` does for all of them; where both
factors are the same for every row, it is computed once.

The same terms are added, for each element of a result, so that NaN and infinities are where they were.
"""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["baddbmm", "bmm", "mm"]

_LEAST_ROWS = 64
"""From so many rows of the shared factor on one product was faster than many: with fewer the kernels for small
products win (measured with lengths of 4 to 256 of the other dimensions, float32 and float64)."""

_FEW = 64
"""So many rows of a batch times a matrix are fastest if they lie row by row: with the same numbers as columns the
product was up to eight times slower (MKL, a 256 x 256 matrix, 2 to 64 rows, float32 and float64)."""

_LEAST_FOR_ONEDNN = 1 << 21
"""From so many multiplications on oneDNN's float32 kernel pays what calling it costs. It takes the vector units of
any processor; MKL, which torch calls, took more than twice as long on an AMD EPYC (oneDNN has no float64)."""

_COPY_RATIO = 4
"""Rows of a batch that do not lie one below another are copied first, if the shared factor has so many times
more rows than the other columns."""


def bmm(left: torch.Tensor, right: torch.Tensor) -> Any:
    """``bmm``, or NotImplemented where it is best left as it is."""
    if not (left.numel() and right.numel()):
        return NotImplemented
    left_is_shared, right_is_shared = _is_shared(left), _is_shared(right)
    if left_is_shared and right_is_shared:
        return _as_right(left[0], right[0]).expand(left.shape[0], -1, -1)
    if left_is_shared:
        return _with_shared_left(left[0], right)
    if right_is_shared:
        product = _with_shared_left(right[0].t(), left.transpose(1, 2))
        return product if product is NotImplemented else product.transpose(1, 2)
    return NotImplemented


def baddbmm(
    start: torch.Tensor, left: torch.Tensor, right: torch.Tensor, *, beta: complex = 1, alpha: complex = 1
) -> Any:
    """``baddbmm`` without factors, or NotImplemented."""
    if beta != 1 or alpha != 1:
        return NotImplemented
    product = bmm(left, right)
    return product if product is NotImplemented else start + product


def mm(left: torch.Tensor, right: torch.Tensor) -> Any:
    """``mm`` of a matrix and a few columns, as rows times the transposed matrix; NotImplemented where it is that."""
    (rows, inner), columns = left.shape, right.shape[1]
    if not rows * inner * columns:
        return NotImplemented
    if 1 < columns < rows and columns <= _FEW:
        return _product(_by_rows(right.t()), left.t()).t()
    if 1 < rows <= _FEW and rows < columns and left.stride(1) != 1:
        return _product(_by_rows(left), right)
    return _by_onednn(left, right)


def _by_rows(matrix: torch.Tensor) -> torch.Tensor:
    return matrix if matrix.stride(1) == 1 else matrix.clone(memory_format=torch.contiguous_format)


def _product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    product = _by_onednn(left, right)
    return torch.mm(left, right) if product is NotImplemented else product


def _by_onednn(left: torch.Tensor, right: torch.Tensor) -> Any:
    """A float32 product on a CPU by oneDNN's kernel, if it is large enough for that."""
    if not (left.dtype == right.dtype == torch.float32 and left.device.type == "cpu"):
        return NotImplemented
    if left.shape[0] * left.shape[1] * right.shape[1] < _LEAST_FOR_ONEDNN or not torch.backends.mkldnn.is_available():
        return NotImplemented
    # Both row by row, as the compiled call needs them: a weight that is not is copied once, for all of its uses.
    return torch.ops.mkldnn._linear_pointwise.default(_by_rows(left), _by_rows(right.t()), None, "none", [], "")


def _as_right(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """``left @ right``; the result lies by rows or by columns in memory as the right factor does."""
    return _product(right.t(), left.t()).t() if right.stride(0) == 1 else _product(left, right)


def _is_shared(factor: torch.Tensor) -> bool:
    return factor.shape[0] == 1 or factor.stride(0) == 0


def _with_shared_left(shared: torch.Tensor, rows: torch.Tensor) -> Any:
    """``shared @ rows[b]`` for each ``b``; what varies fastest in the memory of ``rows`` does so in the result."""
    batch, inner, columns = rows.shape
    if shared.shape[0] < _LEAST_ROWS:
        return NotImplemented
    below = columns == 1 or batch == 1 or rows.stride(0) == columns * rows.stride(2)
    if not below and shared.shape[0] < _COPY_RATIO * columns:
        return NotImplemented
    if below and rows.stride(2) == 1 and inner > 1 and rows.stride(1) != 1:
        product = _product(shared, rows.transpose(0, 1).reshape(inner, batch * columns))
        return product.view(-1, batch, columns).transpose(0, 1)
    product = _product(rows.transpose(1, 2).reshape(batch * columns, inner), shared.t())
    return product.view(batch, columns, -1).transpose(1, 2)
