"""What stands above the core, handed down to it: the front ends, and the client of calls that name none.

The core (tracing, calls, transforms) knows front ends and clients as protocols alone,
:class:`~farfunc._tracing.FrontEnd` and :class:`~farfunc._evaluator.Evaluator`; they import it. This is the one
place that knows both sides.
"""

from __future__ import annotations

from ._evaluator import Evaluator, set_default_evaluator
from ._front_ends import add_front_end
from ._tracing import FrontEnd

__all__: list[str] = []


def _numpy() -> FrontEnd:
    from . import numpy  # noqa: F401 - the namespace of its arrays, which stands above it
    from ._numpy import NumpyFrontEnd  # at the first call: its registries take a while

    return NumpyFrontEnd()


def _torch() -> FrontEnd:
    from ._torch import TorchFrontEnd  # imports torch

    return TorchFrontEnd()


def _current_client() -> Evaluator:
    from ._default_client import current_client  # at the first call: with HTTP, half of what importing us takes

    return current_client()


add_front_end("numpy", _numpy)
add_front_end("torch", _torch)
set_default_evaluator(_current_client)
