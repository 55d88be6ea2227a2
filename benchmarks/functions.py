"""The functions that are timed, each for NumPy and for torch.

``function(xp)`` with ``xp`` one of :mod:`numpy` and :mod:`torch` gives the function as a user of that
library writes it. Nothing here imports torch: the NumPy client runs in an environment without it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

import panda

__all__ = [
    "Function",
    "arm",
    "brusselator",
    "dense",
    "mlp",
    "recurrent",
    "robertson",
    "sine",
    "squared",
    "transformer_layer",
]

Function = Callable[[Any], Callable[[Any], Any]]


def _own(xp: Any, *arrays: np.ndarray) -> list[Any]:
    return list(arrays) if xp is np else [xp.from_numpy(array) for array in arrays]


def sine(xp: Any) -> Callable[[Any], Any]:
    """The first example of torch.func's reference page: (n,) to (n,)."""
    return xp.sin


def arm(xp: Any) -> Callable[[Any], Any]:
    """Forward kinematics of the Panda arm: joint angles (7,) to the flange's pose (6,)."""
    if xp is np:
        return panda.forward_kinematics

    def link(theta: Any, a: float, d: float, alpha: float) -> Any:
        c, s = xp.cos(theta), xp.sin(theta)
        ca, sa = float(np.cos(alpha)), float(np.sin(alpha))
        zero, one = xp.zeros_like(c), xp.ones_like(c)
        rows = [
            xp.stack([c, -s, zero, a * one]),
            xp.stack([s * ca, c * ca, -sa * one, -d * sa * one]),
            xp.stack([s * sa, c * sa, ca * one, d * ca * one]),
            xp.stack([zero, zero, zero, one]),
        ]
        return xp.stack(rows)

    def forward_kinematics(q: Any) -> Any:
        pose = xp.eye(4, dtype=q.dtype)
        for i, (a, d, alpha) in enumerate(panda.DH):
            pose = pose @ link(q[i], a, d, alpha)
        pose = pose @ link(xp.zeros_like(q[0]), 0.0, panda.FLANGE, 0.0)
        roll = xp.atan2(pose[2, 1], pose[2, 2])
        pitch = xp.atan2(-pose[2, 0], xp.hypot(pose[2, 1], pose[2, 2]))
        yaw = xp.atan2(pose[1, 0], pose[0, 0])
        return xp.stack([pose[0, 3], pose[1, 3], pose[2, 3], roll, pitch, yaw])

    return forward_kinematics


def mlp(*widths: int, dtype: Any = np.float64) -> Function:
    """A network with tanh between its layers: (widths[0],) to (widths[-1],)."""
    rng = np.random.default_rng(1)
    layers = [
        ((rng.standard_normal((n, m)) / np.sqrt(m)).astype(dtype), rng.standard_normal(n).astype(dtype))
        for m, n in pairwise(widths)
    ]

    def make(xp: Any) -> Callable[[Any], Any]:
        own = [_own(xp, *layer) for layer in layers]

        def network(x: Any) -> Any:
            for weight, bias in own[:-1]:
                x = xp.tanh(weight @ x + bias)
            weight, bias = own[-1]
            return weight @ x + bias

        return network

    return make


def squared(function: Function) -> Function:
    """A loss: the sum of the squares of a function's values."""

    def make(xp: Any) -> Callable[[Any], Any]:
        own = function(xp)
        return lambda x: (own(x) ** 2).sum()

    return make


def recurrent(width: int, steps: int) -> Function:
    """A loss of a float32 recurrent network's last state: (width,) to a scalar.

    Many small steps by one small matrix.
    """
    weight = (np.random.default_rng(4).standard_normal((width, width)) / np.sqrt(width)).astype(np.float32)

    def make(xp: Any) -> Callable[[Any], Any]:
        (own,) = _own(xp, weight)

        def loss(x: Any) -> Any:
            for _ in range(steps):
                x = xp.tanh(own @ x)
            return (x**2).sum()

        return loss

    return make


