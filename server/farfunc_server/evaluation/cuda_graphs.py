"""Small hot plans as CUDA graphs: all kernels of a program, launched by one call.

A small program's kernels take microseconds each, and launching one by one takes the host longer than that. A CUDA graph
is what a program launched, recorded while it ran once on buffers that stay where they are; a call copies its
arguments there, replays, and copies the results out (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).
It is a stage of a plan (:mod:`.plans`) like any other: it serves once it was seen to agree and to be no slower.

A recording is right only if the program launches the same, whatever values it is given, and never waits for the
device. So these are never recorded, and the plan says why:

- programs that draw random numbers, those of slices (which keep values from one call for the next), large ones;
- programs with an operator that is not known to be fit: :func:`why_not` names it. LAPACK's, for one, look at a status.

Whether anything waits is tried first, with torch's own check turned on. If recording fails after that, torch is left in
the middle of it (``CUDAGraph::reset`` says so): its generator and its allocator are no more to be trusted. Then the
process is to be replaced, and a note in the plans' folder keeps the next one from trying the same.
"""

from __future__ import annotations

import contextlib
import gc
import operator
import warnings
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import fx

from farfunc_protocol.graph import TensorType

from .compilation import PackageFolder
from .inference import Inference
from .plans import Run
from .tensors import TORCH_DTYPES

__all__ = ["FIT", "CudaGraph", "CudaGraphs", "NotRecorded", "why_not"]

Tensors = Sequence[torch.Tensor]

MOST_GRAPHS = 64
MOST_CALLS = 2_000
MOST_PEAK_BYTES = 64 << 20
"""What one evaluation may take: a graph keeps all of it for itself."""

_WARM_UPS = 3

_UNFIT_TAGS = ("nondeterministic_seeded", "data_dependent_output", "dynamic_output_shape", "cudagraph_unsafe")
_FIT_TAGS = ("pointwise", "reduction", "view_copy")
FIT = frozenset(
    (
        # products, and layers made of them
        *("mm", "bmm", "addmm", "baddbmm", "mv", "addmv", "dot", "vdot", "addr", "convolution", "convolution_backward"),
        *("_softmax", "_log_softmax", "_softmax_backward_data", "_log_softmax_backward_data"),
        *("native_layer_norm", "native_layer_norm_backward"),
        # sums along an axis, norms
        *("sum", "mean", "prod", "amax", "amin", "any", "all", "cumsum", "cumprod", "logsumexp", "logcumsumexp"),
        *("linalg_vector_norm", "var", "std", "var_mean", "std_mean"),
        # parts and places, chosen by attributes or by an index that is a tensor of the device
        *("cat", "stack", "select_scatter", "slice_scatter", "diagonal_scatter", "select_backward", "slice_backward"),
        *("diagonal_backward", "flip", "roll", "repeat", "constant_pad_nd", "gather", "scatter", "scatter_add"),
        *("index_select", "index_add", "tril", "triu", "clone", "copy", "_to_copy", "_unsafe_view", "fill"),
        *("masked_fill",),
        # made anew
        *("full", "zeros", "ones", "empty", "arange", "eye", "linspace", "scalar_tensor", "full_like", "zeros_like"),
        *("ones_like", "empty_like", "new_full", "new_zeros", "new_ones", "new_empty"),
    )
)
"""Operators whose kernels are launched from shapes and attributes alone (ATen/native/cuda), beside those whose tags
say so."""


class NotRecorded(Exception):
    """Why a plan has no CUDA graph."""


def why_not(module: fx.GraphModule, device: torch.device) -> str | None:
    """Why a flat program cannot be recorded; None if it can."""
    calls = [node for node in module.graph.nodes if node.op == "call_function" and node.target is not operator.getitem]
    if len(calls) > MOST_CALLS:
        return f"it makes more than {MOST_CALLS} calls of operators"
    for node in calls:
        target: Any = node.target
        if not isinstance(target, torch._ops.OpOverload) or not _is_fit(target):
            return f"{target} is not known to be fit for a CUDA graph"
    for node in module.graph.nodes:
        values = node.meta.get("val")
        for value in values if isinstance(values, tuple | list) else (values,):
            if isinstance(value, torch.Tensor) and value.device.type != device.type:
                return f"{node.name} lies on {value.device}, and a graph is of one device"
    return None


def _is_fit(op: torch._ops.OpOverload) -> bool:
    tags = {tag.name for tag in op.tags}
    if not tags.isdisjoint(_UNFIT_TAGS) or op.namespace != "aten":
        return False
    return not tags.isdisjoint(_FIT_TAGS) or op.is_view or op._schema.name.removeprefix("aten::") in FIT


