"""Small calls that differ from an earlier one in nothing but their arrays' elements.

All that a request says stands before its tensors' bytes, in the header of its file. Where two requests of one
function have the same header and the same length, the second has the first one's plan, its arguments lie at the same
places, and its answer has the same header: nothing of that need be read, checked or looked up again. For a small
function this takes longer than to evaluate it.

What is known of calls holds as long as all plans are kept: as soon as one is forgotten, all of it is dropped, so that
nothing that was to be freed stays.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from farfunc_protocol.arrays import Array
from farfunc_protocol.graph import Function
from farfunc_protocol.limits import DEFAULT_LIMITS
from farfunc_protocol.messages import EvaluateRequest, EvaluateResponse, encode_response, response_header
from farfunc_protocol.safetensors_layout import read_header

from .plan_cache import PlanCache
from .plans import Plan, Stage
from .program import Program
from .tensors import TORCH_DTYPES, from_tensor, type_of

__all__ = ["QUICK_SECONDS", "CallsAlike", "Head", "KnownCall", "head_of"]

_MOST_KEPT = 256
_LARGEST_HEAD = 1 << 14
_LARGEST_BYTES = 1 << 16
"""Of a request, and of an answer: where there are more, this is not what takes the time."""

_LONGEST_SECONDS = 1e-3
"""The same for the evaluation."""

QUICK_SECONDS = 3e-5
"""What takes less is over before its rows could be gathered from the requests and dealt out again."""

_LONG_WAY_EACH = 64
"""So often a call is looked up as any other: those who count what is in use hear of it."""

Head = tuple[bytes, int]


def head_of(request: memoryview) -> Head | None:
    """What requests alike have in common: the header, and how many bytes they have; None for what is not small."""
    end = 8 + int.from_bytes(request[:8], "little")
    size = len(request)
    return None if end > _LARGEST_HEAD or size > _LARGEST_BYTES or end > size else (bytes(request[:end]), size)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an argument lies in the request."""

    start: int
    count: int
    itemsize: int
    dtype: torch.dtype
    shape: tuple[int, ...]


@dataclass(slots=True, eq=False)
class KnownCall:
    """What calls alike have in common.

    Attributes
    ----------
    program, plan:
        How they are evaluated.
    captures:
        The function's constants.
    places:
        Where their arguments lie.
    header, order:
        The beginning of their answer, and the results in the order in which they follow it.
    results:
        Dtype and shape of each result.
    uses:
        How many there were.
    """

    program: Program
    plan: Plan
    captures: tuple[torch.Tensor, ...]
    places: tuple[_Place, ...]
    header: bytes
    order: tuple[int, ...]
    results: tuple[tuple[torch.dtype, torch.Size], ...]
    uses: int = 0

    def run(self, request: memoryview, longest: float = _LONGEST_SECONDS) -> bytes | None:
        """The answer to a request; None where it is to be read and evaluated as any other: once in a while, and where
        it takes longer than ``longest``.

        Errors are those of the plan's programs: the long way meets them again, and gives them their words.
        """
        self.uses += 1
        seconds = self.plan.seconds
        if self.uses % _LONG_WAY_EACH == 0 or seconds is None or seconds > longest:
            return None
        leaves = []
        for place in self.places:
            leaf = torch.frombuffer(request, dtype=place.dtype, count=place.count, offset=place.start)
            if leaf.data_ptr() % place.itemsize:
                return None
            leaves.append(leaf if len(place.shape) == 1 else leaf.view(place.shape))
        results = self.plan.run(leaves, self.captures)
        if tuple([(result.dtype, result.shape) for result in results]) != self.results:
            return b"".join(encode_response(EvaluateResponse(tuple(map(from_tensor, results)))))
        return b"".join([self.header, *[_elements(results[number]) for number in self.order]])


def _elements(tensor: torch.Tensor) -> bytes | memoryview:
    """The elements, row-major."""
    if tensor.requires_grad or tensor.is_conj() or tensor.is_neg() or tensor._is_zerotensor():
        return from_tensor(tensor).buffer  # its memory does not hold them as they are
    return (tensor.view(torch.uint16) if tensor.dtype is torch.bfloat16 else tensor).numpy().tobytes()


class CallsAlike:
    """The calls that are known.

    Parameters
    ----------
    plans:
        Where their plans are kept; on the CPU.
    """

    def __init__(self, plans: PlanCache) -> None:
        self._plans = plans
        self._known: dict[tuple[str, Head], KnownCall] = {}
        plans.on_forget = self.clear

    def __len__(self) -> int:
        return len(self._known)

    def answer(
        self, identity: str, head: Head, request: memoryview, longest: float = _LONGEST_SECONDS
    ) -> tuple[bytes, Stage] | None:
        """The answer to a request, if it is known what it asks, and that this takes no longer than so many seconds."""
        known = self._known.get((identity, head))
        if known is None:
            return None
        try:
            body = known.run(request, longest)
        except Exception:  # noqa: BLE001 - the long way raises it again, if it is to be raised
            del self._known[identity, head]
            return None
        if body is None:
            return None
        self._plans.note_use(known.program, known.plan)
        return body, known.plan.stage

    def learn(
        self, identity: str, head: Head, function: Function, request: EvaluateRequest, results: Sequence[Array]
    ) -> None:
        """Know a call again that was evaluated on the long way, if its plan will not change any more."""
        if (identity, head) in self._known:
            return
        known = self._of(identity, head, function, request, results)
        if known is not None:
            if len(self._known) >= _MOST_KEPT:
                self._known.clear()
            self._known[identity, head] = known

    def clear(self) -> None:
        """Know nothing any more."""
        self._known.clear()

    def _of(
        self, identity: str, head: Head, function: Function, request: EvaluateRequest, results: Sequence[Array]
    ) -> KnownCall | None:
        if request.seed is not None or request.generator is not None or request.captures:
            return None
        program = self._plans.program(function, request.transforms, identity)
        captures = tuple(constant for constant in program.constants if constant is not None)
        if program.is_random or len(captures) < len(program.constants):
            return None
        kinds = tuple(map(type_of, captures))
        types = tuple(array.type for array in request.arrays)
        plan = self._plans.known(program, types, kinds)
        if plan is None or not plan.is_final or program.slicings.get((types, kinds)) is not None:
            return None
        places = _places(head, request)
        if places is None or sum(array.nbytes for array in results) > _LARGEST_BYTES:
            return None
        header, order = response_header([array.type for array in results])
        shapes = tuple((TORCH_DTYPES[array.dtype], torch.Size(array.shape)) for array in results)
        return KnownCall(program, plan, captures, places, header, order, shapes)


def _places(head: Head, request: EvaluateRequest) -> tuple[_Place, ...] | None:
    """Where the arguments lie; None where their bytes are not what torch computes with, or are to be looked at."""
    if sys.byteorder != "little":
        return None
    text, size = head
    end = len(text)
    entries, _ = read_header(text[8:], size - end, DEFAULT_LIMITS)
    lies_at = {entry.name: end + entry.start for entry in entries}
    places = []
    for number, array in enumerate(request.arrays):
        itemsize = array.data.itemsize
        start = lies_at[str(number)]
        # Of a bool the bytes are checked. NumPy gives empty arrays no memory.
        if array.dtype == "bool" or not array.nbytes or start % itemsize:
            return None
        places.append(_Place(start, math.prod(array.shape), itemsize, TORCH_DTYPES[array.dtype], array.shape))
    return tuple(places)
