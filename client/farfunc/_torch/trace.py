"""One running trace: the modes under which the user's function runs, and the values of its tensors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.autograd import forward_ad

from farfunc_protocol.arrays import Array
from farfunc_protocol.builder import GraphBuilder, Value
from farfunc_protocol.errors import TraceError

from .._writes import Alias as ArgumentAlias
from .._writes import Write
from .aliases import Alias, Memory, alias_of, attach, read
from .capture import Captured, Constants
from .conversion import lengths, torch_dtype
from .dispatch import TraceMode, call, decompose
from .escapes import Escapes
from .functions import FunctionMode
from .generator import Drawing, Draws
from .inplace import has_derivative, with_derivative_of, write_tensor
from .location import user_line
from .refusals import is_without_words, refuse_tape, refuse_write, translated
from .settings import as_written

if TYPE_CHECKING:
    from .front_end import TorchFrontEnd

__all__ = ["TorchTrace"]

T = TypeVar("T")


class Fakes(FakeTensorMode):
    """Fake tensors, without a stand-in for the GPUs that a CUDA build of torch looks for in vain.

    torch makes one for each thread that asks, and keeps using that of a thread that has ended:
    a trace in the second thread would crash (torch 2.11).
    """

    @property
    def avoid_device_init(self) -> bool:
        return False


class TorchTrace:
    """The user's function, as it runs on tensors without elements.

    Attributes
    ----------
    front_end:
        The front end that started it.
    builder:
        The innermost builder.
    outermost:
        The builder of the function as a whole.
    device:
        Where new tensors seem to be: the device of the call's tensors.
    drawing:
        Where its random numbers come from.
    """

    def __init__(self, front_end: TorchFrontEnd) -> None:
        self.front_end = front_end
        self.builder = self.outermost = GraphBuilder()
        self.device = torch.device("cpu")
        self.drawing = Drawing()
        self.constants = Constants(self)
        self.escapes = Escapes()
        self.fakes = Fakes(static_shapes=True)
        self.mode = TraceMode(self)
        self._arguments: dict[int, tuple[Value, Alias]] = {}
        """By the id of the value: each argument of the function, and of the bodies in it."""

    @property
    def captured(self) -> tuple[Captured, ...]:
        """Every tensor that the function closes over and has used."""
        return self.constants.captured

    @property
    def draws(self) -> Draws | None:
        """Where the function's random numbers come from; None if it draws none."""
        return self.drawing.found

    @property
    def grad_enabled(self) -> bool:
        """Whether an equation added now has a derivative: False inside ``torch.no_grad()``."""
        return torch.is_grad_enabled() and not torch.is_inference_mode_enabled()

    def settled(self, values: tuple[Value, ...]) -> tuple[Value, ...]:
        """The results of an equation, as the settings around it leave them.

        Where forward mode is disabled (``torch.autograd.forward_ad._set_fwd_grad_enabled(False)``) they have a
        derivative in reverse mode alone.
        """
        if torch._C._is_fwd_grad_enabled() or not self.grad_enabled:
            return values
        return tuple(self._without_tangent(value) if has_derivative(value) else value for value in values)

    def _without_tangent(self, value: Value) -> Value:
        with forward_ad._set_fwd_grad_enabled(True):
            tensor = self.lift_like(value)
            return self.lower(self.run(lambda: with_derivative_of(tensor, tensor.detach())))

    @contextlib.contextmanager
    def running(self) -> Iterator[TorchTrace]:
        """Make the trace current for this thread."""
        try:
            with self._recording():
                yield self
        finally:
            self.escapes.settle(self.constants)

    @contextlib.contextmanager
    def _recording(self) -> Iterator[None]:
        # Below autograd's keys an operator arrives as it was called, composite or not; above them stay autocast
        # and torch.func's own transforms, whose work arrives as the operators it consists of.
        with (
            as_written(),
            torch.inference_mode(False),
            torch.enable_grad(),
            forward_ad._set_fwd_grad_enabled(True),
            self.fakes,
            torch._C._AutoDispatchBelowAutograd(),
            self.mode,
            FunctionMode(),
        ):
            try:
                yield
            except Exception as error:
                cause = self.mode.raised if is_without_words(error) and self.mode.raised is not None else error
                meant = translated(cause) or cause
                if meant is error:
                    raise
                raise meant from error
            finally:
                self.drawing.restore()

    def user_line(self) -> str | None:
        """The user's own line that is running."""
        return user_line()

    @contextlib.contextmanager
    def nested(self) -> Iterator[GraphBuilder]:
        """The body of a transform inside the function: a builder of its own."""
        outer = self.builder
        self.builder = GraphBuilder(outer=outer)
        try:
            # As in torch.func: a no_grad() outside a transform does not reach into it. The transform's own
            # equation carries it.
            with torch.enable_grad(), forward_ad._set_fwd_grad_enabled(True):
                yield self.builder
        finally:
            self.builder = outer

    def lift(self, value: Value, like: Any = None) -> torch.Tensor:
        """A tensor for the user's function.

        Parameters
        ----------
        value:
            What it stands for. Where no equation defines it, it is an argument: the caller sees what is written to it.
        like:
            The call's own array in its place, which says on what device it seems to be.
        """
        if isinstance(like, torch.Tensor):
            self.device = like.device
        device = torch.device("cpu") if isinstance(like, np.ndarray) else self.device
        if value.equation is not None:
            return self._lifted(value, "local", device)
        argument = self._lifted(value, "argument", device)
        self._arguments[id(value)] = value, self.alias(argument)
        return argument

    def argument(self, value: Value, like: Any) -> torch.Tensor:
        """An argument of the call, which ``like`` is."""
        return self.lift(value, like)

    def lift_like(self, value: Value, device: torch.device | None = None) -> torch.Tensor:
        """A tensor of the trace's own, with the present value of another."""
        return self._lifted(value, "local", device or self.device)

    def lower(self, leaf: Any) -> Value:
        """The value of a tensor, traced or not, or of an array."""
        if isinstance(leaf, torch.Tensor):
            return self.constants.local(read(self.alias(leaf)))
        return self.constants.local(
            self.outermost.constant(leaf if isinstance(leaf, Array) else Array.from_numpy(leaf))
        )

    def written(self, inputs: Sequence[Value]) -> list[tuple[Write, Value]]:
        """Which of a body's arguments were written to, and what they hold now."""
        found = []
        for position, value in enumerate(inputs):
            _, alias = self._arguments[id(value)]
            if alias.memory.generation:
                where, is_view = alias.memory.first_write or (None, False)
                is_differentiated = alias.memory.first_write is not None
                found.append((Write(position, value.type, where, is_differentiated, is_view), read(alias)))
        return found

    def alias_in(self, leaf: Any, inputs: Sequence[Value]) -> ArgumentAlias | None:
        """Of which of these arguments a leaf is a view."""
        alias = alias_of(leaf) if isinstance(leaf, torch.Tensor) else None
        if alias is None or alias.memory.origin != "argument":
            return None
        views, node = [], alias
        while node.view is not None:
            views.append(node.view.through)
            node = node.view.parent
        for position, value in enumerate(inputs):
            if self._arguments[id(value)][1] is node:
                return ArgumentAlias(position, tuple(reversed(views)))
        return None

    def write(self, leaves: Sequence[Any], position: int, value: Value) -> None:
        """Write to a tensor that was given to a transformed function."""
        leaf, what = leaves[position], "the transformed function"
        if not isinstance(leaf, torch.Tensor):
            refuse_write(what, "captured")
        memory = self.alias(leaf).memory
        others = (item for index, item in enumerate(leaves) if index != position and isinstance(item, torch.Tensor))
        if any(self.alias(other).memory is memory for other in others):
            refuse_write(what, "shared")
        write_tensor(self, leaf, self.lift_like(value), what)

    def alias(self, tensor: torch.Tensor) -> Alias:
        """What is known about a tensor; one from outside is captured."""
        found = alias_of(tensor)
        if found is None and not isinstance(tensor, FakeTensor):
            found = alias_of(self.constants.fake_of(tensor))
        if found is None or found.trace is not self:
            raise TraceError(
                "a traced tensor is used outside the call of the function that it belongs to"
                if found is not None
                else "a tensor of unknown origin is used",
                where=user_line(),
                remedy="return it from the function instead of keeping it in a variable or an attribute; what the "
                "first call makes and keeps is to be made before: call the function once in place",
            )
        if isinstance(tensor, FakeTensor):
            if found.storage != tensor.untyped_storage()._cdata:
                refuse_write("x.data = y", "given the memory of another tensor")
            if tensor.requires_grad and tensor.is_leaf and found.value.varies and _is_meant(tensor):
                refuse_tape()
        return found

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do with an operator what is done where the user's function calls it."""
        return call(self, func, args, kwargs)

    def decompose(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Record an operator by torch's own definition of it."""
        return decompose(self, func, args, kwargs)

    def run(self, function: Callable[..., T], *arguments: Any, **keywords: Any) -> T:
        """Call a function of tensors, whose operators are recorded."""
        return self.mode.run(function, *arguments, **keywords)

    def fake_like(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of this trace without elements, stored like a real one."""
        with self.mode.paused():
            return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=tensor.device)

    def _lifted(self, value: Value, origin: str, device: torch.device) -> torch.Tensor:
        with self.mode.paused():
            fake = torch.empty(lengths(value.type), dtype=torch_dtype(value.type.dtype), device=device)
        attach(fake, Alias(self, value, Memory(origin, self.builder)))
        return fake


def _is_meant(tensor: torch.Tensor) -> bool:
    """Whether the user's function asks autograd to record a traced tensor.

    A parameter of a module that is made inside says so, too, and means nothing by it; nor does what a backward of
    torch.autograd, called inside the function, has saved outside.
    """
    return not getattr(tensor, "_is_param", False) and torch._C._current_graph_task_id() == -1
