"""What a worker does with each message."""

from __future__ import annotations

import contextlib
import logging
import math
import resource
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from farfunc_protocol.arrays import Array
from farfunc_protocol.document import function_from_bytes
from farfunc_protocol.errors import FarfuncError, LimitExceeded, ServerError
from farfunc_protocol.graph import Equation, Function, Graph, TensorType
from farfunc_protocol.lengths import at_lengths
from farfunc_protocol.messages import EvaluateRequest, EvaluateResponse, decode_request, encode_response
from farfunc_protocol.pytree import flatten
from farfunc_protocol.transforms import FlatTransform
from farfunc_protocol.validate import validate_function

from ..evaluation.calls_alike import QUICK_SECONDS, CallsAlike, head_of
from ..evaluation.compilation import NotCompiled, PackageFolder, PlanSpec, compile_plan
from ..evaluation.engine import Engine, default_memory_bytes
from ..evaluation.inference import Budget
from ..evaluation.plans import Stage
from ..evaluation.slices import Block, DeliveredCall, SlicedCall
from .frames import Buffer
from .messages import (
    Apart,
    BlockPlace,
    Compile,
    Compiled,
    Configure,
    Configured,
    Ended,
    EndSlices,
    Evaluate,
    EvaluateMany,
    Healthy,
    Infer,
    Inferred,
    Load,
    Loaded,
    Message,
    NextSlice,
    Probe,
    Problem,
    Result,
    Results,
    Slice,
    Sliced,
    UnknownFunction,
)

__all__ = ["Handler", "set_rounding"]

_log = logging.getLogger("farfunc.worker")

_KEPT_FUNCTIONS = 256
_KEPT_BYTES = 1 << 30

Answer = tuple[Message, Sequence[Buffer]]


