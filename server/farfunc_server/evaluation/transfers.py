"""Arrays on their way to a device and back.

The CPU's tensors are the arrays' own memory: nothing is copied and nothing waited for.

A GPU fetches from pinned memory and writes to it by itself, while the host and the GPU's processors do something else
(CUDA Programming Guide, "Asynchronous concurrent execution"); with any other memory it would keep both waiting. So
arrays are copied to pinned memory first, and results are sent from it. The rules that make that right:

1. What is sent up travels on the stream that computes: it is there before a kernel reads it.
2. What is fetched travels on a stream of its own, which waits for what was launched before, and not for what is
   launched later: that is computed meanwhile. The tensors are held until their copies have been waited for, since
   torch hands the memory of one that is gone to the next kernel of the computing stream.
3. A pinned buffer is filled again once an event says that the copy out of it is done: by torch, for what comes from
   its own cache of pinned memory (CachingHostAllocator), and here for the two buffers of :class:`_Relay`.
4. Pinned memory is bounded: arrays up to 8 MiB, and 64 MiB together, lie in it whole; what is more passes through the
   two buffers, part by part, so that one is on its way while the host copies the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch

from farfunc_protocol.arrays import Array

from .tensors import host_tensor, plain

__all__ = ["CudaTransfers", "HostTransfers", "Transfers", "transfers_of", "wait_for"]

Tensors = Sequence[torch.Tensor]

_PART_BYTES = 8 << 20
_MOST_WHOLE_BYTES = 64 << 20


class Transfers(Protocol):
    """Between the host's memory and a device's.

    Attributes
    ----------
    device:
        Where tensors are sent to.
    is_beside:
        Whether results are fetched while the device computes.
    """

    device: torch.device
    is_beside: bool

    def tensor(self, array: Array) -> torch.Tensor:
        """An array's tensor on the device."""
        ...

    def send(self, source: torch.Tensor) -> torch.Tensor:
        """A contiguous tensor of the CPU, on the device."""
        ...

    def begin(self, tensors: Tensors) -> Callable[[], Tensors]:
        """Begin to fetch results; what is returned waits for them, and is to be called once."""
        ...

    def fetch(self, tensors: Tensors) -> Tensors:
        """Results on the CPU."""
        ...


class HostTransfers:
    """Between the host's memory and itself."""

    is_beside = False

    def __init__(self) -> None:
        self.device = torch.device("cpu")

    def tensor(self, array: Array) -> torch.Tensor:
        """The array's memory as a tensor."""
        return host_tensor(array)

    def send(self, source: torch.Tensor) -> torch.Tensor:
        """It is there."""
        return source

    def begin(self, tensors: Tensors) -> Callable[[], Tensors]:
        """Nothing is to be done."""
        return lambda: tensors

    def fetch(self, tensors: Tensors) -> Tensors:
        """They are there."""
        return tensors


