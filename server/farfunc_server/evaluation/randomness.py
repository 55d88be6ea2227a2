"""Where random operators draw from, for the time of one evaluation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch

from farfunc_protocol.arrays import Array
from farfunc_protocol.errors import InvalidRequest

from .tensors import to_tensor

__all__ = ["continued", "seeded"]


@contextlib.contextmanager
def seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Draw from a generator that is seeded anew; None draws the seed."""
    with _forked(device):
        torch.manual_seed(seed) if seed is not None else torch.seed()
        yield


@contextlib.contextmanager
def continued(state: Array, device: torch.device) -> Iterator[Callable[[], torch.Tensor]]:
    """Go on drawing where a caller's generator stands; yields what tells its state afterwards.

    On the CPU the numbers are those that the caller would have drawn. A GPU has generators of
    another kind: there the caller's state gives the seed, and moves on by one number.

    Raises
    ------
    InvalidRequest
        If ``state`` is no state of torch's CPU generator.
    """
    with _forked(device):
        try:
            torch.set_rng_state(to_tensor(state, torch.device("cpu")))
        except (RuntimeError, TypeError) as error:
            raise InvalidRequest(
                f"the generator's state, {state.type}, is not one of torch's CPU generator: {error}",
                where="generator",
                remedy="send what torch.get_rng_state() returns, or a seed",
            ) from None
        if device.type == "cuda":
            torch.cuda.manual_seed(int(torch.randint(2**63 - 1, ())))
        yield torch.get_rng_state


def _forked(device: torch.device) -> contextlib.AbstractContextManager[None]:
    return torch.random.fork_rng([device] if device.type == "cuda" else [])