class Handler:
    """The state of a worker: its engine, and the functions that it has been given.

    Attributes
    ----------
    is_sound:
        Whether the process can go on; otherwise it has answered for the last time.
    """

    def __init__(self) -> None:
        self.is_sound = True
        self.torch_version = torch.__version__
        self._engine = Engine("cpu")
        self._alike = CallsAlike(self._engine.plans)
        self._functions: OrderedDict[str, tuple[Function, int]] = OrderedDict()
        self._sliced: dict[int, SlicedCall | DeliveredCall] = {}
        _warm_up(self._engine)

    def answer(self, message: Message, payload: memoryview) -> Answer:
        """Do what the message says; whatever goes wrong is part of the answer."""
        try:
            return self._answer(message, payload)
        except FarfuncError as error:
            self.is_sound = self._engine.is_well()
            return Problem(error.to_problem(), not self.is_sound), ()
        except MemoryError:  # of what is no evaluation: reading a request, a function
            return _no_room(payload.nbytes)
        except Exception:  # noqa: BLE001 - a bug of ours must not end the process
            self.is_sound = self._engine.is_well()
            told = {name: getattr(message, name, None) for name in ("request_id", "function")}
            _log.exception("the worker failed at %s", type(message).__name__, extra={"fields": told})
            detail = "the worker met an error of its own"
            error = ServerError(detail, remedy="report it with the request id")
            return Problem(error.to_problem(), not self.is_sound), ()

    def no_room(self, message: Message, size: int) -> Answer:
        """The answer to a message for whose payload there is no memory; one of those in it may fit by itself."""
        return (Apart(), ()) if isinstance(message, EvaluateMany) else _no_room(size)

    @property
    def has_idle_work(self) -> bool:
        """Whether there is something that makes later answers faster."""
        return self._engine.plans.has_idle_work

    def use_idle_time(self) -> bool:
        """Do something that makes later answers faster; returns whether there was anything to do."""
        try:
            was_useful = self._engine.use_idle_time()
            self.is_sound &= not self._engine.plans.is_broken
            return was_useful and self.is_sound
        except Exception:  # noqa: BLE001 - no one waits for it, and the plain way is still there
            _log.exception("the worker failed at making a plan faster")
            return True

    def _answer(self, message: Message, payload: memoryview) -> Answer:
        match message:
            case Evaluate():
                return self._evaluate(message, payload)
            case EvaluateMany():
                return self._evaluate_many(message, payload)
            case NextSlice():
                return self._next_slice(message)
            case EndSlices():
                self._sliced.pop(message.call, None)
                return Ended(), ()
            case Infer():
                return self._infer(message)
            case Load():
                self._load(message.function, payload)
                return Loaded(), ()
            case Compile():
                return self._compile(message)
            case Configure():
                return self._configure(message), ()
            case Probe():
                _check_device(self._engine)
                return Healthy(), ()
            case _:
                raise ServerError(f"a worker does not answer {type(message).__name__}")

    def _configure(self, message: Configure) -> Configured:
        # All workers of the CPU are one device to torch.
        device = torch.device("cpu" if message.device.startswith("cpu") else message.device)
        _check_is_there(device)
        if message.threads is not None:
            torch.set_num_threads(message.threads)
        set_rounding(tf32=message.tf32)
        budget = Budget(message.memory_bytes or default_memory_bytes(device), message.operations)
        packages = None if message.packages is None else PackageFolder(Path(message.packages))
        self._engine = Engine(str(device), budget, packages)
        self._alike = CallsAlike(self._engine.plans)
        if device.type == "cuda":
            _warm_up(self._engine)
            description = torch.cuda.get_device_name(device)
        else:
            _limit_data(budget.memory_bytes)
            threads = torch.get_num_threads()
            description = f"CPU, {threads} thread{'' if threads == 1 else 's'}"
        return Configured(description, budget.memory_bytes)

    def _load(self, identity: str, file: memoryview) -> None:
        function = function_from_bytes(file)
        validate_function(function)
        self._functions[identity] = (function, file.nbytes)
        while len(self._functions) > _KEPT_FUNCTIONS or (
            len(self._functions) > 1 and sum(size for _, size in self._functions.values()) > _KEPT_BYTES
        ):
            self._functions.popitem(last=False)
        self._alike.clear()

    def _evaluate(self, message: Evaluate, payload: memoryview) -> Answer:
        if message.function not in self._functions:
            return UnknownFunction(), ()
        started = time.perf_counter()
        self._functions.move_to_end(message.function)
        head = head_of(payload) if message.resume_at is None and self._engine.device.type == "cpu" else None
        if head is not None and (known := self._alike.answer(message.function, head, payload)) is not None:
            body, stage = known
            return self._result(started, stage), (body,)
        function, _ = self._functions[message.function]
        request = decode_request(payload)
        arrays = self._engine.begin(
            function,
            request.transforms,
            request.arrays,
            request.seed,
            request.captures,
            request.generator,
            message.function,
            slices=bool(message.call),
            resume_at=None if message.resume_at is None else (message.resume_at[0], message.resume_at[1]),
        )
        if not isinstance(arrays, tuple):
            self._sliced[message.call] = arrays
            cursor = [-1, 0] if isinstance(arrays, DeliveredCall) else [0, 0]
            lengths = list(arrays.lengths)
            return Sliced([str(type) for type in arrays.outputs], arrays.is_in_order, cursor, lengths), ()
        generator = arrays[-1] if request.generator is not None else None
        results = arrays if generator is None else arrays[:-1]
        if head is not None and self._engine.stage is not Stage.PLAIN:
            self._alike.learn(message.function, head, function, request, results)
        return self._result(started, self._engine.stage), encode_response(EvaluateResponse(results, generator))

    def _next_slice(self, message: NextSlice) -> Answer:
        started = time.perf_counter()
        call = self._sliced[message.call]
        try:
            blocks, cursor = call.next((message.cursor[0], message.cursor[1]), is_alone=message.is_alone)
        except Exception:
            del self._sliced[message.call]
            raise
        if cursor is None:
            del self._sliced[message.call]
        places = [
            BlockPlace(block.leaf, block.is_columns, block.start, block.stop, block.length, block.array.nbytes)
            for block in blocks
            if isinstance(block, Block)
        ]
        result = self._result(started, call.stage)
        return Slice(result, places, None if cursor is None else list(cursor)), [
            block.array.buffer if isinstance(block, Block) else block for block in blocks
        ]

    def _evaluate_many(self, message: EvaluateMany, payload: memoryview) -> Answer:
        if message.function not in self._functions:
            return UnknownFunction(), ()
        started = time.perf_counter()
        self._functions.move_to_end(message.function)
        function, _ = self._functions[message.function]
        problems: list[dict[str, Any] | None] = [None] * len(message.sizes)
        requests: dict[int, EvaluateRequest] = {}
        bodies: list[Sequence[Buffer]] = [()] * len(message.sizes)
        stage: Stage | None = None
        start = 0
        for number, size in enumerate(message.sizes):
            part = payload[start : start + size]
            start += size
            head = head_of(part) if self._engine.device.type == "cpu" else None
            known = None if head is None else self._alike.answer(message.function, head, part, QUICK_SECONDS)
            if known is not None:
                body, stage = known
                bodies[number] = (body,)
                continue
            try:
                requests[number] = decode_request(part)
            except FarfuncError as error:
                problems[number] = error.to_problem()
        if requests:
            chain = next(iter(requests.values())).transforms
            calls = [request.arrays for request in requests.values()]
            if self._engine.is_large(function, chain, calls[0], message.function):
                return Apart(), ()
            found = self._engine.evaluate_many(function, chain, calls, message.function)
            if len(calls) > 1 and any(isinstance(result, LimitExceeded) for result in found):
                return Apart(), ()  # alone it may come in slices, and has the memory of its companions
            for number, result in zip(requests, found, strict=True):
                if isinstance(result, FarfuncError):
                    problems[number] = result.to_problem()
                else:
                    bodies[number] = encode_response(EvaluateResponse(result))
            self.is_sound = self._engine.is_well()
            if self._engine.is_lost:  # by one of them: the others must not fail with it
                return Apart(is_last=True), ()
            stage = self._engine.stage
        sizes = [sum(memoryview(part).nbytes for part in body) for body in bodies]
        result = self._result(started, self._engine.stage if stage is None else stage)
        return Results(result, sizes, problems), [part for body in bodies for part in body]

    def _result(self, started: float, stage: Stage) -> Result:
        plans = self._engine.plans
        return Result(
            time.perf_counter() - started,
            stage.name.lower(),
            plans.take_news(),
            [{"id": spec.digest, "plan": spec.to_json()} for spec in plans.take_hot()],
        )

    def _compile(self, message: Compile) -> Answer:
        if message.function not in self._functions:
            return UnknownFunction(), ()
        function, _ = self._functions[message.function]
        try:
            seconds = compile_plan(PlanSpec.from_json(message.plan), function, PackageFolder(Path(message.packages)))
        except NotCompiled as reason:
            return Compiled(None, str(reason)), ()
        return Compiled(seconds, None), ()

    def _infer(self, message: Infer) -> Answer:
        if message.function not in self._functions:
            return UnknownFunction(), ()
        function, _ = self._functions[message.function]
        types = [at_lengths(type, message.lengths) for type in function.graph.inputs]
        found = self._engine.infer(function, (), types)
        outputs = None if found.outputs is None else [str(type) for type in found.outputs]
        return Inferred(outputs, found.failure, found.peak_bytes, found.operations), ()