class CudaTransfers:
    """Between the host's memory and a GPU's; makes that GPU the process's own."""

    is_beside = True

    def __init__(self, device: torch.device) -> None:
        torch.cuda.set_device(device)  # streams, events and machine code are those of the current device
        self.device = device
        self._fetching = torch.cuda.Stream(device)
        self._relay = _Relay()
        self._sent_whole = 0

    def tensor(self, array: Array) -> torch.Tensor:
        """An array's tensor; the array's memory may be written to when this returns."""
        return self.send(host_tensor(array))

    def send(self, source: torch.Tensor) -> torch.Tensor:
        """A contiguous tensor of the CPU, on the GPU; its memory may be written to when this returns."""
        if not source.numel():
            return source.to(self.device)
        target = torch.empty(source.shape, dtype=source.dtype, device=self.device)
        if source.nbytes <= _PART_BYTES and self._sent_whole + source.nbytes <= _MOST_WHOLE_BYTES:
            self._sent_whole += source.nbytes
            pinned = _pinned(source.shape, source.dtype)
            pinned.copy_(source)
            _copy(target, pinned)
        else:
            self._relay.send(_bytes_of(source), _bytes_of(target))
        return target

    def begin(self, tensors: Tensors) -> Callable[[], Tensors]:
        """Begin to fetch results; what is computed from now on is computed meanwhile."""
        sources = [plain(tensor) for tensor in tensors]
        targets: list[torch.Tensor | None] = []
        whole = 0
        self._fetching.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._fetching):
            for source in sources:
                target = None
                if source.device.type != self.device.type:  # the state of a generator
                    target = source
                elif source.nbytes <= _PART_BYTES and whole + source.nbytes <= _MOST_WHOLE_BYTES:
                    whole += source.nbytes
                    target = _pinned(source.shape, source.dtype)
                    _copy(target, source)
                targets.append(target)

        def finish() -> Tensors:
            found = [
                self._through_relay(source) if target is None else target
                for source, target in zip(sources, targets, strict=True)
            ]
            self._fetching.synchronize()
            sources.clear()
            self._sent_whole = 0  # the results were computed from what was sent
            return found

        return finish

    def fetch(self, tensors: Tensors) -> Tensors:
        """Results on the CPU."""
        return self.begin(tensors)()

    def _through_relay(self, source: torch.Tensor) -> torch.Tensor:
        target = torch.empty(source.shape, dtype=source.dtype)
        with torch.cuda.stream(self._fetching):
            self._relay.fetch(_bytes_of(source), _bytes_of(target))
        return target


class _Relay:
    """Two pinned buffers, one of which is on its way while the host copies to or from the other.

    They are made when they are first needed: pinning takes milliseconds.
    """

    def __init__(self) -> None:
        self._buffers: list[torch.Tensor] = []
        self._events: list[torch.cuda.Event] = []
        self._turn = 0

    def send(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """Copy bytes of the host to the device, on the current stream; ``source`` is free when this returns."""
        for start, stop in _parts(source):
            buffer, event = self._take()
            part = buffer[: stop - start]
            part.copy_(source[start:stop])
            _copy(target[start:stop], part)
            event.record()

    def fetch(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """Copy bytes of the device to the host, on the current stream; they are there when this returns."""
        arriving: tuple[torch.Tensor, torch.Tensor, torch.cuda.Event] | None = None
        for start, stop in _parts(source):
            buffer, event = self._take()
            part = buffer[: stop - start]
            _copy(part, source[start:stop])
            event.record()
            if arriving is not None:
                _receive(*arriving)
            arriving = target[start:stop], part, event
        if arriving is not None:
            _receive(*arriving)

    def _take(self) -> tuple[torch.Tensor, torch.cuda.Event]:
        """The buffer whose turn it is, when the copy that it was last used for is done."""
        if not self._buffers:
            self._buffers = [_pinned((_PART_BYTES,), torch.uint8) for _ in range(2)]
            self._events = [torch.cuda.Event() for _ in range(2)]
        self._turn ^= 1
        event = self._events[self._turn]
        event.synchronize()  # returns at once for one that was never recorded
        return self._buffers[self._turn], event


def _receive(target: torch.Tensor, part: torch.Tensor, event: torch.cuda.Event) -> None:
    event.synchronize()
    target.copy_(part)


def _parts(tensor: torch.Tensor) -> Iterator[tuple[int, int]]:
    length = tensor.numel()
    return ((start, min(start + _PART_BYTES, length)) for start in range(0, length, _PART_BYTES))


def _bytes_of(tensor: torch.Tensor) -> torch.Tensor:
    """The memory of a contiguous tensor."""
    return tensor.reshape(-1).view(torch.uint8)


def _pinned(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, pin_memory=True)


def _copy(target: torch.Tensor, source: torch.Tensor) -> None:
    """Launch a copy on the current stream."""
    target.copy_(source, non_blocking=True)


def transfers_of(device: torch.device) -> Transfers:
    """The way to a device."""
    return CudaTransfers(device) if device.type == "cuda" else HostTransfers()


def wait_for(device: torch.device) -> Callable[[], None] | None:
    """What waits until all that was launched to compute has been; None where launching is computing."""
    return (lambda: torch.cuda.current_stream(device).synchronize()) if device.type == "cuda" else None