class CudaGraph:
    """A recorded program: takes what the program takes, and returns what it returns.

    Parameters
    ----------
    run:
        The program, which holds memory that the recording reads.
    leaves, captures:
        The buffers that it reads its arguments from.
    fixed:
        Which captures are constants: the recording reads them where they are.
    outputs:
        Where it leaves its results, until it is replayed again.
    graph:
        The recording.
    bytes:
        The device's memory that it keeps.
    """

    def __init__(
        self, run: Run, leaves: Tensors, captures: Tensors, fixed: frozenset[int], outputs: Tensors, graph: Any,
        bytes: int,
    ) -> None:  # fmt: skip
        self.bytes = bytes
        self._run = run
        self._fixed = [(i, captures[i]) for i in sorted(fixed)]
        self._open = [i for i in range(len(captures)) if i not in fixed]
        self._buffers = [*leaves, *(captures[i] for i in self._open)]
        self._outputs = tuple(outputs)
        self._graph = graph

    def __call__(self, leaves: Tensors, captures: Tensors) -> tuple[torch.Tensor, ...]:
        """Copy the arguments in, replay, and copy the results out, all in the order of the current stream."""
        if any(captures[i] is not tensor for i, tensor in self._fixed):
            raise RuntimeError("the constants are not those that were recorded")
        with torch.inference_mode():
            for buffer, tensor in zip(self._buffers, [*leaves, *(captures[i] for i in self._open)], strict=True):
                buffer.copy_(tensor)
            self._graph.replay()
            return tuple(output.clone() for output in self._outputs)


class CudaGraphs:
    """The graphs of one GPU, bounded in number and in memory.

    Parameters
    ----------
    device:
        The GPU.
    notes:
        Where it is noted what could not be recorded.
    most_bytes:
        The memory of all graphs; a sixteenth of the GPU's if not given.

    Attributes
    ----------
    is_broken:
        Whether recording has failed half-way, so that the process is to be replaced.
    """

    def __init__(self, device: torch.device, notes: PackageFolder, most_bytes: int | None = None) -> None:
        self.is_broken = False
        self._device = device
        self._notes = notes
        self._most_bytes = most_bytes or torch.cuda.get_device_properties(device).total_memory // 16
        self._stream = torch.cuda.Stream(device)
        self._live: weakref.WeakSet[CudaGraph] = weakref.WeakSet()

    @property
    def bytes(self) -> int:
        """The memory that graphs keep."""
        return sum(graph.bytes for graph in self._live)

    def record(
        self, digest: str, run: Run, module: fx.GraphModule, types: Sequence[TensorType], captures: Sequence[Any],
        inference: Inference,
    ) -> CudaGraph:  # fmt: skip
        """Record a program.

        Parameters
        ----------
        digest:
            Of the plan.
        run, module:
            What is recorded, and the flat program of the same plan, which tells its operators.
        types, captures:
            Of the argument leaves; each capture's constant, or the type of one that comes with each call.
        inference:
            What an evaluation takes.

        Raises
        ------
        NotRecorded
            With the reason.
        """
        if (reason := self._notes.failure(f"{digest}.graph") or why_not(module, self._device)) is not None:
            raise NotRecorded(reason)
        if inference.peak_bytes > MOST_PEAK_BYTES:
            raise NotRecorded(f"an evaluation takes more than {MOST_PEAK_BYTES >> 20} MiB")
        if len(self._live) >= MOST_GRAPHS or self.bytes + 2 * inference.peak_bytes > self._most_bytes:
            raise NotRecorded(f"{len(self._live)} other plans have one, which take {self.bytes >> 20} MiB")
        fixed = frozenset(i for i, capture in enumerate(captures) if isinstance(capture, torch.Tensor))
        leaves = [self._buffer(type) for type in types]
        given = [capture if i in fixed else self._buffer(capture) for i, capture in enumerate(captures)]
        try:
            self._try(run, leaves, given)
        except Exception as error:
            raise NotRecorded(f"{type(error).__name__}: {error}") from error
        graph, outputs, kept = self._record(digest, run, leaves, given)
        total = kept + sum(tensor.nbytes for i, tensor in enumerate([*leaves, *given]) if i - len(leaves) not in fixed)
        found = CudaGraph(run, leaves, given, fixed, outputs, graph, total)
        self._live.add(found)
        return found

    def _buffer(self, type: TensorType) -> torch.Tensor:
        shape = [int(length) for length in type.shape]
        return torch.zeros(shape, dtype=TORCH_DTYPES[type.dtype], device=self._device)

    def _try(self, run: Run, leaves: Tensors, captures: Tensors) -> None:
        """Run the program on the recording stream, so that libraries have their handles and workspaces for it.

        Raises
        ------
        RuntimeError
            Something in it waits for the device.
        """
        computing = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(computing)
        before = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch calls the check a prototype
            torch.cuda.set_sync_debug_mode("error")
        try:
            with torch.cuda.stream(self._stream):
                for _ in range(_WARM_UPS):
                    run(leaves, captures)
        finally:
            torch.cuda.set_sync_debug_mode(before)
            computing.wait_stream(self._stream)
        self._stream.synchronize()

    def _record(
        self, digest: str, run: Run, leaves: Tensors, captures: Tensors
    ) -> tuple[torch.cuda.CUDAGraph, Tensors, int]:
        """The recording, its results, and the bytes of the memory pool that it has for itself."""
        self._notes.note_failure(f"{digest}.graph", "recording it as a CUDA graph ended the process")
        graph = torch.cuda.CUDAGraph()
        try:
            with (
                _without_collections(),
                torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
            ):
                before = torch.cuda.memory_reserved(self._device)
                outputs = run(leaves, captures)
            kept = torch.cuda.memory_reserved(self._device) - before
        except Exception as error:
            self.is_broken = True
            reason = f"{type(error).__name__}: {error}"
            self._notes.note_failure(f"{digest}.graph", reason)
            raise NotRecorded(reason) from error
        self._notes.forget_failure(f"{digest}.graph")
        return graph, outputs, max(0, kept)


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """Collecting another graph in the middle of a recording would invalidate it."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
