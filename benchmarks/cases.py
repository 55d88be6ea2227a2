"""The cases: which derivative of which function at which point, and what is measured with it.

Nothing here imports torch: every environment of the benchmark reads this file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

import functions
from functions import panda

__all__ = ["CASES", "Case", "case_named", "transformed"]


@dataclass(frozen=True)
class Case:
    """One derivative.

    Attributes
    ----------
    key:
        Its name on the command line.
    title:
        Its name in the table.
    chain:
        The transforms, outermost first.
    function:
        See :mod:`functions`.
    make_argument:
        Makes what it is called with.
    purpose:
        ``calls`` are timed one after another; ``load`` is for concurrent clients alone.
    umbridge_calls:
        How many calls of UM-Bridge one derivative takes: a column (jacfwd) or a row (jacrev, grad) each.
        0 where they would be too many to wait for.
    echo:
        Whether the bare echo of the request's bytes is timed beside it, and the client over httpx too.
    in_quick:
        Whether a quick run has it compiled locally and served by the peers.
    """

    key: str
    title: str
    chain: tuple[str, ...]
    function: functions.Function
    make_argument: Callable[[], np.ndarray]
    purpose: Literal["calls", "load"] = "calls"
    umbridge_calls: int = 0
    echo: bool = False
    in_quick: bool = False

    @property
    def argument(self) -> np.ndarray:
        """What it is called with; always the same."""
        return _argument(self.key)

    def arguments(self, count: int, seed: int = 0) -> list[np.ndarray]:
        """Distinct arguments near :attr:`argument`, of its shape and dtype."""
        rng, point = np.random.default_rng(seed), self.argument
        return [(point + 0.01 * rng.standard_normal(point.shape)).astype(point.dtype) for _ in range(count)]


@cache
def _argument(key: str) -> np.ndarray:
    return case_named(key).make_argument()


def transformed(api: Any, case: Case, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The case's derivative of a function, by the transforms of ``api``: farfunc or torch.func."""
    for name in reversed(case.chain):
        function = getattr(api, name)(function)
    return function


def _normal(*shape: int, dtype: Any = np.float64) -> Callable[[], np.ndarray]:
    return lambda: np.random.default_rng(0).standard_normal(shape).astype(dtype)


def _concentrations() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.uniform(0.0, 1.0, (1000, 3)) * np.array([1.0, 1e-4, 1.0])


_SMALL, _LARGE = functions.mlp(16, 64, 64, 8), functions.mlp(256, 512, 512, 64)
_JACFWD, _JACREV = ("jacfwd",), ("jacrev",)
_BATCH_JACFWD, _BATCH_JACREV = ("vmap", "jacfwd"), ("vmap", "jacrev")
_BRUSSELATOR = functions.brusselator(1000)
_ROBERTSON = functions.robertson

CASES = [
    Case("sin", "jacfwd(sin), n = 5", _JACFWD, functions.sine, _normal(5), umbridge_calls=5, echo=True, in_quick=True),
    Case(
        "panda-jacfwd",
        "Panda arm, jacfwd, one state",
        _JACFWD,
        functions.arm,
        lambda: panda.READY,
        umbridge_calls=7,
        in_quick=True,
    ),
    Case("panda-jacrev", "Panda arm, jacrev, one state", _JACREV, functions.arm, lambda: panda.READY, umbridge_calls=6),
    Case(
        "panda-batch",
        "Panda arm, vmap(jacfwd), 1,000 states",
        _BATCH_JACFWD,
        functions.arm,
        lambda: panda.random_states(1000),
    ),
    Case("mlp-small", "MLP 16-64-64-8, jacrev", _JACREV, _SMALL, _normal(16), umbridge_calls=8),
    Case("mlp-small-batch", "MLP 16-64-64-8, vmap(jacrev), batch 256", _BATCH_JACREV, _SMALL, _normal(256, 16)),
    Case("mlp-large", "MLP 256-512-512-64, jacrev", _JACREV, _LARGE, _normal(256), umbridge_calls=64),
    Case("mlp-large-batch", "MLP 256-512-512-64, vmap(jacrev), batch 256", _BATCH_JACREV, _LARGE, _normal(256, 256)),
    Case(
        "transformer",
        "transformer layer, 16 x 64, 4 heads, float32, jacrev",
        _JACREV,
        functions.transformer_layer(16, 64, 4),
        _normal(16, 64, dtype=np.float32),
    ),
    Case("brusselator", "Brusselator, 1,000 cells, jacfwd", _JACFWD, _BRUSSELATOR, _normal(2000)),
    Case("robertson", "Robertson, vmap(jacfwd), 1,000 states", _BATCH_JACFWD, _ROBERTSON, _concentrations),
    Case(
        "dense-64",
        "64 x 64 dense, jacrev",
        _JACREV,
        functions.dense(64),
        _normal(64),
        umbridge_calls=64,
        echo=True,
        in_quick=True,
    ),
    Case("dense-2000", "2000 x 2000 dense, jacrev", _JACREV, functions.dense(2000), _normal(2000), umbridge_calls=2000),
    # The same 32 MB as the dense one at next to no computation, so that what remains is the transfer.
    Case("transfer", "jacfwd(sin), n = 2,000 (32 MB of result)", _JACFWD, functions.sine, _normal(2000)),
    Case(
        "two-ms",
        "grad of a float32 recurrent network, 256 wide, 90 steps",
        ("grad",),
        functions.recurrent(256, 90),
        _normal(256, dtype=np.float32),
        purpose="load",
    ),
    Case(
        "two-ms-wide",
        "grad of a loss of a float32 MLP, two layers 2,048 wide (34 MB of weights)",
        ("grad",),
        functions.squared(functions.mlp(2048, 2048, 2048, dtype=np.float32)),
        _normal(2048, dtype=np.float32),
        purpose="load",
    ),
    Case("seconds", "MLP 256-512-512-64, vmap(jacrev), batch 512", _BATCH_JACREV, _LARGE, _normal(512, 256), "load"),
    Case("memory", "jacfwd(sin), n = 5,793 (256 MiB of result)", _JACFWD, functions.sine, _normal(5793), "load"),
]


def case_named(key: str) -> Case:
    """The case of a key."""
    return next(case for case in CASES if case.key == key)
