"""Dense linear algebra: matrices in the last two axes, batches in front."""

from __future__ import annotations

from . import costs
from .op import Op, rows
from .shapes import linalg

__all__ = ["ROWS"]

ROWS: tuple[Op, ...] = (
    *rows(
        linalg.solve,
        "X with A X = B.",
        "linalg_solve(Tensor A, Tensor B, *, bool left=True) -> Tensor",
        cost=costs.cubic,
    ),
    *rows(
        linalg.solve_ex,
        "X with A X = B, and a code of success.",
        "linalg_solve_ex(Tensor A, Tensor B, *, bool left=True, bool check_errors=False) -> (Tensor result, "
        "Tensor info)",
        cost=costs.cubic,
    ),
    *rows(
        linalg.solve_triangular,
        "X with A X = B, A triangular.",
        "linalg_solve_triangular(Tensor self, Tensor B, *, bool upper, bool left=True, "
        "bool unitriangular=False) -> Tensor",
        cost=costs.cubic,
    ),
    *rows(
        linalg.triangular_solve,
        "X with A X = b, A triangular; and a copy of A.",
        "triangular_solve(Tensor self, Tensor A, bool upper=True, bool transpose=False, "
        "bool unitriangular=False) -> (Tensor solution, Tensor cloned_coefficient)",
        cost=costs.cubic,
    ),
    *rows(
        linalg.square,
        "Inverse.",
        "linalg_inv(Tensor A) -> Tensor",
        cost=costs.cubic,
    ),
    *rows(
        linalg.with_info,
        "Inverse, and a code of success.",
        "linalg_inv_ex(Tensor A, *, bool check_errors=False) -> (Tensor inverse, Tensor info)",
        cost=costs.cubic,
    ),
    *rows(
        linalg.pinv,
        "Pseudo-inverse.",
        "linalg_pinv(Tensor self, float rcond, bool hermitian=False) -> Tensor",
        "linalg_pinv.rcond_tensor(Tensor self, Tensor rcond, bool hermitian=False) -> Tensor",
        "linalg_pinv.atol_rtol_float(Tensor self, *, float? atol=None, float? rtol=None, "
        "bool hermitian=False) -> Tensor",
        "linalg_pinv.atol_rtol_tensor(Tensor self, *, Tensor? atol=None, Tensor? rtol=None, "
        "bool hermitian=False) -> Tensor",
        "pinverse(Tensor self, float rcond=1.0000000000000001e-15) -> Tensor",
        cost=costs.cubic,
    ),
    *rows(
        linalg.determinant,
        "Determinant.",
        "linalg_det(Tensor A) -> Tensor",
        cost=costs.cubic,
    ),
    *rows(
        linalg.determinant,
        "Logarithm of the determinant.",
        "logdet(Tensor self) -> Tensor",
        cost=costs.cubic,
    ),
    *rows(
        linalg.slogdet,
        "Sign and logarithm of the determinant's modulus.",
        "linalg_slogdet(Tensor A) -> (Tensor sign, Tensor logabsdet)",
        cost=costs.cubic,
    ),
    *rows(
        linalg.square,
        "Cholesky factor.",
        "cholesky(Tensor self, bool upper=False) -> Tensor",
        "linalg_cholesky(Tensor self, *, bool upper=False) -> Tensor",
        cost=costs.cubic,
    ),
    *rows(
        linalg.with_info,
        "Cholesky factor, and a code of success.",
        "linalg_cholesky_ex(Tensor self, *, bool upper=False, bool check_errors=False) -> (Tensor L, Tensor info)",
        cost=costs.cubic,
    ),
    *rows(
        linalg.square,
        "Inverse from a Cholesky factor.",
        "cholesky_inverse(Tensor self, bool upper=False) -> Tensor",
        cost=costs.cubic,
    ),
    *rows(
        linalg.cholesky_solve,
        "Solution from a Cholesky factor.",
        "cholesky_solve(Tensor self, Tensor input2, bool upper=False) -> Tensor",
        cost=costs.cubic,
    ),
    *rows(
        linalg.qr,
        "QR factorization.",
        'linalg_qr(Tensor A, str mode="reduced") -> (Tensor Q, Tensor R)',
        cost=costs.cubic,
    ),
    *rows(
        linalg.qr_flag,
        "QR factorization.",
        "qr(Tensor self, bool some=True) -> (Tensor Q, Tensor R)",
        cost=costs.cubic,
    ),
    *rows(
        linalg.geqrf,
        "QR factorization as Householder reflectors.",
        "geqrf(Tensor self) -> (Tensor a, Tensor tau)",
        cost=costs.cubic,
    ),
    *rows(
        linalg.ormqr,
        "Product with the Q of Householder reflectors.",
        "ormqr(Tensor self, Tensor input2, Tensor input3, bool left=True, bool transpose=False) -> Tensor",
        cost=costs.cubic,
    ),
    *rows(
        linalg.householder,
        "The columns of the Q of Householder reflectors.",
        "linalg_householder_product(Tensor input, Tensor tau) -> Tensor",
        cost=costs.cubic,
    ),
    *rows(
        linalg.lu,
        "P, L and U.",
        "linalg_lu(Tensor A, *, bool pivot=True) -> (Tensor P, Tensor L, Tensor U)",
        cost=costs.cubic,
    ),
    *rows(
        linalg.lu_factor(info=False),
        "L and U in one matrix, and the pivots.",
        "linalg_lu_factor(Tensor A, *, bool pivot=True) -> (Tensor LU, Tensor pivots)",
        cost=costs.cubic,
    ),
    *rows(
        linalg.lu_factor(info=True),
        "L and U in one matrix, the pivots, and a code of success.",
        "linalg_lu_factor_ex(Tensor A, *, bool pivot=True, bool check_errors=False) -> (Tensor LU, Tensor pivots, "
        "Tensor info)",
        "_lu_with_info(Tensor self, bool pivot=True, bool check_errors=True) -> (Tensor LU, Tensor pivots, "
        "Tensor info)",
        cost=costs.cubic,
    ),
    *rows(
        linalg.lu_solve,
        "Solution from an LU factorization.",
        "linalg_lu_solve(Tensor LU, Tensor pivots, Tensor B, *, bool left=True, bool adjoint=False) -> Tensor",
        cost=costs.cubic,
    ),
    *rows(
        linalg.lu_solve_data,
        "Solution from an LU factorization.",
        "lu_solve(Tensor self, Tensor LU_data, Tensor LU_pivots) -> Tensor",
        cost=costs.cubic,
    ),
    *rows(
        linalg.lu_unpack,
        "P, L and U of a packed factorization.",
        "lu_unpack(Tensor LU_data, Tensor LU_pivots, bool unpack_data=True, bool unpack_pivots=True) -> (Tensor P, "
        "Tensor L, Tensor U)",
        cost=costs.cubic,
    ),
    *rows(
        linalg.ldl_factor(info=False),
        "LDL factorization of a symmetric matrix.",
        "linalg_ldl_factor(Tensor self, *, bool hermitian=False) -> (Tensor LD, Tensor pivots)",
        cost=costs.cubic,
    ),
    *rows(
        linalg.ldl_factor(info=True),
        "LDL factorization of a symmetric matrix, and a code of success.",
        "linalg_ldl_factor_ex(Tensor self, *, bool hermitian=False, bool check_errors=False) -> (Tensor LD, "
        "Tensor pivots, Tensor info)",
        cost=costs.cubic,
    ),
    *rows(
        linalg.ldl_solve,
        "Solution from an LDL factorization.",
        "linalg_ldl_solve(Tensor LD, Tensor pivots, Tensor B, *, bool hermitian=False) -> Tensor",
        cost=costs.cubic,
    ),
    *rows(
        linalg.svd,
        "Singular value decomposition.",
        "linalg_svd(Tensor A, bool full_matrices=True, *, str? driver=None) -> (Tensor U, Tensor S, Tensor Vh)",
        cost=costs.cubic,
    ),
    *rows(
        linalg.svdvals,
        "Singular values.",
        "linalg_svdvals(Tensor A, *, str? driver=None) -> Tensor",
        cost=costs.cubic,
    ),
    *rows(
        linalg.svd_flag,
        "Singular value decomposition, with V in place of its adjoint.",
        "svd(Tensor self, bool some=True, bool compute_uv=True) -> (Tensor U, Tensor S, Tensor V)",
        cost=costs.cubic,
    ),
    *rows(
        linalg.eig,
        "Eigenvalues and eigenvectors.",
        "linalg_eig(Tensor self) -> (Tensor eigenvalues, Tensor eigenvectors)",
        cost=costs.cubic,
    ),
    *rows(
        linalg.first(linalg.eig),
        "Eigenvalues.",
        "linalg_eigvals(Tensor self) -> Tensor",
        cost=costs.cubic,
    ),
    *rows(
        linalg.eigh,
        "Eigenvalues and eigenvectors of a symmetric matrix.",
        'linalg_eigh(Tensor self, str UPLO="L") -> (Tensor eigenvalues, Tensor eigenvectors)',
        cost=costs.cubic,
    ),
    *rows(
        linalg.first(linalg.eigh),
        "Eigenvalues of a symmetric matrix.",
        'linalg_eigvalsh(Tensor self, str UPLO="L") -> Tensor',
        cost=costs.cubic,
    ),
    *rows(
        linalg.lstsq,
        "Least-squares solution.",
        "linalg_lstsq(Tensor self, Tensor b, float? rcond=None, *, str? driver=None) -> (Tensor solution, "
        "Tensor residuals, Tensor rank, Tensor singular_values)",
        cost=costs.cubic,
    ),
    *rows(
        linalg.power,
        "Integer power of a matrix.",
        "linalg_matrix_power(Tensor self, int n) -> Tensor",
        cost=costs.cubic,
    ),
    *rows(
        linalg.exponential,
        "Exponential of a matrix.",
        "linalg_matrix_exp(Tensor self) -> Tensor",
        "matrix_exp(Tensor self) -> Tensor",
        cost=costs.cubic,
    ),
    *rows(
        linalg.rank,
        "Rank.",
        "linalg_matrix_rank(Tensor self, float tol, bool hermitian=False) -> Tensor",
        "linalg_matrix_rank.tol_tensor(Tensor input, Tensor tol, bool hermitian=False) -> Tensor",
        "linalg_matrix_rank.atol_rtol_float(Tensor self, *, float? atol=None, float? rtol=None, "
        "bool hermitian=False) -> Tensor",
        "linalg_matrix_rank.atol_rtol_tensor(Tensor input, *, Tensor? atol=None, Tensor? rtol=None, "
        "bool hermitian=False) -> Tensor",
        cost=costs.cubic,
    ),
    *rows(
        linalg.condition,
        "Condition number.",
        "linalg_cond(Tensor self, Scalar? p=None) -> Tensor",
        "linalg_cond.p_str(Tensor self, str p) -> Tensor",
        cost=costs.cubic,
    ),
    *rows(
        linalg.matrix_norm,
        "Norm of a matrix.",
        "linalg_matrix_norm(Tensor self, Scalar ord, int[] dim=[-2, -1], bool keepdim=False, *, "
        "ScalarType? dtype=None) -> Tensor",
        'linalg_matrix_norm.str_ord(Tensor self, str ord="fro", int[] dim=[-2, -1], bool keepdim=False, *, '
        "ScalarType? dtype=None) -> Tensor",
        cost=costs.cubic,
    ),
    *rows(
        linalg.any_norm,
        "Norm of a vector or a matrix.",
        "linalg_norm(Tensor self, Scalar? ord=None, int[1]? dim=None, bool keepdim=False, *, "
        "ScalarType? dtype=None) -> Tensor",
        "linalg_norm.ord_str(Tensor self, str ord, int[1]? dim=None, bool keepdim=False, *, "
        "ScalarType? dtype=None) -> Tensor",
        cost=costs.cubic,
    ),
    *rows(
        linalg.cross,
        "Cross product along an axis of length 3.",
        "linalg_cross(Tensor self, Tensor other, *, int dim=-1) -> Tensor",
        "cross(Tensor self, Tensor other, int? dim=None) -> Tensor",
    ),
    *rows(
        linalg.vander,
        "Powers of each element.",
        "linalg_vander(Tensor x, *, SymInt? N=None) -> Tensor",
    ),
    *rows(
        linalg.tensorinv,
        "Inverse of a tensor as a linear map.",
        "linalg_tensorinv(Tensor self, int ind=2) -> Tensor",
        cost=costs.cubic,
    ),
    *rows(
        linalg.tensorsolve,
        "Solution of a tensor as a linear map.",
        "linalg_tensorsolve(Tensor self, Tensor other, int[]? dims=None) -> Tensor",
        cost=costs.cubic,
    ),
)
