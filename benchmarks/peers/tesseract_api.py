"""A case as a Tesseract; the runtime reads this file (TESSERACT_API_PATH).

The variable FARFUNC_BENCHMARK_CASE names the case, FARFUNC_BENCHMARK_THREADS how many threads torch has.
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.func
from pydantic import BaseModel
from tesseract_core.runtime import Array, Differentiable, Float32, Float64

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cases import case_named, transformed

torch.set_num_threads(int(os.environ["FARFUNC_BENCHMARK_THREADS"]))
CASE = case_named(os.environ["FARFUNC_BENCHMARK_CASE"])
FUNCTION = CASE.function(torch)
DERIVATIVE = transformed(torch.func, CASE, FUNCTION)
SERVES_JACOBIAN = len(CASE.chain) == 1 and CASE.chain[0].startswith("jac")
DTYPE = Float64 if CASE.argument.dtype == np.float64 else Float32


class InputSchema(BaseModel):
    """What the function is called with."""

    x: Differentiable[Array[..., DTYPE]]


class OutputSchema(BaseModel):
    """What it returns."""

    y: Differentiable[Array[..., DTYPE]]


def _derivative(x: np.ndarray) -> torch.Tensor:
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return DERIVATIVE(torch.tensor(x))


def apply(inputs: InputSchema) -> OutputSchema:
    """The function; its derivative, where that has another shape than the jacobian endpoint allows."""
    if SERVES_JACOBIAN:
        return OutputSchema(y=FUNCTION(torch.tensor(inputs.x)).numpy())
    return OutputSchema(y=_derivative(inputs.x).numpy())


def jacobian(inputs: InputSchema, jac_inputs: set[str], jac_outputs: set[str]) -> dict[str, Any]:
    """The derivative, by the transform of the case."""
    return {"y": {"x": _derivative(inputs.x)}}


def abstract_eval(abstract_inputs: Any) -> dict[str, Any]:
    """The type of the result, which is that of the argument's dtype."""
    return {"y": {"shape": list(CASE.argument.shape), "dtype": CASE.argument.dtype.name}}
