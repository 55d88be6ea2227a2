"""What is timed: the same functions for NumPy and for torch, with their inputs.

Nothing here imports torch: the NumPy client runs these in an environment without it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

import panda

__all__ = ["CASES", "Case"]

_RNG = np.random.default_rng(0)


@dataclass(frozen=True)
class Case:
    """One thing to time.

    Attributes
    ----------
    name:
        As the table shows it.
    transform:
        ``transform(api, function)`` with ``api`` one of farfunc and torch.func.
    function:
        ``function(xp)`` with ``xp`` one of numpy and torch gives the function.
    argument:
        What it is called with.
    calls:
        How many calls one round makes.
    """

    name: str
    transform: Callable[[Any, Callable], Callable]
    function: Callable[[Any], Callable]
    argument: np.ndarray
    calls: int


def _panda(xp: Any) -> Callable:
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


def _mlp(*widths: int) -> Callable[[Any], Callable]:
    rng = np.random.default_rng(1)
    layers = [(rng.standard_normal((n, m)) / np.sqrt(m), rng.standard_normal(n)) for m, n in pairwise(widths)]

    def make(xp: Any) -> Callable:
        own = layers if xp is np else [(xp.from_numpy(weight), xp.from_numpy(bias)) for weight, bias in layers]

        def network(x: Any) -> Any:
            for weight, bias in own[:-1]:
                x = xp.tanh(weight @ x + bias)
            weight, bias = own[-1]
            return weight @ x + bias

        return network

    return make


def _dense(xp: Any) -> Callable:
    matrix = np.random.default_rng(2).standard_normal((2000, 2000)) / 45
    own = matrix if xp is np else xp.from_numpy(matrix)
    return lambda x: xp.sin(own @ x)


def _jacfwd(api: Any, function: Callable) -> Callable:
    return api.jacfwd(function)


def _jacrev(api: Any, function: Callable) -> Callable:
    return api.jacrev(function)


def _batched_jacfwd(api: Any, function: Callable) -> Callable:
    return api.vmap(api.jacfwd(function))


CASES = [
    Case("jacfwd(sin), n = 5", _jacfwd, lambda xp: xp.sin, _RNG.standard_normal(5), 40),
    Case("Panda arm, jacfwd, one state", _jacfwd, _panda, panda.READY, 20),
    Case("Panda arm, jacrev, one state", _jacrev, _panda, panda.READY, 20),
    Case("Panda arm, vmap(jacfwd), 1,000 states", _batched_jacfwd, _panda, panda.random_states(1000), 5),
    Case("MLP 16-64-64-8, jacrev", _jacrev, _mlp(16, 64, 64, 8), _RNG.standard_normal(16), 20),
    Case("dense 2000 x 2000, jacrev", _jacrev, _dense, _RNG.standard_normal(2000), 1),
]
