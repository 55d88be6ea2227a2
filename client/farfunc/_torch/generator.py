"""torch's default CPU generator, for functions that draw random numbers on the server.

Its state travels with the call and comes back: the server goes on drawing where this process
stands, so ``torch.manual_seed`` means here what it means for a local call.
"""

from __future__ import annotations

import torch

from farfunc_protocol.arrays import Array

from .conversion import to_array, to_tensor

__all__ = ["get_state", "set_state"]


def get_state() -> Array:
    """The state, ``uint8`` of shape (5056,)."""
    return to_array(torch.get_rng_state())


def set_state(state: Array) -> None:
    """Go on from a state."""
    torch.set_rng_state(to_tensor(state, "cpu"))