def _sine() -> Function:
    graph = Graph((TensorType("float32", (2,)),), (), (Equation("sin", (0,), {}, (1,)),), (1,))
    return Function(graph, (), flatten(((0,), {}))[1], flatten(0)[1])


def _check_device(engine: Engine) -> None:
    """Raise ServerError if the device does not know the derivative of the sine."""
    x = Array.from_numpy([0.0, 1.0], "float32")
    [result] = engine.evaluate(_sine(), (FlatTransform("jacrev", {"argnums": (0,)}),), (x,))
    found = result.to_numpy()
    expected = [[1.0, 0.0], [0.0, math.cos(1.0)]]
    if not np.allclose(found, expected, atol=1e-3):
        raise ServerError(f"the device says that the Jacobian of sin at [0, 1] is {found.tolist()}")


def _no_room(size: int) -> Answer:
    error = LimitExceeded(
        f"the device's worker has no memory for the {size:,} bytes that it was sent",
        remedy="send less at once, or ask the server's operator for a higher memory limit",
    )
    return Problem(error.to_problem()), ()


def _check_is_there(device: torch.device) -> None:
    """A GPU that was asked for by its name, or that the driver shows to us and not to torch."""
    if device.type != "cuda":
        return
    count = torch.cuda.device_count()  # 0 for a build without CUDA
    if (device.index or 0) >= count:
        raise ServerError(
            f"there is no {device} here: torch {torch.__version__} sees {count} GPUs",
            remedy="give others with --devices, such as cpu; for a GPU, install torch for CUDA and check nvidia-smi",
        )


def _warm_up(engine: Engine) -> None:
    """Import what torch.func imports at its first use, which takes a second, before a request waits for it."""
    sin = _sine()
    x = Array.from_numpy([0.0, 1.0], "float32")
    rows = Array.from_numpy([[0.0, 1.0]], "float32")
    batch = FlatTransform("vmap", {"in_dims": (0,), "out_dims": (0,)})
    for name in ("jacfwd", "jacrev", "hessian"):
        transform = FlatTransform(name, {"argnums": (0,)})
        engine.evaluate(sin, (transform,), (x,))
        engine.evaluate(sin, (batch, transform), (rows,))


def set_rounding(*, tf32: bool) -> None:
    """Have a GPU compute as exactly as the CPU does, unless told otherwise.

    torch's defaults round factors of float32 convolutions to ten bits, and add up half-precision products in half
    precision.
    """
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


def _limit_data(memory_bytes: int) -> None:
    """Let an allocation fail rather than the machine swap: the budget, and half of it for kernels' own buffers."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        with open("/proc/self/status") as status:
            in_use = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmData:"))
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = in_use + memory_bytes + memory_bytes // 2 + (1 << 28)
        resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
