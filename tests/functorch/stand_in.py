"""The plainest remote imaginable: every call is traced whole by torch's make_fx, and the flat program is run.

It shows how far tracing alone carries, and which tests no tracer can be expected to pass. Nothing is sent anywhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.func
from torch.fx.experimental.proxy_tensor import get_proxy_mode, make_fx
from torch.utils._pytree import tree_flatten, tree_unflatten


def _elsewhere() -> bool:
    """Whether a trace or a transform is already under way, so that a call is part of it."""
    return get_proxy_mode() is not None or torch._C._functorch.peek_interpreter_stack() is not None


def _traced(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`function(*args, **kwargs)` by way of a flat program over its tensor arguments."""
    leaves, tree = tree_flatten((args, kwargs))
    places = [index for index, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
    out_tree = None

    def flat(*tensors: torch.Tensor) -> Any:
        nonlocal out_tree
        filled = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            filled[place] = tensor
        again, kwargs_again = tree_unflatten(filled, tree)
        out, out_tree = tree_flatten(function(*again, **kwargs_again))
        return out

    tensors = [leaves[place] for place in places]
    with torch.random.fork_rng(devices=[]):  # tracing runs the function once: the caller's random stream is not for it
        program = make_fx(flat)(*(tensor.clone() for tensor in tensors))
    outputs = program(*tensors)
    assert out_tree is not None
    return tree_unflatten(outputs, out_tree)


def _transform(name: str) -> Callable[..., Any]:
    real = getattr(torch.func, name)

    @functools.wraps(real)
    def transform(func: Callable[..., Any], *options: Any, **more: Any) -> Callable[..., Any]:
        local = real(func, *options, **more)

        @functools.wraps(func, updated=())
        def call(*args: Any, **kwargs: Any) -> Any:
            return local(*args, **kwargs) if _elsewhere() else _traced(local, *args, **kwargs)

        return call

    return transform


def _jvp(func: Any, primals: Any, tangents: Any, **options: Any) -> Any:
    if _elsewhere():
        return torch.func.jvp(func, primals, tangents, **options)
    return _traced(lambda p, t: torch.func.jvp(func, p, t, **options), primals, tangents)


def _vjp(func: Any, *primals: Any, has_aux: bool = False) -> Any:
    out, local_pull, *aux = torch.func.vjp(func, *primals, has_aux=has_aux)

    def pull(cotangents: Any, *options: Any, **more: Any) -> Any:
        if _elsewhere():
            return local_pull(cotangents, *options, **more)
        return _traced(lambda p, c: torch.func.vjp(func, *p, has_aux=has_aux)[1](c), primals, cotangents)

    return (out, pull, *aux)


TRANSFORMS = {
    **{name: _transform(name) for name in ("grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "vmap")},
    "jvp": _jvp,
    "vjp": _vjp,
    "linearize": torch.func.linearize,  # already traces, with make_fx
    "functional_call": torch.func.functional_call,
    "stack_module_state": torch.func.stack_module_state,
}
