"""Evaluate a function under a chain of transforms: arrays in, arrays out.

>>> import numpy as np
>>> from farfunc_protocol.arrays import Array
>>> from farfunc_protocol.graph import Equation, Function, Graph, TensorType
>>> from farfunc_protocol.pytree import flatten
>>> from farfunc_protocol.transforms import FlatTransform
>>> graph = Graph((TensorType("float64", (2,)),), (), (Equation("sin", (0,), {}, (1,)),), (1,))
>>> sin = Function(graph, (), flatten(((0,), {}))[1], flatten(0)[1])
>>> (jacobian,) = Engine().evaluate(sin, [FlatTransform("jacrev", {"argnums": (0,)})], [Array.from_numpy(np.zeros(2))])
>>> jacobian.to_numpy()
array([[1., 0.],
       [0., 1.]])
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from farfunc_protocol.arrays import Array
from farfunc_protocol.errors import InvalidRequest
from farfunc_protocol.graph import Function, TensorType
from farfunc_protocol.strict_json import canonical_json
from farfunc_protocol.transforms import FlatTransform

from .failures import as_farfunc_error
from .inference import Budget, Inference, infer
from .lowering import LoweredGraph, fits, lower
from .randomness import continued, seeded
from .tensors import from_tensor, to_tensor, type_of
from .transforms import FlatCallable, dispatch_state, is_stack_empty, transformed

__all__ = ["Engine", "default_memory_bytes"]

Types = tuple[TensorType, ...]

_CACHED_PROGRAMS = 256
_CACHED_INFERENCES = 64


@dataclass(slots=True, eq=False)
class Program:
    """A function lowered under one chain of transforms.

    Attributes
    ----------
    function:
        Kept so that its id, the cache's key, stays its own.
    lowered:
        The graph that runs.
    chain:
        The transforms, outermost first.
    constants:
        On the device; None for captures that come with each call.
    inferences:
        What the dry run found, by the types of arguments and captures.
    """

    function: Function
    lowered: LoweredGraph
    chain: tuple[FlatTransform, ...]
    constants: tuple[torch.Tensor | None, ...]
    inferences: OrderedDict[tuple[tuple[TensorType, ...], tuple[TensorType, ...]], Inference] = field(
        default_factory=OrderedDict
    )

    @property
    def inputs(self) -> int:
        """How many leaves the outermost transform takes."""
        return self.bind(()).inputs

    def bind(self, captures: Sequence[torch.Tensor], *, check: bool = False) -> FlatCallable:
        """The transformed function, its captures closed over."""

        def function(*leaves: torch.Tensor) -> tuple[torch.Tensor, ...]:
            if check:
                self.lowered.check(leaves)
            return self.lowered(leaves, captures)

        graph = self.lowered.graph
        callable_ = FlatCallable(function, len(graph.inputs), len(graph.outputs))
        for flat in reversed(self.chain):
            callable_ = transformed(flat, callable_)
        return callable_


class Engine:
    """Evaluates on one device, one request at a time.

    Parameters
    ----------
    device:
        ``"cpu"``, ``"cuda:0"``.
    budget:
        What one evaluation may take; half of the device's memory if not given.
    """

    def __init__(self, device: str = "cpu", budget: Budget | None = None) -> None:
        self.device = torch.device(device)
        self.budget = budget or Budget(default_memory_bytes(self.device))
        self._programs: OrderedDict[tuple[int, bytes], Program] = OrderedDict()
        self._dispatch = dispatch_state()

    def evaluate(
        self,
        function: Function,
        chain: Sequence[FlatTransform],
        arrays: Sequence[Array],
        seed: int | None = None,
        captures: Mapping[int, Array] | None = None,
        generator: Array | None = None,
    ) -> tuple[Array, ...]:
        """Evaluate ``function`` under ``chain``.

        Parameters
        ----------
        function:
            One that :func:`farfunc_protocol.validate.validate_function` accepts.
        chain:
            Flat transforms, outermost first; empty for the function itself.
        arrays:
            One for each argument leaf of the outermost transform.
        seed:
            For random operators; None draws one.
        captures:
            Values of captures that the function leaves open, by number.
        generator:
            In place of a seed: the state of torch's CPU generator.

        Returns
        -------
        tuple[Array, ...]
            The result leaves; if a generator is given, its state afterwards is the last.

        Raises
        ------
        InvalidRequest
            The arrays do not fit the function.
        LimitExceeded
            Known before the run where it can be, otherwise as memory ran out.
        EvaluationError
            An operator refused its operands, or has no derivative of the kind that is asked for.
        """
        try:
            with _determinate():
                return self._evaluate(function, chain, arrays, seed, captures or {}, generator)
        except Exception as error:
            raise as_farfunc_error(error) from error

    def infer(
        self,
        function: Function,
        chain: Sequence[FlatTransform],
        types: Sequence[TensorType],
    ) -> Inference:
        """Tell what an evaluation would return and take, without running it; raises as :meth:`evaluate`."""
        try:
            with _determinate():
                return self._infer(self._program(function, chain), tuple(types), function.graph.captures)
        except Exception as error:
            raise as_farfunc_error(error) from error

    def is_well(self) -> bool:
        """Whether this process may go on evaluating after an error.

        A level of torch.func that was left behind would make the next derivative wrong, and so would a
        dispatch key that was left on or off. An index
        out of range on a GPU ends the process's use of that GPU: every later call fails.
        """
        if self.device.type == "cuda":
            try:
                torch.cuda.synchronize(self.device)
            except RuntimeError:
                return False
        return is_stack_empty() and dispatch_state() == self._dispatch

    def _evaluate(
        self,
        function: Function,
        chain: Sequence[FlatTransform],
        arrays: Sequence[Array],
        seed: int | None,
        given: Mapping[int, Array],
        generator: Array | None,
    ) -> tuple[Array, ...]:
        program = self._program(function, chain)
        captures = self._captures(program, given)
        self._infer(program, tuple(array.type for array in arrays), tuple(map(type_of, captures)))
        leaves = [to_tensor(array, self.device) for array in arrays]
        run = program.bind(captures).function
        if generator is not None:
            with continued(generator, self.device) as state:
                results = (*run(*leaves), state())
        elif program.lowered.is_random:
            with seeded(seed, self.device):
                results = run(*leaves)
        else:
            results = run(*leaves)
        return tuple(from_tensor(result) for result in results)

    def _captures(self, program: Program, given: Mapping[int, Array]) -> list[torch.Tensor]:
        """Constants of the function and captures of the call, in their places."""
        types = program.function.graph.captures
        is_open = {i for i, constant in enumerate(program.constants) if constant is None}
        if is_open != set(given):
            number = min(is_open ^ set(given))
            problem = "needs a value for" if number in is_open else "leaves no place for"
            raise InvalidRequest(
                f"the function {problem} capture {number}",
                where=f"captures[{number}]",
                remedy=f"give the captures {sorted(is_open)} with the call" if is_open else "give no captures",
            )
        for number, array in given.items():
            if not fits(array.type, types[number]):
                raise InvalidRequest(
                    f"the function captures {types[number]} here, and {array.type} is given",
                    where=f"captures[{number}]",
                )
        return [
            to_tensor(given[i], self.device) if constant is None else constant
            for i, constant in enumerate(program.constants)
        ]

    def _infer(self, program: Program, types: Types, captures: Types) -> Inference:
        found = program.inferences.get((types, captures))
        if found is None:
            if len(types) != program.inputs:
                raise InvalidRequest(
                    f"{len(types)} arrays are given, and the function under these transforms takes {program.inputs}",
                    where="arguments",
                    remedy="give one array for each argument leaf of the outermost transform",
                )

            def function(leaves: Sequence[torch.Tensor], closed: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
                return program.bind(closed, check=True).function(*leaves)

            found = infer(function, types, captures, self.device, self.budget)
            program.inferences[types, captures] = found
            if len(program.inferences) > _CACHED_INFERENCES:
                program.inferences.popitem(last=False)
        return found

    def _program(self, function: Function, chain: Sequence[FlatTransform]) -> Program:
        key = (id(function), canonical_json([flat.to_json() for flat in chain]))
        program = self._programs.get(key)
        if program is None:
            constants = tuple(None if array is None else to_tensor(array, self.device) for array in function.constants)
            program = Program(function, lower(function.graph, self.device), tuple(chain), constants)
            self._programs[key] = program
            if len(self._programs) > _CACHED_PROGRAMS:
                self._programs.popitem(last=False)
        self._programs.move_to_end(key)
        return program


def default_memory_bytes(device: torch.device) -> int:
    """Half of the device's memory."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory // 2
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


@contextlib.contextmanager
def _determinate() -> Iterator[None]:
    """One way of computing, whatever this process was told elsewhere.

    The fused attention kernels have neither forward mode nor batching rules; the math backend
    has both. Warnings of torch.func (a batching rule that falls back to a loop) have no reader here.
    """
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        warnings.simplefilter("ignore")
        yield
