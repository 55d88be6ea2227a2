"""Reductions, scans and statistics."""

from __future__ import annotations

from . import costs
from .op import Op, rows
from .shapes import cutting, reductions, reshaping
from .shapes.elementwise import floating, floating_only, like, real

__all__ = ["ROWS"]

ROWS: tuple[Op, ...] = (
    *rows(
        reductions.reduce(reductions.accumulated),
        "Sum over axes.",
        "sum(Tensor self, *, ScalarType? dtype=None) -> Tensor",
        "sum.dim_IntList(Tensor self, int[1]? dim, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.reduce(reductions.nansummed),
        "Sum over axes, NaN taken as 0.",
        "nansum(Tensor self, int[1]? dim=None, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.reduce(reductions.accumulated),
        "Product over an axis.",
        "prod(Tensor self, *, ScalarType? dtype=None) -> Tensor",
        "prod.dim_int(Tensor self, int dim, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.reduce(reductions.averaged),
        "Mean over axes.",
        "mean(Tensor self, *, ScalarType? dtype=None) -> Tensor",
        "mean.dim(Tensor self, int[1]? dim, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.reduce(reductions.averaged),
        "Mean over axes of what is not NaN.",
        "nanmean(Tensor self, int[1]? dim=None, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.reduce(reductions.spread),
        "Variance over axes.",
        "var(Tensor self, bool unbiased=True) -> Tensor",
        "var.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False) -> Tensor",
        "var.correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None, bool keepdim=False) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.reduce(reductions.spread),
        "Standard deviation over axes.",
        "std(Tensor self, bool unbiased=True) -> Tensor",
        "std.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False) -> Tensor",
        "std.correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None, bool keepdim=False) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.mean_and_spread,
        "Variance and mean over axes.",
        "var_mean(Tensor self, bool unbiased=True) -> (Tensor, Tensor)",
        "var_mean.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False) -> (Tensor, Tensor)",
        "var_mean.correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None, "
        "bool keepdim=False) -> (Tensor, Tensor)",
        cost=costs.reduction,
    ),
    *rows(
        reductions.mean_and_spread,
        "Standard deviation and mean over axes.",
        "std_mean(Tensor self, bool unbiased=True) -> (Tensor, Tensor)",
        "std_mean.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False) -> (Tensor, Tensor)",
        "std_mean.correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None, "
        "bool keepdim=False) -> (Tensor, Tensor)",
        cost=costs.reduction,
    ),
    *rows(
        reductions.reduce(real, identity=False),
        "Largest element over axes.",
        "amax(Tensor self, int[1] dim=[], bool keepdim=False) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.reduce(real, identity=False),
        "Smallest element over axes.",
        "amin(Tensor self, int[1] dim=[], bool keepdim=False) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.reduce(real, identity=False),
        "Largest element of all elements.",
        "max(Tensor self) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.reduce(real, identity=False),
        "Smallest element of all elements.",
        "min(Tensor self) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.extremum,
        "Largest element along an axis, and where it is.",
        "max.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor indices)",
        cost=costs.reduction,
    ),
    *rows(
        reductions.extremum,
        "Smallest element along an axis, and where it is.",
        "min.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor indices)",
        cost=costs.reduction,
    ),
    *rows(
        reductions.aminmax,
        "Smallest and largest element along an axis.",
        "aminmax(Tensor self, *, int? dim=None, bool keepdim=False) -> (Tensor min, Tensor max)",
        cost=costs.reduction,
    ),
    *rows(
        reductions.position,
        "Where the largest element along an axis is.",
        "argmax(Tensor self, int? dim=None, bool keepdim=False) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.position,
        "Where the smallest element along an axis is.",
        "argmin(Tensor self, int? dim=None, bool keepdim=False) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.reduce(reductions.truth),
        "Whether any element is true.",
        "any(Tensor self) -> Tensor",
        "any.dim(Tensor self, int dim, bool keepdim=False) -> Tensor",
        "any.dims(Tensor self, int[]? dim=None, bool keepdim=False) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.reduce(reductions.truth),
        "Whether all elements are true.",
        "all(Tensor self) -> Tensor",
        "all.dim(Tensor self, int dim, bool keepdim=False) -> Tensor",
        "all.dims(Tensor self, int[]? dim=None, bool keepdim=False) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.reduce(reductions.count),
        "The number of elements that are not 0.",
        "count_nonzero(Tensor self, int? dim=None) -> Tensor",
        "count_nonzero.dim_IntList(Tensor self, int[] dim) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.reduce(floating),
        "Logarithm of the sum of exponentials over axes.",
        "logsumexp(Tensor self, int[1] dim, bool keepdim=False) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        reductions.reduce(reductions.norm),
        "p-norm over axes.",
        "linalg_vector_norm(Tensor self, Scalar ord=2, int[1]? dim=None, bool keepdim=False, *, "
        "ScalarType? dtype=None) -> Tensor",
        "norm.Scalar(Tensor self, Scalar p=2) -> Tensor",
        "norm.ScalarOpt_dim(Tensor self, Scalar? p, int[1] dim, bool keepdim=False) -> Tensor",
        "norm.ScalarOpt_dtype(Tensor self, Scalar? p, *, ScalarType dtype) -> Tensor",
        "norm.ScalarOpt_dim_dtype(Tensor self, Scalar? p, int[1] dim, bool keepdim, *, ScalarType dtype) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.dist,
        "p-norm of a difference.",
        "dist(Tensor self, Tensor other, Scalar p=2) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.reduce(real),
        "Median of all elements, of two the lower.",
        "median(Tensor self) -> Tensor",
        "nanmedian(Tensor self) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.extremum,
        "Median along an axis, and where it is.",
        "median.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor indices)",
        "nanmedian.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor indices)",
        cost=costs.sorting,
    ),
    *rows(
        reductions.extremum,
        "The most frequent value along an axis, and where it is.",
        "mode(Tensor self, int dim=-1, bool keepdim=False) -> (Tensor values, Tensor indices)",
        cost=costs.sorting,
    ),
    *rows(
        reductions.selection,
        "The k-th smallest along an axis, and where it is.",
        "kthvalue(Tensor self, SymInt k, int dim=-1, bool keepdim=False) -> (Tensor values, Tensor indices)",
        cost=costs.sorting,
    ),
    *rows(
        reductions.selection,
        "The k largest along an axis, and where they are.",
        "topk(Tensor self, SymInt k, int dim=-1, bool largest=True, bool sorted=True) -> (Tensor values, "
        "Tensor indices)",
        cost=costs.sorting,
    ),
    *rows(
        reductions.quantile,
        "Quantiles along an axis.",
        'quantile(Tensor self, Tensor q, int? dim=None, bool keepdim=False, *, str interpolation="linear") -> Tensor',
        "quantile.scalar(Tensor self, float q, int? dim=None, bool keepdim=False, *, "
        'str interpolation="linear") -> Tensor',
        "nanquantile(Tensor self, Tensor q, int? dim=None, bool keepdim=False, *, "
        'str interpolation="linear") -> Tensor',
        "nanquantile.scalar(Tensor self, float q, int? dim=None, bool keepdim=False, *, "
        'str interpolation="linear") -> Tensor',
        cost=costs.sorting,
    ),
    *rows(
        reductions.scan(reductions.accumulated),
        "Running sum along an axis.",
        "cumsum(Tensor self, int dim, *, ScalarType? dtype=None) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.scan(reductions.accumulated),
        "Running product along an axis.",
        "cumprod(Tensor self, int dim, *, ScalarType? dtype=None) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.extremum,
        "Running maximum along an axis, and where it is.",
        "cummax(Tensor self, int dim) -> (Tensor values, Tensor indices)",
        cost=costs.reduction,
    ),
    *rows(
        reductions.extremum,
        "Running minimum along an axis, and where it is.",
        "cummin(Tensor self, int dim) -> (Tensor values, Tensor indices)",
        cost=costs.reduction,
    ),
    *rows(
        reductions.scan(floating_only),
        "Logarithm of the running sum of exponentials.",
        "logcumsumexp(Tensor self, int dim) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        reductions.diff,
        "Differences of neighbours along an axis.",
        "diff(Tensor self, int n=1, int dim=-1, Tensor? prepend=None, Tensor? append=None) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.trapezoid(cumulative=False),
        "Integral along an axis by the trapezoidal rule.",
        "trapezoid.x(Tensor y, Tensor x, *, int dim=-1) -> Tensor",
        "trapezoid.dx(Tensor y, *, Scalar dx=1, int dim=-1) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.trapezoid(cumulative=True),
        "Running integral along an axis by the trapezoidal rule.",
        "cumulative_trapezoid.x(Tensor y, Tensor x, *, int dim=-1) -> Tensor",
        "cumulative_trapezoid.dx(Tensor y, *, Scalar dx=1, int dim=-1) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.gradient,
        "Central differences along axes.",
        "gradient.scalarint(Tensor self, *, Scalar? spacing=None, int? dim=None, int edge_order=1) -> Tensor[]",
        "gradient.scalararray(Tensor self, *, Scalar spacing, int[] dim, int edge_order=1) -> Tensor[]",
        "gradient.array(Tensor self, *, int[] dim, int edge_order=1) -> Tensor[]",
        "gradient.scalarrayint(Tensor self, *, Scalar[] spacing, int? dim=None, int edge_order=1) -> Tensor[]",
        "gradient.scalarrayarray(Tensor self, *, Scalar[] spacing, int[] dim, int edge_order=1) -> Tensor[]",
        "gradient.tensorarrayint(Tensor self, *, Tensor[] spacing, int? dim=None, int edge_order=1) -> Tensor[]",
        "gradient.tensorarray(Tensor self, *, Tensor[] spacing, int[] dim, int edge_order=1) -> Tensor[]",
        cost=costs.reduction,
    ),
    *rows(
        reductions.covariance,
        "Covariance of the rows of a matrix.",
        "cov(Tensor self, *, int correction=1, Tensor? fweights=None, Tensor? aweights=None) -> Tensor",
        cost=costs.matmul,
    ),
    *rows(
        reductions.covariance,
        "Correlation of the rows of a matrix.",
        "corrcoef(Tensor self) -> Tensor",
        cost=costs.matmul,
    ),
    *rows(
        reductions.sort,
        "Elements of an axis in order, and where they were.",
        "sort(Tensor self, int dim=-1, bool descending=False) -> (Tensor values, Tensor indices)",
        "sort.stable(Tensor self, *, bool? stable, int dim=-1, bool descending=False) -> (Tensor values, "
        "Tensor indices)",
        cost=costs.sorting,
    ),
    *rows(
        like(real),
        "Elements of the first axis in order.",
        "msort(Tensor self) -> Tensor",
        cost=costs.sorting,
    ),
    *rows(
        reductions.argsort,
        "The places of an axis in the order of its elements.",
        "argsort(Tensor self, int dim=-1, bool descending=False) -> Tensor",
        "argsort.stable(Tensor self, *, bool stable, int dim=-1, bool descending=False) -> Tensor",
        cost=costs.sorting,
    ),
    *rows(
        None,
        "Reduction of runs of the first axis.",
        "segment_reduce(Tensor data, str reduce, *, Tensor? lengths=None, Tensor? indices=None, "
        "Tensor? offsets=None, int axis=0, bool unsafe=False, Scalar? initial=None) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        like(floating_only),
        "Parts of a tensor scaled down to a norm.",
        "renorm(Tensor self, Scalar p, int dim, Scalar maxnorm) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.histogram,
        "Counts of the elements in equal bins.",
        "histc(Tensor self, int bins=100, Scalar min=0, Scalar max=0) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reshaping.sum_to_size,
        "Sum over the axes that broadcasting has grown.",
        "sum_to_size(Tensor self, SymInt[] size) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        cutting.trace,
        "Sum of a matrix's diagonal.",
        "trace(Tensor self) -> Tensor",
        cost=costs.reduction,
    ),
    *rows(
        reductions.histogram_and_edges,
        "Counts, or sums of weights, of the elements in bins; and the edges.",
        "histogram.bin_ct(Tensor self, int bins=100, *, float[]? range=None, Tensor? weight=None, "
        "bool density=False) -> (Tensor hist, Tensor bin_edges)",
        "histogram.bins_tensor(Tensor self, Tensor bins, *, Tensor? weight=None, "
        "bool density=False) -> (Tensor hist, Tensor bin_edges)",
        cost=costs.reduction,
    ),
    *rows(
        None,
        "Edges or counts of bins in several dimensions.",
        "_histogramdd_bin_edges(Tensor self, int[] bins, *, float[]? range=None, Tensor? weight=None, "
        "bool density=False) -> Tensor[]",
        "_histogramdd_from_bin_cts(Tensor self, int[] bins, *, float[]? range=None, Tensor? weight=None, "
        "bool density=False) -> Tensor",
        "_histogramdd_from_bin_tensors(Tensor self, Tensor[] bins, *, Tensor? weight=None, "
        "bool density=False) -> Tensor",
        cost=costs.reduction,
    ),
)
