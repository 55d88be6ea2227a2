"""The GPU that ``tests/gpu`` runs on: ``cuda:0``, or what ``FARFUNC_TEST_GPU`` names.

``FARFUNC_TEST_GPU=cpu`` tries the tests themselves where there is no GPU: what is about CUDA alone is skipped then.
"""

from __future__ import annotations

import os

import pytest
import torch

__all__ = ["DEVICE", "cuda_only", "needs_gpu"]

DEVICE = os.environ.get("FARFUNC_TEST_GPU", "cuda:0")

needs_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        DEVICE != "cpu" and not torch.cuda.is_available(),
        reason=f"torch {torch.__version__} finds no GPU here: these tests need an NVIDIA GPU and a CUDA build of torch",
    ),
]

cuda_only = pytest.mark.skipif(not DEVICE.startswith("cuda"), reason="this is about CUDA, and FARFUNC_TEST_GPU=cpu")
