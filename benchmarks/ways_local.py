"""torch.func in this process: eager, and under torch.compile."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch._dynamo
import torch.func
from torch.nn.attention import SDPBackend, sdpa_kernel

from cases import Case, transformed
from ways import Addresses

__all__ = ["Compiled", "Local"]


class Local:
    """Eager torch.func, as a user calls it."""

    function = None

    def __init__(self, case: Case, addresses: Addresses) -> None:
        self.note = ""
        self.call: Callable[[Any], Any] = transformed(torch.func, case, case.function(torch))
        # torch's fused attention has no batching rule on the CPU: what it does have is the math form.
        self.needs_math = case.key == "transformer"

    def bind(self, argument: np.ndarray) -> Callable[[], Any]:
        call, tensor = self.call, torch.from_numpy(argument)
        if not self.needs_math:
            return lambda: call(tensor)

        def with_math() -> Any:
            with sdpa_kernel(SDPBackend.MATH):
                return call(tensor)

        return with_math

    def array(self, result: Any) -> np.ndarray:
        return result.numpy()

    def close(self) -> None:
        pass


class Compiled(Local):
    """torch.func under torch.compile; opening it compiles.

    As one graph where that is possible, else in parts, which the note says; for static shapes, as a program with one
    case has them. (Having seen another case's shape, torch.compile would take lengths as symbols, and fails for some.)
    """

    def __init__(self, case: Case, addresses: Addresses) -> None:
        super().__init__(case, addresses)
        eager, parts = self.call, ""
        started = time.perf_counter()
        try:
            torch.compiler.reset()
            self.call = torch.compile(eager, fullgraph=True, dynamic=False)
            self.bind(case.argument)()
        except torch._dynamo.exc.TorchDynamoException as error:
            torch.compiler.reset()
            self.call = torch.compile(eager, dynamic=False)
            self.bind(case.argument)()
            parts = f", not as one graph ({str(error).splitlines()[0]})"
        self.note = f"compiled in {time.perf_counter() - started:.0f} s{parts}"
