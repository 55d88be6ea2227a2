"""Local and remote results beside each other, without a server: a function is traced, written to bytes, read,
validated, lowered and differentiated by the server's own code, in this process.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from farfunc._torch import TorchFrontEnd
from farfunc._tracing import trace
from farfunc_protocol.document import function_from_bytes, function_to_bytes
from farfunc_protocol.graph import Function
from farfunc_protocol.transforms import FlatTransform
from farfunc_protocol.validate import validate_function
from farfunc_server.evaluation.engine import Engine

__all__ = ["FRONT_END", "assert_same_as_local", "evaluate", "local", "ops_of", "remote", "traced", "travelled"]

FRONT_END = TorchFrontEnd()
_ENGINE = Engine()


def traced(function: Callable[..., Any], *arguments: torch.Tensor) -> Function:
    """The graph of a function of tensors."""
    return trace(function, [FRONT_END.type_of(argument) for argument in arguments], {}, FRONT_END).function


def ops_of(function: Callable[..., Any], *arguments: torch.Tensor) -> list[str]:
    """The operators that a function becomes, in order."""
    return [equation.op for equation in traced(function, *arguments).graph.equations]


def travelled(function: Function) -> Function:
    """A function as the server reads it."""
    read = function_from_bytes(function_to_bytes(function))
    validate_function(read)
    return read


def evaluate(
    function: Function, name: str | None, arguments: Sequence[torch.Tensor], argnums: Sequence[int], seed: int = 0
) -> list[torch.Tensor]:
    """The leaves of a transform of a traced function, or of the function itself."""
    attributes: dict[str, Any] = {"argnums": tuple(argnums)}
    if name == "jacfwd":
        attributes["randomness"] = "same"
    chain = [FlatTransform(name, attributes)] if name else []
    arrays = [FRONT_END.to_array(argument) for argument in arguments]
    return [FRONT_END.from_array(leaf, None) for leaf in _ENGINE.evaluate(function, chain, arrays, seed=seed)]


def remote(name: str | None, function: Callable[..., Any], *arguments: torch.Tensor) -> list[torch.Tensor]:
    """The leaves that the server's code computes, differentiated by every floating-point argument."""
    return evaluate(travelled(traced(function, *arguments)), name, arguments, floating(arguments))


def local(name: str | None, function: Callable[..., Any], *arguments: torch.Tensor) -> list[torch.Tensor]:
    """The leaves that torch.func computes."""
    if name is None:
        return tree_leaves(function(*arguments))
    options = {"randomness": "same"} if name == "jacfwd" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # batching rules that fall back to a loop
        return tree_leaves(getattr(torch.func, name)(function, floating(arguments), **options)(*arguments))


def floating(arguments: Sequence[torch.Tensor]) -> tuple[int, ...]:
    """The positions of what can be differentiated."""
    return tuple(i for i, argument in enumerate(arguments) if argument.is_floating_point() or argument.is_complex())


def assert_same_as_local(
    function: Callable[..., Any],
    *arguments: torch.Tensor,
    transforms: Sequence[str | None] = (None, "jacrev", "jacfwd"),
) -> None:
    """Compare the results of a function, and of its transforms, with torch.func's."""
    graph = travelled(traced(function, *arguments))
    for name in transforms:
        given = evaluate(graph, name, arguments, floating(arguments))
        expected = local(name, function, *(argument.clone() for argument in arguments))
        assert len(given) == len(expected), name
        for left, right in zip(given, expected, strict=True):
            torch.testing.assert_close(left, right.detach().cpu(), msg=lambda text, name=name: f"{name}: {text}")
