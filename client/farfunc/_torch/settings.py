"""Settings of torch that would have a function run other than it is written, switched off while traces run."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch

__all__ = ["as_written"]

_lock = threading.Lock()
_traces = 0
_before = contextlib.ExitStack()
"""Restores the settings of the process, which the first trace changed, when the last one ends."""


@contextlib.contextmanager
def as_written() -> Iterator[None]:
    """Run functions operator by operator, in the order of their source.

    Switched off are the fused transformer layer, which has no derivative; ``torch.compile``, which would
    compile the tracer; what TorchScript makes of a graph once it has run, which loses derivatives; and the cache
    of autocast, which would keep tensors of the trace for the user's next computation. The first three are settings
    of the process, and traces may run in several threads.
    """
    global _traces
    with _lock:
        if _traces == 0:
            _before.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
            torch.backends.mha.set_fastpath_enabled(False)
            _before.enter_context(torch.compiler.set_stance("force_eager"))
            _before.enter_context(torch.jit.optimized_execution(False))  # pyright: ignore[reportPrivateImportUsage]
        _traces += 1
    cache = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(cache)
        with _lock:
            _traces -= 1
            if _traces == 0:
                _before.close()
