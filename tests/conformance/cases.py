"""The samples of torch's operator database, as functions of their tensors.

``op_db`` is what PyTorch tests itself with: for each operator a generator of sample calls. Each sample becomes a
:class:`Case`: a function of all the tensors in the call, which returns the floating-point results. jacrev and jacfwd
take real functions only, so complex tensors go in and come out as pairs of real numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.testing._internal import common_methods_invocations
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

__all__ = ["Case", "cases_of", "dtype_of", "entries"]

SEED = 42

# Entries of random operators are functions that set a seed and put the generator's old state back. What they wrap is
# compared, for a function that handles torch's generator can be traced only so far; both sides start from one seed.
common_methods_invocations.wrapper_set_seed = lambda op, *args, **kwargs: op(*args, **kwargs)


_LARGE = 5_000
"""Elements of an argument; the Jacobian of a function of the same size has the square of it."""


@dataclass(frozen=True, slots=True)
class Case:
    """One sample call.

    Attributes
    ----------
    function:
        Of the tensors; returns a tuple of floating-point tensors.
    arguments:
        The tensors of the call, each with the elements of the sample.
    differentiated:
        Positions of the floating-point ones.
    forward:
        Whether torch says that the operator has a forward-mode derivative.
    """

    function: Callable[..., tuple[torch.Tensor, ...]]
    arguments: tuple[torch.Tensor, ...]
    differentiated: tuple[int, ...]
    forward: bool

    @property
    def is_large(self) -> bool:
        """Whether the Jacobian would not fit in memory: it is contracted with a fixed cotangent instead."""
        elements = max(self.arguments[position].numel() for position in self.differentiated)
        return elements > _LARGE

    def contracted(self) -> Case:
        """The sum of the results, each weighted by its own fixed numbers."""

        def function(*arguments: torch.Tensor) -> tuple[torch.Tensor, ...]:
            results = self.function(*arguments)
            return tuple((leaf * torch.linspace(-1, 1, leaf.numel()).reshape(leaf.shape)).sum() for leaf in results)

        return replace(self, function=function, forward=False)

    def by_first(self) -> Case:
        """The same, differentiated by its first tensor only."""
        return replace(self, differentiated=self.differentiated[:1])

    def with_constants(self) -> Case:
        """The same, with the other tensors (indices, masks) closed over."""

        def function(*differentiated: torch.Tensor) -> tuple[torch.Tensor, ...]:
            tensors = list(self.arguments)
            for position, tensor in zip(self.differentiated, differentiated, strict=True):
                tensors[position] = tensor
            return self.function(*tensors)

        kept = tuple(self.arguments[position] for position in self.differentiated)
        return Case(function, kept, tuple(range(len(kept))), self.forward)


@functools.cache
def entries() -> dict[str, Any]:
    """The entries that support autograd, by name and variant."""
    return {
        entry.name + (f".{entry.variant_test_name}" if entry.variant_test_name else ""): entry
        for entry in common_methods_invocations.op_db
        if entry.supports_autograd
    }


def dtype_of(entry: Any) -> torch.dtype:
    """float64; float32 where the entry has no float64, then what it does have."""
    supported = entry.supported_backward_dtypes(torch.device("cpu"))
    for dtype in (torch.float64, torch.float32, torch.complex128, torch.complex64, torch.bfloat16, torch.float16):
        if dtype in supported:
            return dtype
    return torch.float64


def cases_of(entry: Any, limit: int | None = None) -> Iterator[Case]:
    """The sample calls of an entry, the same ones each time.

    Samples without a floating-point tensor have nothing to differentiate, and are left out.
    """
    torch.manual_seed(SEED)
    samples = entry.sample_inputs("cpu", dtype_of(entry), requires_grad=False)
    count = 0
    for sample in samples:
        case = _case(entry, sample)
        if case is None:
            continue
        yield case.contracted() if case.is_large else case
        count += 1
        if count == limit:
            return


def _case(entry: Any, sample: Any) -> Case | None:
    leaves, tree = tree_flatten((sample.input, sample.args, sample.kwargs))
    places = [index for index, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
    tensors = tuple(
        torch.view_as_real(leaves[i].resolve_conj()) if leaves[i].is_complex() else leaves[i] for i in places
    )
    tensors = tuple(tensor.detach() for tensor in tensors)
    differentiated = tuple(i for i, t in enumerate(tensors) if t.is_floating_point())
    if not differentiated or any(t.layout is not torch.strided for t in tensors):
        return None

    def function(*given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        filled = list(leaves)
        for place, tensor in zip(places, given, strict=True):
            filled[place] = torch.view_as_complex(tensor) if leaves[place].is_complex() else tensor
        input, args, kwargs = tree_unflatten(filled, tree)
        result = sample.output_process_fn_grad(entry.op(input, *args, **kwargs))
        return tuple(
            torch.view_as_real(leaf.resolve_conj()) if leaf.is_complex() else leaf
            for leaf in tree_leaves(result)
            if isinstance(leaf, torch.Tensor) and (leaf.is_floating_point() or leaf.is_complex())
        )

    return Case(function, tensors, differentiated, entry.supports_forward_ad)