def dense(n: int) -> Function:
    """sin(A x) for a dense A: (n,) to (n,)."""

    def make(xp: Any) -> Callable[[Any], Any]:
        (matrix,) = _own(xp, np.random.default_rng(2).standard_normal((n, n)) / np.sqrt(n))
        return lambda x: xp.sin(matrix @ x)

    return make


def brusselator(cells: int) -> Function:
    """The Brusselator in one dimension on a ring: u and v of each cell (2 * cells,) to their rates of change."""
    a, b, diffusion = 1.0, 3.0, 0.02 * (cells / 10) ** 2

    def make(xp: Any) -> Callable[[Any], Any]:
        def laplacian(w: Any) -> Any:
            return xp.roll(w, 1, 0) - 2.0 * w + xp.roll(w, -1, 0)

        def rates(state: Any) -> Any:
            u, v = state[:cells], state[cells:]
            reaction = u * u * v
            du = a - (b + 1.0) * u + reaction + diffusion * laplacian(u)
            dv = b * u - reaction + diffusion * laplacian(v)
            return xp.concatenate([du, dv])

        return rates

    return make


def robertson(xp: Any) -> Callable[[Any], Any]:
    """Robertson's stiff kinetics: three concentrations (3,) to their rates of change."""

    def rates(y: Any) -> Any:
        slow = 0.04 * y[0]
        middle = 1e4 * y[1] * y[2]
        fast = 3e7 * y[1] * y[1]
        return xp.stack([middle - slow, slow - middle - fast, fast])

    return rates


def transformer_layer(length: int, width: int, heads: int) -> Function:
    """A pre-norm transformer layer in float32: (length, width) to (length, width).

    With torch it calls layer_norm, linear, scaled_dot_product_attention and gelu; with NumPy it is written out,
    GELU in its tanh form on both sides.
    """
    rng = np.random.default_rng(3)

    def matrix(n: int, m: int) -> np.ndarray:
        return (rng.standard_normal((n, m)) / np.sqrt(m)).astype(np.float32)

    weights = [matrix(3 * width, width), matrix(width, width), matrix(4 * width, width), matrix(width, 4 * width)]
    size = width // heads

    def with_numpy(x: Any) -> Any:
        qkv, out, up, down = weights

        def norm(x: Any) -> Any:
            centred = x - x.mean(-1, keepdims=True)
            return centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)

        def gelu(x: Any) -> Any:
            return 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi).item() * (x + 0.044715 * x**3)))

        parts = (norm(x) @ qkv.T).reshape(length, 3, heads, size)
        q, k, v = (parts[:, i].transpose(1, 0, 2) for i in range(3))
        scores = q @ k.transpose(0, 2, 1) / float(np.sqrt(size))
        odds = np.exp(scores - scores.max(-1, keepdims=True))
        attention = (odds / odds.sum(-1, keepdims=True)) @ v
        x = x + attention.transpose(1, 0, 2).reshape(length, width) @ out.T
        return x + gelu(norm(x) @ up.T) @ down.T

    def make(xp: Any) -> Callable[[Any], Any]:
        if xp is np:
            return with_numpy
        functional = xp.nn.functional
        qkv, out, up, down = _own(xp, *weights)

        def with_torch(x: Any) -> Any:
            parts = functional.linear(functional.layer_norm(x, (width,)), qkv).reshape(length, 3, heads, size)
            q, k, v = (parts[:, i].transpose(0, 1) for i in range(3))
            attention = functional.scaled_dot_product_attention(q, k, v)
            x = x + functional.linear(attention.transpose(0, 1).reshape(length, width), out)
            hidden = functional.linear(functional.layer_norm(x, (width,)), up)
            return x + functional.linear(functional.gelu(hidden, approximate="tanh"), down)

        return with_torch

    return make
