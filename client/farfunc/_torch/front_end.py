"""What the rest of the client sees of torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from farfunc_protocol.arrays import Array
from farfunc_protocol.graph import TensorType
from farfunc_protocol.transforms import Transform

from .._call import Call
from .._front_ends import LocalTransforms
from .._writes import Returned
from . import autograd, conversion, fingerprints, local, writing
from .generator import DEFAULT, Draws
from .trace import TorchTrace

__all__ = ["TorchFrontEnd"]


class TorchFrontEnd:
    """Functions that compute with torch. Their arguments may be tensors of any device, or NumPy arrays."""

    name = "torch"

    def is_array(self, leaf: Any) -> bool:
        """Whether a leaf is an array, concrete or traced; any other is a static value."""
        return isinstance(leaf, torch.Tensor | np.ndarray)

    def type_of(self, leaf: Any) -> TensorType:
        """The type of an array."""
        if not isinstance(leaf, torch.Tensor):
            return Array.from_numpy(leaf).type
        conversion.refuse_sparse(leaf)
        return conversion.tensor_type(leaf)

    def to_array(self, leaf: Any) -> Array:
        """A concrete array, for the wire; it may share memory with the leaf."""
        return conversion.to_array(leaf) if isinstance(leaf, torch.Tensor) else Array.from_numpy(leaf)

    def from_array(self, array: Array, like: Any) -> torch.Tensor | np.ndarray:
        """A result, in kind and device of ``like``, one of the call's arguments."""
        if isinstance(like, np.ndarray):
            return conversion.to_ndarray(array)
        return conversion.to_tensor(array, like.device if isinstance(like, torch.Tensor) else "cpu")

    def results(self, call: Call, arrays: Sequence[Array], like: Any) -> list[Any]:
        """The result leaves of a call, with a ``grad_fn`` where they need one."""
        return autograd.results(call, [self.from_array(array, like) for array in arrays])

    def check_overwrite(self, leaves: Sequence[Any], written: Sequence[int]) -> None:
        """Refuse to write to arguments as torch would."""
        for position in written:
            writing.check(leaves, position)

    def overwrite(self, leaf: Any, array: Any) -> None:
        """Write a result to the call's own tensor, as part of the local autograd graph."""
        writing.overwrite(leaf, array)

    def view_of(self, leaf: Any, returned: Returned) -> Any:
        """The call's own tensor, or a view of it."""
        return writing.view_of(leaf, returned) if isinstance(leaf, torch.Tensor) else None

    def settings(self) -> tuple[Any, ...]:
        """Settings of torch under which a function is traced."""
        return fingerprints.ambient()

    def draw(self, draws: Draws | None) -> dict[str, Any]:
        """The state of the generator that the function's random numbers come from."""
        return {"generator": (draws or DEFAULT).get_state()}

    def drawn(self, draws: Draws | None, state: Array) -> None:
        """Let that generator go on from a state."""
        (draws or DEFAULT).set_state(state)

    def guard(self, chain: Sequence[Transform]) -> contextlib.AbstractContextManager[Any]:
        """Refuse saved-tensor hooks where torch.func does."""
        return local.without_saved_tensors_hooks(chain)

    def local_transforms(self) -> LocalTransforms | None:
        """torch.func's own transforms, where torch transforms or traces the running code."""
        return local if local.is_inside_torch() else None

    @contextlib.contextmanager
    def start(self) -> Iterator[TorchTrace]:
        """Make a new trace current for this thread."""
        with TorchTrace(self).running() as trace:
            yield trace
