"""Evaluators that need no server process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from farfunc._transforms import Transforms
from farfunc_protocol.arrays import Array
from farfunc_protocol.document import function_from_bytes, function_to_bytes
from farfunc_protocol.graph import Function
from farfunc_protocol.transforms import FlatTransform
from farfunc_protocol.validate import validate_function

__all__ = ["AsyncInProcess", "InProcess"]


class InProcess(Transforms):
    """The server's engine on a device, in this process; functions take the way over bytes and validation.

    Attributes
    ----------
    functions:
        What was evaluated, call by call.
    chains:
        Under which transforms.
    """

    def __init__(self, device: str = "cpu") -> None:
        from farfunc_server.evaluation.engine import Engine

        self._engine = Engine(device)
        self._arrived: dict[int, tuple[Function, Function]] = {}
        self.functions: list[Function] = []
        self.chains: list[list[str]] = []

    def evaluate(
        self,
        function: Function,
        transforms: Sequence[FlatTransform],
        arrays: Sequence[Array],
        seed: int | None = None,
        captures: Mapping[int, Array] | None = None,
        generator: Array | None = None,
    ) -> list[Array]:
        self.functions.append(function)
        self.chains.append([flat.name for flat in transforms])
        if id(function) not in self._arrived:
            arrived = function_from_bytes(function_to_bytes(function))
            validate_function(arrived)
            self._arrived[id(function)] = (function, arrived)
        _, function = self._arrived[id(function)]
        return list(self._engine.evaluate(function, transforms, arrays, seed, captures, generator))


class AsyncInProcess(InProcess):
    """The same, awaited."""

    async def evaluate(self, *args, **kwargs) -> list[Array]:  # type: ignore[override]
        return super().evaluate(*args, **kwargs)
