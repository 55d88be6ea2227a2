"""Operators that draw random numbers."""

from __future__ import annotations

from .op import Op, rows
from .shapes import creation, network
from .shapes.elementwise import floating_real_only, like

__all__ = ["ROWS"]

ROWS: tuple[Op, ...] = (
    *rows(
        creation.sized(),
        "Uniform numbers.",
        "rand(SymInt[] size, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, "
        "bool? pin_memory=None) -> Tensor",
        random=True,
    ),
    *rows(
        creation.sized(),
        "Normal numbers.",
        "randn(SymInt[] size, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, "
        "bool? pin_memory=None) -> Tensor",
        random=True,
    ),
    *rows(
        creation.filled_like,
        "Uniform numbers, in the shape of another tensor.",
        "rand_like(Tensor self, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, "
        "bool? pin_memory=None, MemoryFormat? memory_format=None) -> Tensor",
        random=True,
    ),
    *rows(
        creation.filled_like,
        "Normal numbers, in the shape of another tensor.",
        "randn_like(Tensor self, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, "
        "bool? pin_memory=None, MemoryFormat? memory_format=None) -> Tensor",
        random=True,
    ),
    *rows(
        creation.sized("int64"),
        "Uniform integers.",
        "randint(SymInt high, SymInt[] size, *, ScalarType? dtype=4, Layout? layout=None, Device? device=None, "
        "bool? pin_memory=None) -> Tensor",
        "randint.low(SymInt low, SymInt high, SymInt[] size, *, ScalarType? dtype=4, Layout? layout=None, "
        "Device? device=None, bool? pin_memory=None) -> Tensor",
        random=True,
    ),
    *rows(
        creation.filled_like,
        "Uniform integers, in the shape of another tensor.",
        "randint_like(Tensor self, SymInt high, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, "
        "bool? pin_memory=None, MemoryFormat? memory_format=None) -> Tensor",
        "randint_like.low_dtype(Tensor self, SymInt low, SymInt high, *, ScalarType? dtype=None, "
        "Layout? layout=None, Device? device=None, bool? pin_memory=None, MemoryFormat? memory_format=None) -> Tensor",
        "randint_like.Tensor(Tensor self, Tensor high, *, ScalarType? dtype=None, Layout? layout=None, "
        "Device? device=None, bool? pin_memory=None, MemoryFormat? memory_format=None) -> Tensor",
        random=True,
    ),
    *rows(
        creation.permutation,
        "A random order of the first n integers.",
        "randperm(SymInt n, *, ScalarType? dtype=4, Layout? layout=None, Device? device=None, "
        "bool? pin_memory=None) -> Tensor",
        random=True,
    ),
    *rows(
        creation.normal,
        "Normal numbers of given means and deviations.",
        "normal.Tensor_float(Tensor mean, float std=1., *, Generator? generator=None) -> Tensor",
        "normal.float_Tensor(float mean, Tensor std, *, Generator? generator=None) -> Tensor",
        "normal.Tensor_Tensor(Tensor mean, Tensor std, *, Generator? generator=None) -> Tensor",
        random=True,
    ),
    *rows(
        creation.sized(),
        "Normal numbers of one mean and deviation.",
        "normal.float_float(float mean, float std, SymInt[] size, *, Generator? generator=None, "
        "ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
        random=True,
    ),
    *rows(
        creation.like,
        "Normal numbers, in the shape of another tensor.",
        "normal_functional(Tensor self, float mean=0., float std=1., *, Generator? generator=None) -> Tensor",
        random=True,
    ),
    *rows(
        creation.like,
        "Uniform numbers, in the shape of another tensor.",
        "uniform(Tensor self, float from=0., float to=1., *, Generator? generator=None) -> Tensor",
        random=True,
    ),
    *rows(
        creation.like,
        "Exponential numbers, in the shape of another tensor.",
        "exponential(Tensor self, float lambd=1., *, Generator? generator=None) -> Tensor",
        random=True,
    ),
    *rows(
        creation.like,
        "Cauchy numbers, in the shape of another tensor.",
        "cauchy(Tensor self, float median=0., float sigma=1., *, Generator? generator=None) -> Tensor",
        random=True,
    ),
    *rows(
        creation.like,
        "Log-normal numbers, in the shape of another tensor.",
        "log_normal(Tensor self, float mean=1., float std=2., *, Generator? generator=None) -> Tensor",
        random=True,
    ),
    *rows(
        creation.like,
        "Geometric numbers, in the shape of another tensor.",
        "geometric(Tensor self, float p, *, Generator? generator=None) -> Tensor",
        random=True,
    ),
    *rows(
        creation.like,
        "Uniform integers, in the shape and dtype of another tensor.",
        "random(Tensor self, *, Generator? generator=None) -> Tensor",
        "random.from(Tensor self, int from, int? to, *, Generator? generator=None) -> Tensor",
        "random.to(Tensor self, int to, *, Generator? generator=None) -> Tensor",
        random=True,
    ),
    *rows(
        creation.like,
        "1 with a given probability, else 0.",
        "bernoulli(Tensor self, *, Generator? generator=None) -> Tensor",
        "bernoulli.p(Tensor self, float p, *, Generator? generator=None) -> Tensor",
        "bernoulli.Tensor(Tensor self, Tensor p, *, Generator? generator=None) -> Tensor",
        random=True,
    ),
    *rows(
        creation.like,
        "Poisson numbers of given rates.",
        "poisson(Tensor self, Generator? generator=None) -> Tensor",
        random=True,
    ),
    *rows(
        creation.like,
        "Gamma numbers of given shapes; differentiable by them.",
        "_standard_gamma(Tensor self, Generator? generator=None) -> Tensor",
        random=True,
    ),
    *rows(
        creation.like,
        "Dirichlet numbers of given concentrations, along the last axis.",
        "_sample_dirichlet(Tensor self, Generator? generator=None) -> Tensor",
        random=True,
    ),
    *rows(
        creation.like,
        "Binomial numbers of given counts and probabilities.",
        "binomial(Tensor count, Tensor prob, Generator? generator=None) -> Tensor",
        random=True,
    ),
    *rows(
        creation.multinomial,
        "Places drawn by their weights.",
        "multinomial(Tensor self, SymInt num_samples, bool replacement=False, *, Generator? generator=None) -> Tensor",
        random=True,
    ),
    *rows(
        network.dropout,
        "Some elements set to 0, the others scaled up.",
        "dropout(Tensor input, float p, bool train) -> Tensor",
        random=True,
    ),
    *rows(
        network.dropout,
        "Some channels set to 0, the others scaled up.",
        "feature_dropout(Tensor input, float p, bool train) -> Tensor",
        random=True,
    ),
    *rows(
        network.dropout,
        "Dropout that keeps mean and variance.",
        "alpha_dropout(Tensor input, float p, bool train) -> Tensor",
        "feature_alpha_dropout(Tensor input, float p, bool train) -> Tensor",
        random=True,
    ),
    *rows(
        network.native_dropout,
        "Dropout, and the mask that was drawn.",
        "native_dropout(Tensor input, float p, bool? train) -> (Tensor, Tensor)",
        random=True,
    ),
    *rows(
        like(floating_real_only),
        "leaky_relu with random slopes.",
        "rrelu(Tensor self, Scalar lower=0.125, Scalar upper=0.33333333333333331, bool training=False, "
        "Generator? generator=None) -> Tensor",
        random=True,
    ),
)
