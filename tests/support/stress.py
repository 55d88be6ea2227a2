"""Calls for stress tests: each with arguments of its own, and with its truth, which torch.func computes here."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import torch
from torch.utils._pytree import tree_leaves

from farfunc_protocol.graph import Function
from farfunc_protocol.messages import decode_response
from farfunc_protocol.transforms import FlatTransform

from .graphs import array, f64, function_of
from .http import BINARY, evaluation, register

__all__ = ["LONG", "SHORT", "Case", "RawCase", "Registered", "Results", "differs", "drawn"]

Results = Sequence[torch.Tensor]
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-4}


# Functions, as a user writes them.


def layer(x, w):
    return torch.tanh(x @ w)


def energy(x):
    return (torch.sin(x) * x).sum() + (x[:-1] * x[1:]).prod()


def smooth(x):
    return torch.cumsum(torch.exp(-x * x), 0) / (1 + x.pow(2).mean())


def polar(x):
    return {"radius": torch.linalg.vector_norm(x), "angle": torch.atan2(x[0], x[-1])}


def solved(a, b):
    return torch.linalg.solve(a @ a.T + 10 * torch.eye(len(a), dtype=a.dtype), b)


def many(x):
    """The sum of x ** 101, by as many products: long for many samples."""
    y = x
    for _ in range(100):
        y = y * x
    return y.sum()


def outer(x, y):
    return torch.sin(x)[:, None] * y


@dataclass(frozen=True, slots=True)
class Case:
    """A call that is made through a client.

    Attributes
    ----------
    name:
        What is called.
    call:
        Makes the call with the transforms of ``torch.func``, or of a client.
    is_long:
        Whether it is evaluated in slices, or its answer is handed over in parts.
    """

    name: str
    call: Callable[[Any], Any]
    is_long: bool = False

    def truth(self) -> Results:
        """What torch.func computes here."""
        return tree_leaves(self.call(torch.func))


@dataclass(frozen=True, slots=True)
class RawCase:
    """A request that any HTTP client could make.

    Attributes
    ----------
    name:
        What is called.
    path, content, headers:
        The request.
    read:
        Takes the results from an answer.
    truth:
        Computes them here.
    is_long:
        Whether it takes long.
    """

    name: str
    path: str
    content: bytes
    headers: dict[str, str]
    read: Callable[[bytes], Results]
    truth: Callable[[], Results]
    is_long: bool = False


def differs(expected: Results, found: Results) -> str | None:
    """In what an answer differs from the truth by more than rounding; None if in nothing."""
    if len(expected) != len(found):
        return f"{len(found)} results, not {len(expected)}"
    for number, (left, right) in enumerate(zip(expected, found, strict=True)):
        if (left.dtype, left.shape) != (right.dtype, right.shape):
            return f"result {number} is {right.dtype}{list(right.shape)}, not {left.dtype}{list(left.shape)}"
        scale = max(float(left.abs().max()), 1e-30) if left.numel() else 1.0
        if left.numel() and not float((left - right).abs().max()) <= _TOLERANCE[left.dtype] * scale:
            return f"result {number} differs by {float((left - right).abs().max()):.3g} of {scale:.3g}"
    return None


class _Arguments:
    """Arguments that no other call has."""

    def __init__(self, seed: int) -> None:
        self.choice = random.Random(seed)
        self._generator = torch.Generator().manual_seed(seed)
        self.dtype = self.choice.choice([torch.float64, torch.float32])

    def __call__(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=self._generator, dtype=torch.float64).to(self.dtype)

    def size(self, low: int = 2, high: int = 6) -> int:
        return self.choice.randint(low, high)


def _jacrev(a: _Arguments) -> Callable[[Any], Any]:
    n, x, w = a.size(), a.size(), a.size()
    xs, ws = a(n, x), a(x, w)
    return lambda t: t.jacrev(layer, argnums=(0, 1))(xs, ws)


def _jacfwd(a: _Arguments) -> Callable[[Any], Any]:
    x = a(a.size(3, 8))
    return lambda t: t.jacfwd(smooth)(x)


def _hessian(a: _Arguments) -> Callable[[Any], Any]:
    x = a(a.size(3, 6))
    return lambda t: t.hessian(energy)(x)


def _chain(a: _Arguments) -> Callable[[Any], Any]:
    x = a(4)
    return lambda t: t.jacfwd(t.jacrev(smooth))(x)


def _grad(a: _Arguments) -> Callable[[Any], Any]:
    x = a(5)  # of one kind, so that requests meet others that they are evaluated with
    return lambda t: t.grad(energy)(x)


def _batch(a: _Arguments) -> Callable[[Any], Any]:
    x = a(a.size(1, 9), 7)
    return lambda t: t.vmap(t.jacrev(smooth))(x)


def _shared(a: _Arguments) -> Callable[[Any], Any]:
    x, w = a(a.size(1, 9), 3, 4), a(4, 2)
    return lambda t: t.vmap(t.jacfwd(layer, argnums=1), in_dims=(0, None))(x, w)


def _jvp(a: _Arguments) -> Callable[[Any], Any]:
    x, v = a(6), a(6)
    return lambda t: t.jvp(smooth, (x,), (v,))


def _tree(a: _Arguments) -> Callable[[Any], Any]:
    x = a(3)
    return lambda t: t.jacrev(polar)(x)


def _solve(a: _Arguments) -> Callable[[Any], Any]:
    matrix, b = a(4, 4), a(4)
    return lambda t: t.jacrev(solved, argnums=(0, 1))(matrix, b)


def _long_samples(a: _Arguments) -> Callable[[Any], Any]:
    x = 1 - 0.01 * torch.rand(1200, 300, dtype=torch.float64, generator=a._generator)
    return lambda t: t.vmap(t.grad(many))(x)


def _long_rows(a: _Arguments) -> Callable[[Any], Any]:
    x, w = a(40, 30).double(), a(30, 20).double()
    return lambda t: t.jacrev(layer)(x, w)


def _long_columns(a: _Arguments) -> Callable[[Any], Any]:
    x, w = a(40, 20).double(), a(20, 30).double()
    return lambda t: t.jacfwd(layer, argnums=1)(x, w)


def _large(a: _Arguments) -> Callable[[Any], Any]:
    x, y = a(30).double(), a(40).double()
    return lambda t: t.jacrev(outer, argnums=(0, 1))(x, y)


_SHORT = {
    "jacrev": _jacrev, "jacfwd": _jacfwd, "hessian": _hessian, "jacfwd(jacrev)": _chain, "grad": _grad,
    "vmap(jacrev)": _batch, "vmap(jacfwd)": _shared, "jvp": _jvp, "jacrev of a tree": _tree, "solve": _solve,
}  # fmt: skip
_LONG = {"vmap(grad)": _long_samples, "rows": _long_rows, "columns": _long_columns, "large": _large}
SHORT, LONG = tuple(_SHORT), tuple(_LONG)


def drawn(seed: int, name: str) -> Case:
    """The call of this name with arguments that the seed draws."""
    arguments = _Arguments(seed)
    return Case(name, {**_SHORT, **_LONG}[name](arguments), is_long=name in _LONG)


# Functions as graphs, for requests that no client of ours makes.

def _noisy_graph(b: Any, x: Any) -> Any:
    (noise,) = b.add("rand_like", (x,))
    (y,) = b.add("mul.Tensor", (x, noise))
    return b.add("sin", (y,))[0]


def _noisy(x: torch.Tensor) -> torch.Tensor:
    return torch.sin(x * torch.rand_like(x))


def _power_graph(b: Any, x: Any) -> Any:
    attributes = {"size": (700, 700), "fill_value": 1.0 / 700, "dtype": "float64"}
    (matrix,) = b.add("full", (), attributes, types=[f64(700, 700)])
    for _ in range(40):
        (x,) = b.add("mv", (matrix, x))
    return x


NOISY: Function = function_of([f64(12)], _noisy_graph)
SINE: Function = function_of([f64(9)], lambda b, x: b.add("sin", (x,))[0])
ROWS: Function = function_of([f64(1100)], lambda b, x: b.add("sin", (x,))[0])
POWER: Function = function_of([f64(700)], _power_graph)
"""Its Jacobian takes a second, in slices."""

JACREV, JACFWD = (FlatTransform(name, {"argnums": (0,)}) for name in ("jacrev", "jacfwd"))


def _binary(data: bytes) -> Results:
    return [torch.from_numpy(leaf.data.copy()) for leaf in decode_response(data).arrays]


def _json(data: bytes) -> Results:
    result = json.loads(data)["result"]
    if "base64" in result:
        values = np.frombuffer(base64.b64decode(result["base64"]), result["dtype"]).reshape(result["shape"])
        return [torch.from_numpy(values.copy())]
    return [torch.tensor(result["data"], dtype=torch.float64)]


class Registered:
    """The functions that raw requests are about, on one server."""

    def __init__(self, client: httpx.Client) -> None:
        self.noisy, self.rows, self.power = (register(client, each) for each in (NOISY, ROWS, POWER))
        register(client, SINE, "sine")

    def drawn(self, seed: int, name: str) -> RawCase:
        """The request of this name, with arguments that the seed draws."""
        x = np.random.default_rng(seed)
        if name == "seeded":
            values = x.standard_normal(12)

            def truth() -> Results:
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(seed)
                    return [torch.func.jacrev(_noisy)(torch.from_numpy(values))]

            body = evaluation(self.noisy, [array(values)], JACREV, seed=seed)
            return RawCase(name, "/v1/evaluate", body, BINARY, _binary, truth)
        if name in ("lists", "base64"):
            values = x.standard_normal(9)
            encoding = {"encoding": "base64"} if name == "base64" else {}
            request = httpx.Request("POST", "http://farfunc/", json={"args": [values.tolist()], **encoding})
            kind = {"content-type": "application/json"}
            path = "/v1/functions/sine/jacfwd"
            return RawCase(name, path, request.content, kind, _json, lambda: [torch.diag(torch.tensor(np.cos(values)))])
        if name == "diagonal":
            values = x.standard_normal(1100)
            body = evaluation(self.rows, [array(values)], JACFWD)
            exact = lambda: [torch.diag(torch.tensor(np.cos(values)))]  # noqa: E731
            return RawCase(name, "/v1/evaluate", body, BINARY, _binary, exact, is_long=True)
        assert name == "power"
        values = x.standard_normal(700)
        body = evaluation(self.power, [array(values)], JACREV)
        exact = lambda: [torch.full((700, 700), 1 / 700, dtype=torch.float64)]  # noqa: E731
        return RawCase(name, "/v1/evaluate", body, BINARY, _binary, exact, is_long=True)


RAW_SHORT, RAW_LONG = ("seeded", "lists", "base64"), ("diagonal", "power")
