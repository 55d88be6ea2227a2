"""Rules of the dense linear algebra: matrices in the last two axes, batches in front."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...graph import TensorType
from ..call import Call, Shape, shape_of
from . import promotion
from .axes import axes, axis, broadcast, numel, same_dtype, without
from .elementwise import floating_only
from .promotion import complex_of, real_of
from .reductions import norm, reduce

__all__ = [
    "any_norm",
    "cholesky_solve",
    "condition",
    "cross",
    "determinant",
    "eig",
    "eigh",
    "exponential",
    "first",
    "geqrf",
    "householder",
    "ldl_factor",
    "ldl_solve",
    "lstsq",
    "lu",
    "lu_factor",
    "lu_solve",
    "lu_solve_data",
    "lu_unpack",
    "matrix",
    "matrix_norm",
    "ormqr",
    "pinv",
    "power",
    "qr",
    "qr_flag",
    "rank",
    "slogdet",
    "smaller",
    "solve",
    "solve_ex",
    "solve_triangular",
    "square",
    "svd",
    "svd_flag",
    "svdvals",
    "tensorinv",
    "tensorsolve",
    "triangular_solve",
    "vander",
    "with_info",
]


def matrix(call: Call, name: str | None = None, *, square: bool = False, dtypes: bool = True) -> TensorType:
    """The named operand, which has to be a (batch of) matrices of a dtype that LAPACK has."""
    name = name or call.schema.tensor_arguments[0].name
    type_ = call.arguments[name]
    call.require(len(type_.shape) >= 2, f"{name} has {len(type_.shape)} axes, not two or more", argument=name)
    if square:
        rows, columns = type_.shape[-2:]
        call.require(rows == columns, f"{name} is {rows} by {columns}, not square", argument=name)
    if dtypes:
        call.require(
            type_.dtype in ("float32", "float64", "complex64", "complex128"),
            f"it is not defined for {type_.dtype}",
            argument=name,
            remedy="convert to float32 or float64 with to.dtype",
        )
    return type_


def smaller(rows: Any, columns: Any) -> Any:
    """The smaller of two lengths; one that is known where both are the same symbol."""
    return rows if rows == columns else min(rows, columns)


def square(call: Call) -> TensorType:
    """A result like the square operand: inv, cholesky, matrix_exp, matrix_power."""
    return matrix(call, square=True)


def with_info(call: Call) -> tuple[TensorType, ...]:
    """cholesky_ex, inv_ex: a result like the operand, and a code of success."""
    type_ = matrix(call, square=True)
    return type_, TensorType("int32", type_.shape[:-2])


def determinant(call: Call) -> TensorType:
    """det, logdet: one number for each matrix."""
    type_ = matrix(call, square=True)
    return TensorType(type_.dtype, type_.shape[:-2])


def slogdet(call: Call) -> tuple[TensorType, ...]:
    """slogdet: the sign, and the logarithm of the modulus."""
    type_ = determinant(call)
    return type_, TensorType(real_of(type_.dtype), type_.shape)


def eig(call: Call) -> tuple[TensorType, ...]:
    """eig: complex eigenvalues and eigenvectors."""
    type_ = matrix(call, square=True)
    dtype = complex_of(call, type_.dtype)
    return TensorType(dtype, type_.shape[:-1]), TensorType(dtype, type_.shape)


def eigh(call: Call) -> tuple[TensorType, ...]:
    """eigh: real eigenvalues, eigenvectors like the operand."""
    type_ = matrix(call, square=True)
    call.require(call.UPLO in ("L", "U", "l", "u"), f"UPLO is {call.UPLO!r}", argument="UPLO", remedy="use 'L' or 'U'")
    return TensorType(real_of(type_.dtype), type_.shape[:-1]), type_


def first(rule: Callable[[Call], tuple[TensorType, ...]]) -> Callable[[Call], TensorType]:
    """A rule: only the first result of another one (eigvals of eig)."""
    return lambda call: rule(call)[0]


def qr(call: Call) -> tuple[TensorType, ...]:
    """linalg_qr: reduced, complete, or R alone."""
    type_ = matrix(call)
    *batch, rows, columns = type_.shape
    call.require(call.mode in ("reduced", "complete", "r"), f"mode {call.mode!r}", argument="mode")
    inner = rows if call.mode == "complete" else smaller(rows, columns)
    q = (0,) if call.mode == "r" else (*batch, rows, inner)
    return TensorType(type_.dtype, tuple(q)), TensorType(type_.dtype, (*batch, inner, columns))


def svd(call: Call) -> tuple[TensorType, ...]:
    """linalg_svd: U, S and Vh."""
    type_ = matrix(call)
    *batch, rows, columns = type_.shape
    inner = smaller(rows, columns)
    left, right = ((rows, rows), (columns, columns)) if call.full_matrices else ((rows, inner), (inner, columns))
    return (
        TensorType(type_.dtype, (*batch, *left)),
        TensorType(real_of(type_.dtype), (*batch, inner)),
        TensorType(type_.dtype, (*batch, *right)),
    )


def svdvals(call: Call) -> TensorType:
    """linalg_svdvals: real singular values."""
    type_ = matrix(call)
    return TensorType(real_of(type_.dtype), (*type_.shape[:-2], smaller(*type_.shape[-2:])))


def lu(call: Call) -> tuple[TensorType, ...]:
    """linalg_lu: P, L and U."""
    type_ = matrix(call)
    *batch, rows, columns = type_.shape
    inner = smaller(rows, columns)
    # Without pivoting torch returns an empty P.
    p = (*batch, rows, rows) if call.pivot else (0,)
    return tuple(TensorType(type_.dtype, shape) for shape in (p, (*batch, rows, inner), (*batch, inner, columns)))


def lu_factor(info: bool) -> Callable[[Call], tuple[TensorType, ...]]:
    """A rule: the packed factors, the pivots, and perhaps a code of success."""

    def rule(call: Call) -> tuple[TensorType, ...]:
        type_ = matrix(call)
        batch = type_.shape[:-2]
        pivots = TensorType("int32", (*batch, smaller(*type_.shape[-2:])))
        return (type_, pivots, TensorType("int32", batch)) if info else (type_, pivots)

    return rule


def lu_solve(call: Call) -> TensorType:
    """linalg_lu_solve: a solution like B, over a batch that broadcasts."""
    factors, right = matrix(call, "LU", square=True), matrix(call, "B")
    batch = broadcast(call, factors.shape[:-2], right.shape[:-2])
    side = right.shape[-2] if call.left else right.shape[-1]
    call.require(side == factors.shape[-1], f"B has {side} equations, LU {factors.shape[-1]}", argument="B")
    return TensorType(same_dtype(call, [factors, right]), (*batch, *right.shape[-2:]))


def _is_vector(a: Shape, b: Shape) -> bool:
    # torch's linalg_solve: B is a batch of vectors if it has one axis, or the shape of A's batch
    # and rows; else a batch of matrices.
    return len(b) == 1 or (len(a) - 1 == len(b) and tuple(b) == tuple(a[:-1]))


def solve(call: Call) -> TensorType:
    """linalg_solve: X with A X = B, for B a vector, a matrix or a batch."""
    a = matrix(call, "A", square=True)
    b = call.B
    dtype = same_dtype(call, [a, b])
    call.require(bool(b.shape), "B has no axes", argument="B")
    vector = _is_vector(a.shape, b.shape)
    call.require(call.left or not vector, "a vector is solved from the left only", argument="left")
    columns = (*b.shape, 1) if vector else b.shape
    call.require(len(columns) >= 2, "B has no columns", argument="B")
    side = columns[-2] if call.left else columns[-1]
    call.require(side == a.shape[-1], f"B has {side} equations, A {a.shape[-1]}", argument="B")
    batch = broadcast(call, a.shape[:-2], columns[:-2])
    result = (*batch, *columns[-2:])
    return TensorType(dtype, result[:-1] if vector else result)


def solve_ex(call: Call) -> tuple[TensorType, ...]:
    """linalg_solve_ex: the solution, and a code of success for each matrix A."""
    return solve(call), TensorType("int32", call.A.shape[:-2])


def solve_triangular(call: Call) -> TensorType:
    """linalg_solve_triangular: X with A X = B, for A triangular."""
    a, b = matrix(call, "self", square=True), matrix(call, "B")
    side = b.shape[-2] if call.left else b.shape[-1]
    call.require(side == a.shape[-1], f"B has {side} equations, A {a.shape[-1]}", argument="B")
    batch = broadcast(call, a.shape[:-2], b.shape[:-2])
    return TensorType(same_dtype(call, [a, b]), (*batch, *b.shape[-2:]))


def cholesky_solve(call: Call) -> TensorType:
    """cholesky_solve: X with L L^H X = self."""
    b, factor = matrix(call, "self"), matrix(call, "input2", square=True)
    call.require(b.shape[-2] == factor.shape[-1], f"{b.shape[-2]} equations, {factor.shape[-1]} rows", argument="self")
    batch = broadcast(call, b.shape[:-2], factor.shape[:-2])
    return TensorType(same_dtype(call, [b, factor]), (*batch, *b.shape[-2:]))


def lstsq(call: Call) -> tuple[TensorType, ...]:
    """linalg_lstsq: the solution; residuals, rank and singular values where the driver has them."""
    a = matrix(call, "self")
    b = call.b
    dtype = same_dtype(call, [a, b])
    *batch, rows, columns = shape_of(a)
    vector = len(b.shape) == len(a.shape) - 1 and tuple(b.shape) == tuple(a.shape[:-1])
    call.require(vector or len(b.shape) >= 2, "b has too few axes", argument="b")
    wide = (*b.shape, 1) if vector else b.shape
    call.require(wide[-2] == rows, f"b has {wide[-2]} equations, self {rows}", argument="b")
    batch = broadcast(call, tuple(batch), tuple(wide[:-2]))
    driver = call.driver or "gelsy"
    drivers = ("gels", "gelsy", "gelsd", "gelss")
    call.require(driver in drivers, f"driver {driver!r}", argument="driver", remedy=f"use one of {', '.join(drivers)}")
    overdetermined = rows > columns and driver != "gelsy"
    residuals = (*batch, wide[-1]) if overdetermined else (0,)
    rank = tuple(a.shape[:-2]) if driver != "gels" else (0,)
    values = (*a.shape[:-2], smaller(rows, columns)) if driver in ("gelsd", "gelss") else (0,)
    solution = (*batch, columns) if vector else (*batch, columns, wide[-1])
    real = real_of(dtype)
    return (
        TensorType(dtype, tuple(solution)),
        TensorType(real, tuple(residuals)),
        TensorType("int64", tuple(rank)),
        TensorType(real, tuple(values)),
    )


def pinv(call: Call) -> TensorType:
    """pinv: rows and columns exchanged."""
    type_ = matrix(call)
    if call.arguments.get("hermitian"):
        matrix(call, square=True)
    *batch, rows, columns = type_.shape
    return TensorType(type_.dtype, (*batch, columns, rows))


def rank(call: Call) -> TensorType:
    """matrix_rank: an integer for each matrix."""
    return TensorType("int64", matrix(call).shape[:-2])


def condition(call: Call) -> TensorType:
    """cond: a real number for each matrix."""
    type_ = matrix(call)
    return TensorType(real_of(type_.dtype), type_.shape[:-2])


def matrix_norm(call: Call) -> TensorType:
    """linalg_matrix_norm: over two axes."""
    call.require(len(call.dim) == 2, f"{len(call.dim)} axes span no matrix", argument="dim")
    matrix(call, dtypes=False)
    return reduce(norm)(call)


def any_norm(call: Call) -> TensorType:
    """linalg_norm: of the flattened tensor, of a vector or of a matrix."""
    if call.dim is not None:
        call.require(len(call.dim) in (1, 2), f"{len(call.dim)} axes", argument="dim")
    elif call.ord is not None:
        call.require(len(call.self.shape) in (1, 2), f"a tensor with {len(call.self.shape)} axes", argument="self")
    return reduce(norm)(call)


def cross(call: Call) -> TensorType:
    """linalg_cross: along an axis of length 3."""
    call.require(len(call.self.shape) == len(call.other.shape), "the operands differ in their axes", argument="other")
    shape = broadcast(call, call.self.shape, call.other.shape)
    if call.dim is None:
        # torch.cross without an axis takes the first one of length 3.
        position = next((at for at, length in enumerate(shape) if length == 3), None)
        if position is None:
            call.refuse("there is no axis of length 3")
    else:
        position = axis(call, call.dim, len(shape), scalar=False)
    for name in ("self", "other"):
        length = call.arguments[name].shape[position]
        call.require(length == 3, f"axis {position} has length {length}, not 3", argument=name)
    return TensorType(promotion.result_type(call, call.tensors), shape)


def householder(call: Call) -> TensorType:
    """linalg_householder_product: the columns of Q."""
    type_ = matrix(call, "input")
    rows, columns = shape_of(type_)[-2:]
    call.require(columns <= rows, f"{columns} reflectors of length {rows}", argument="input")
    return type_


def vander(call: Call) -> TensorType:
    """linalg_vander: powers of each element."""
    shape = call.x.shape or (1,)
    count = shape[-1] if call.N is None else call.N
    call.require(call.N is None or count > 1, f"N = {count} is not above 1", argument="N")
    dtype = "int64" if promotion.category(call.x.dtype) in ("bool", "integral") else call.x.dtype
    return TensorType(dtype, (*shape, count))


def tensorinv(call: Call) -> TensorType:
    """linalg_tensorinv: first and last axes exchanged."""
    shape = call.self.shape
    call.require(0 < call.ind < len(shape) + 1, f"ind = {call.ind} for {len(shape)} axes", argument="ind")
    head, tail = shape[: call.ind], shape[call.ind :]
    call.require(numel(head) == numel(tail), f"{numel(head)} rows, {numel(tail)} columns", argument="self")
    return TensorType(floating_only(call, call.self.dtype), (*tail, *head))


def tensorsolve(call: Call) -> TensorType:
    """linalg_tensorsolve: a solution with the last axes of self."""
    shape = call.self.shape
    if call.dims is not None:
        moved = axes(call, call.dims, len(shape), argument="dims")
        shape = (*without(shape, moved), *(shape[at] for at in moved))
    rest = shape[len(call.other.shape) :]
    call.require(numel(call.other.shape) == numel(rest), f"{numel(call.other.shape)} equations, {numel(rest)} unknowns")
    return TensorType(same_dtype(call, call.tensors), rest)


def triangular_solve(call: Call) -> tuple[TensorType, ...]:
    """triangular_solve: the solution, and a copy of A."""
    b, a = matrix(call, "self"), matrix(call, "A", square=True)
    call.require(b.shape[-2] == a.shape[-1], f"{b.shape[-2]} equations, A has {a.shape[-1]} rows", argument="self")
    batch = broadcast(call, b.shape[:-2], a.shape[:-2])
    dtype = same_dtype(call, [a, b])
    return TensorType(dtype, (*batch, *b.shape[-2:])), TensorType(dtype, (*batch, *a.shape[-2:]))


def qr_flag(call: Call) -> tuple[TensorType, ...]:
    """qr: reduced where ``some``, else complete."""
    type_ = matrix(call)
    *batch, rows, columns = type_.shape
    inner = smaller(rows, columns) if call.some else rows
    return TensorType(type_.dtype, (*batch, rows, inner)), TensorType(type_.dtype, (*batch, inner, columns))


def geqrf(call: Call) -> tuple[TensorType, ...]:
    """geqrf: reflectors below the diagonal of R, and their factors."""
    type_ = matrix(call)
    return type_, TensorType(type_.dtype, (*type_.shape[:-2], smaller(*type_.shape[-2:])))


def ormqr(call: Call) -> TensorType:
    """ormqr: a matrix times Q."""
    return matrix(call, "input3")


def lu_solve_data(call: Call) -> TensorType:
    """lu_solve: a solution like self, over a batch that broadcasts."""
    factors, right = matrix(call, "LU_data", square=True), matrix(call, "self")
    batch = broadcast(call, factors.shape[:-2], right.shape[:-2])
    call.require(
        right.shape[-2] == factors.shape[-1],
        f"{right.shape[-2]} equations, LU_data has {factors.shape[-1]} rows",
        argument="self",
    )
    return TensorType(same_dtype(call, [factors, right]), (*batch, *right.shape[-2:]))


def lu_unpack(call: Call) -> tuple[TensorType, ...]:
    """lu_unpack: P, L and U; what is not asked for is empty."""
    type_ = matrix(call, "LU_data")
    *batch, rows, columns = type_.shape
    inner = smaller(rows, columns)
    p = (*batch, rows, rows) if call.unpack_pivots else (0,)
    left = (*batch, rows, inner) if call.unpack_data else (0,)
    right = (*batch, inner, columns) if call.unpack_data else (0,)
    return tuple(TensorType(type_.dtype, shape) for shape in (p, left, right))


def ldl_factor(info: bool) -> Callable[[Call], tuple[TensorType, ...]]:
    """A rule: the packed factors, the pivots, and perhaps a code of success."""

    def rule(call: Call) -> tuple[TensorType, ...]:
        type_ = matrix(call, square=True)
        pivots = TensorType("int32", type_.shape[:-1])
        return (type_, pivots, TensorType("int32", type_.shape[:-2])) if info else (type_, pivots)

    return rule


def ldl_solve(call: Call) -> TensorType:
    """linalg_ldl_solve: a solution like B, over a batch that broadcasts."""
    factors, right = matrix(call, "LD", square=True), matrix(call, "B")
    batch = broadcast(call, factors.shape[:-2], right.shape[:-2])
    call.require(right.shape[-2] == factors.shape[-1], f"B has {right.shape[-2]} equations", argument="B")
    return TensorType(same_dtype(call, [factors, right]), (*batch, *right.shape[-2:]))


def svd_flag(call: Call) -> tuple[TensorType, ...]:
    """svd: U, S and V; U and V are zero where they are not computed."""
    type_ = matrix(call)
    *batch, rows, columns = type_.shape
    inner = smaller(rows, columns)
    some = call.some and call.compute_uv
    left, right = ((rows, inner), (columns, inner)) if some else ((rows, rows), (columns, columns))
    return (
        TensorType(type_.dtype, (*batch, *left)),
        TensorType(real_of(type_.dtype), (*batch, inner)),
        TensorType(type_.dtype, (*batch, *right)),
    )


def power(call: Call) -> TensorType:
    """linalg_matrix_power: any dtype, floating where the power is negative."""
    return matrix(call, square=True, dtypes=call.n < 0)


def exponential(call: Call) -> TensorType:
    """matrix_exp: floating and complex dtypes."""
    type_ = matrix(call, square=True, dtypes=False)
    floating_only(call, type_.dtype)
    return type_
