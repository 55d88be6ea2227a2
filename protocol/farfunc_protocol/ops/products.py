"""Products of matrices, vectors, batches of them; Einstein sums; distances."""

from __future__ import annotations

from . import costs
from .op import Op, rows
from .shapes import contraction, network

__all__ = ["ROWS"]

ROWS: tuple[Op, ...] = (
    *rows(
        contraction.matmul,
        "Product of matrices, vectors or batches.",
        "matmul(Tensor self, Tensor other) -> Tensor",
        cost=costs.matmul,
    ),
    *rows(
        contraction.matrix_product,
        "Product of two matrices.",
        "mm(Tensor self, Tensor mat2) -> Tensor",
        cost=costs.matmul,
    ),
    *rows(
        contraction.matrix_product,
        "Products of two batches of matrices.",
        "bmm(Tensor self, Tensor mat2) -> Tensor",
        cost=costs.matmul,
    ),
    *rows(
        contraction.matrix_product,
        "Product of a matrix and a vector.",
        "mv(Tensor self, Tensor vec) -> Tensor",
        cost=costs.matmul,
    ),
    *rows(
        contraction.matrix_product,
        "Sum of the products of two vectors.",
        "dot(Tensor self, Tensor tensor) -> Tensor",
        cost=costs.matmul,
    ),
    *rows(
        contraction.matrix_product,
        "dot with the first vector conjugated.",
        "vdot(Tensor self, Tensor other) -> Tensor",
        cost=costs.matmul,
    ),
    *rows(
        contraction.matrix_product,
        "beta * self + alpha * mat1 @ mat2.",
        "addmm(Tensor self, Tensor mat1, Tensor mat2, *, Scalar beta=1, Scalar alpha=1) -> Tensor",
        cost=costs.matmul,
    ),
    *rows(
        contraction.matrix_product,
        "beta * self + alpha * mat @ vec.",
        "addmv(Tensor self, Tensor mat, Tensor vec, *, Scalar beta=1, Scalar alpha=1) -> Tensor",
        cost=costs.matmul,
    ),
    *rows(
        contraction.matrix_product,
        "beta * self + alpha * batch1 @ batch2.",
        "baddbmm(Tensor self, Tensor batch1, Tensor batch2, *, Scalar beta=1, Scalar alpha=1) -> Tensor",
        cost=costs.matmul,
    ),
    *rows(
        contraction.matrix_product,
        "beta * self + alpha times the sum of batch1 @ batch2.",
        "addbmm(Tensor self, Tensor batch1, Tensor batch2, *, Scalar beta=1, Scalar alpha=1) -> Tensor",
        cost=costs.matmul,
    ),
    *rows(
        contraction.addr,
        "beta * self + alpha * outer(vec1, vec2).",
        "addr(Tensor self, Tensor vec1, Tensor vec2, *, Scalar beta=1, Scalar alpha=1) -> Tensor",
    ),
    *rows(
        contraction.outer,
        "Every product of two vectors.",
        "outer(Tensor self, Tensor vec2) -> Tensor",
    ),
    *rows(
        contraction.inner,
        "Sums of products along the last axes.",
        "inner(Tensor self, Tensor other) -> Tensor",
        cost=costs.matmul,
    ),
    *rows(
        contraction.kron,
        "Kronecker product.",
        "kron(Tensor self, Tensor other) -> Tensor",
    ),
    *rows(
        contraction.vecdot,
        "Sums of products along an axis, the first conjugated.",
        "linalg_vecdot(Tensor x, Tensor y, *, int dim=-1) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        contraction.tensordot,
        "Sums of products along pairs of axes.",
        "tensordot(Tensor self, Tensor other, int[] dims_self, int[] dims_other) -> Tensor",
        cost=costs.einsum,
    ),
    *rows(
        contraction.einsum,
        "Einstein summation.",
        "einsum(str equation, Tensor[] tensors, *, int[]? path=None) -> Tensor",
        cost=costs.einsum,
    ),
    *rows(
        contraction.linear,
        "input @ weight.T + bias.",
        "linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor",
        cost=costs.matmul,
    ),
    *rows(
        contraction.bilinear,
        "input1 @ weight @ input2 + bias.",
        "bilinear(Tensor input1, Tensor input2, Tensor weight, Tensor? bias=None) -> Tensor",
        cost=costs.einsum,
    ),
    *rows(
        contraction.multi_dot,
        "Product of a chain of matrices, in the cheapest order.",
        "linalg_multi_dot(Tensor[] tensors) -> Tensor",
        cost=costs.matmul,
    ),
    *rows(
        contraction.cdist,
        "The distance of every pair of rows.",
        "cdist(Tensor x1, Tensor x2, float p=2., int? compute_mode=None) -> Tensor",
        "_cdist_forward(Tensor x1, Tensor x2, float p, int? compute_mode) -> Tensor",
        cost=costs.matmul,
    ),
    *rows(
        network.pdist,
        "The distances of the rows of a matrix.",
        "pdist(Tensor self, float p=2.) -> Tensor",
        "_pdist_forward(Tensor self, float p=2.) -> Tensor",
        cost=costs.matmul,
    ),
)
