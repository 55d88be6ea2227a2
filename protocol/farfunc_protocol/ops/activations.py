"""Activation functions, softmax among them."""

from __future__ import annotations

from . import costs
from .op import Op, rows
from .shapes import network, reductions
from .shapes.elementwise import floating, floating_only, floating_real_only, gelu, like, real, relu

__all__ = ["ROWS"]

ROWS: tuple[Op, ...] = (
    *rows(
        like(relu),
        "max(x, 0).",
        "relu(Tensor self) -> Tensor",
    ),
    *rows(
        like(relu),
        "x kept between 0 and 6.",
        "relu6(Tensor self) -> Tensor",
    ),
    *rows(
        like(floating_real_only),
        "x, and negative_slope * x below 0.",
        "leaky_relu(Tensor self, Scalar negative_slope=0.01) -> Tensor",
    ),
    *rows(
        network.prelu,
        "x, and a learned slope below 0.",
        "prelu(Tensor self, Tensor weight) -> Tensor",
    ),
    *rows(
        like(floating_real_only),
        "x, and alpha * (exp(x) - 1) below 0.",
        "elu(Tensor self, Scalar alpha=1, Scalar scale=1, Scalar input_scale=1) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating_real_only),
        "x, and alpha * (exp(x / alpha) - 1) below 0.",
        "celu(Tensor self, Scalar alpha=1.) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating_real_only),
        "The self-normalizing elu.",
        "selu(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        gelu,
        "x times the standard normal's distribution at x.",
        'gelu(Tensor self, *, str approximate="none") -> Tensor',
        cost=costs.transcendental,
    ),
    *rows(
        like(floating_only),
        "x * sigmoid(x).",
        "silu(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating_real_only),
        "x * tanh(softplus(x)).",
        "mish(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating),
        "1 / (1 + exp(-x)).",
        "sigmoid(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating_real_only),
        "log(sigmoid(x)).",
        "log_sigmoid(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating_real_only),
        "log(1 + exp(beta x)) / beta.",
        "softplus(Tensor self, Scalar beta=1, Scalar threshold=20) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(real),
        "x kept between two numbers.",
        "hardtanh(Tensor self, Scalar min_val=-1, Scalar max_val=1) -> Tensor",
    ),
    *rows(
        like(floating_real_only),
        "A sigmoid of straight lines.",
        "hardsigmoid(Tensor self) -> Tensor",
    ),
    *rows(
        like(floating_real_only),
        "x * hardsigmoid(x).",
        "hardswish(Tensor self) -> Tensor",
    ),
    *rows(
        like(floating_real_only),
        "x, and 0 near 0.",
        "hardshrink(Tensor self, Scalar lambd=0.5) -> Tensor",
    ),
    *rows(
        like(floating_real_only),
        "x moved towards 0.",
        "softshrink(Tensor self, Scalar lambd=0.5) -> Tensor",
    ),
    *rows(
        like(real),
        "x, and a value where x is not above a threshold.",
        "threshold(Tensor self, Scalar threshold, Scalar value) -> Tensor",
    ),
    *rows(
        network.glu,
        "The first half of an axis times the sigmoid of the second.",
        "glu(Tensor self, int dim=-1) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        reductions.softmax,
        "Exponentials along an axis, divided by their sum.",
        "softmax.int(Tensor self, int dim, ScalarType? dtype=None) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        reductions.softmax,
        "Logarithm of softmax, exact.",
        "log_softmax.int(Tensor self, int dim, ScalarType? dtype=None) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        reductions.raw_softmax,
        "softmax along an axis, in the operand's dtype.",
        "_softmax(Tensor self, int dim, bool half_to_float) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        reductions.raw_softmax,
        "log_softmax along an axis, in the operand's dtype.",
        "_log_softmax(Tensor self, int dim, bool half_to_float) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        reductions.softmax,
        "softmax, with 0 for rows of -inf.",
        "_safe_softmax(Tensor self, int dim, ScalarType? dtype=None) -> Tensor",
        cost=costs.transcendental,
    ),
)
