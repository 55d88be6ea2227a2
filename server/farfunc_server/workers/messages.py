"""What the web process and its workers say to each other.

==============================  ===========================  =======================================
web process                     worker                       payload
==============================  ===========================  =======================================
(starts it)                     :class:`Ready`
:class:`Configure`              :class:`Configured`
:class:`Load`                   :class:`Loaded`              of Load: a function file
:class:`Evaluate`               :class:`Result`              of both: as ``farfunc_protocol.messages``
:class:`EvaluateMany`           :class:`Results`             of both: one behind the other
:class:`NextSlice`              :class:`Slice`               of Slice: its blocks, one behind the other
:class:`EndSlices`              :class:`Ended`
:class:`Infer`                  :class:`Inferred`
:class:`Compile`                :class:`Compiled`
:class:`Probe`                  :class:`Healthy`
==============================  ===========================  =======================================

A call that takes long, or more memory than there is, is not evaluated at once: :class:`Evaluate` is answered with
:class:`Sliced`, and the web process asks for one slice after another. Several such calls may be open at a time.
Where :class:`EvaluateMany` holds such calls the answer is :class:`Apart`: they are to be sent one by one.

In place of its answer a worker may send :class:`Problem`, or :class:`UnknownFunction` where it
has not the function (it never had, or has forgotten it): then the web process loads it and asks again.

A header is a message as JSON. The two that go to and fro in a loop have a short form for what they mostly are::

    "E"  call: 8 bytes  identity, line feed, request id      an Evaluate that resumes nothing
    "R"  seconds: a double  stage                            a Result that tells nothing of plans
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import Any

from .frames import FrameError

__all__ = [
    "Apart",
    "BlockPlace",
    "Compile",
    "Compiled",
    "Configure",
    "Configured",
    "EndSlices",
    "Ended",
    "Evaluate",
    "EvaluateMany",
    "Healthy",
    "Infer",
    "Inferred",
    "Load",
    "Loaded",
    "Message",
    "NextSlice",
    "Probe",
    "Problem",
    "Ready",
    "Result",
    "Results",
    "Slice",
    "Sliced",
    "UnknownFunction",
    "from_header",
]


_EVALUATE = struct.Struct("<cQ")
_RESULT = struct.Struct("<cd")


def _fields(item: Any) -> dict[str, Any]:
    """A dataclass as a document; those within it are written out when it is."""
    return {name: getattr(item, name) for name in item.__dataclass_fields__}  # dataclasses.asdict copies all of it


_encode = json.JSONEncoder(separators=(",", ":"), default=_fields).encode


@dataclass(frozen=True, slots=True)
class Message:
    """What a frame says, beside its payload."""

    def to_header(self) -> bytes:
        """The message as the header of a frame."""
        return _encode({"kind": type(self).__name__, **_fields(self)}).encode()

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Message:
        """Read one from a header without its kind."""
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Ready(Message):
    """The worker has imported torch and tried it; it has no device yet.

    Attributes
    ----------
    torch:
        Its version.
    seconds:
        How long the start took.
    """

    torch: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Configure(Message):
    """Take this device.

    Attributes
    ----------
    device:
        ``"cpu:0"``, ``"cuda:1"``; the number of a CPU worker is only a name.
    threads:
        For torch's operators on the CPU; None leaves torch's choice.
    memory_bytes:
        The most that one evaluation may take; None for half of the device's memory.
    operations:
        The most scalar operations that one evaluation may take.
    packages:
        The folder with machine code of plans; None to go without.
    tf32:
        Whether a GPU may round the factors of float32 products to ten bits.
    """

    device: str
    threads: int | None
    memory_bytes: int | None
    operations: float
    packages: str | None = None
    tf32: bool = False


@dataclass(frozen=True, slots=True)
class Configured(Message):
    """The worker takes requests.

    Attributes
    ----------
    description:
        The device's own name.
    memory_bytes:
        The most that one evaluation may take.
    """

    description: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Load(Message):
    """Keep the function of the payload."""

    function: str


@dataclass(frozen=True, slots=True)
class Loaded(Message):
    """The function is kept."""


@dataclass(frozen=True, slots=True)
class Evaluate(Message):
    """Evaluate the request of the payload.

    Attributes
    ----------
    function:
        The identity that the request's reference stands for.
    call:
        Names the call, if it is evaluated in slices; 0 for one that is to be evaluated at once.
    resume_at:
        The cursor of the next slice, if some have been evaluated elsewhere.
    """

    function: str
    request_id: str
    call: int = 0
    resume_at: list[int] | None = None

    def to_header(self) -> bytes:
        """The short form, unless it resumes something."""
        if self.resume_at is not None:
            return Message.to_header(self)
        return _EVALUATE.pack(b"E", self.call) + f"{self.function}\n{self.request_id}".encode()


@dataclass(frozen=True, slots=True)
class Result(Message):
    """The response is the payload.

    Attributes
    ----------
    seconds:
        The time that it took on the device.
    stage:
        The stage of the plan that ran: ``plain``, ``flat``, ``compiled`` or ``recorded``.
    news:
        What has changed of the worker's plans since it last told: a document for each.
    hot:
        Plans that are worth compiling: each its id, and the fields of a
        :class:`~farfunc_server.evaluation.compilation.PlanSpec`.
    """

    seconds: float
    stage: str
    news: list[dict[str, Any]] = field(default_factory=list)
    hot: list[dict[str, Any]] = field(default_factory=list)

    def to_header(self) -> bytes:
        """The short form, unless it tells of plans."""
        if self.news or self.hot:
            return Message.to_header(self)
        return _RESULT.pack(b"R", self.seconds) + self.stage.encode()


@dataclass(frozen=True, slots=True)
class EvaluateMany(Message):
    """Evaluate several requests of one function and one kind; ``sizes`` are the bytes of each in the payload."""

    function: str
    sizes: list[int]


@dataclass(frozen=True, slots=True)
class Results(Message):
    """The answers to :class:`EvaluateMany`.

    Attributes
    ----------
    result:
        What is to be told of all of them together.
    sizes:
        The bytes of each response in the payload.
    problems:
        For each request None, or the problem document in place of a response.
    """

    result: Result
    sizes: list[int]
    problems: list[dict[str, Any] | None]

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Results:
        """Read one from a header."""
        return cls(Result(**fields["result"]), fields["sizes"], fields["problems"])


@dataclass(frozen=True, slots=True)
class Apart(Message):
    """The requests of :class:`EvaluateMany` take long or much memory, or one of them has cost the device: send each by
    itself.

    Attributes
    ----------
    is_last:
        Whether the worker ends with this answer.
    """

    is_last: bool = False


@dataclass(frozen=True, slots=True)
class Sliced(Message):
    """The call is open, and is to be evaluated in slices.

    Attributes
    ----------
    outputs:
        The types of the whole result's leaves, as text.
    is_in_order:
        Whether the blocks, one after another, are the bytes that follow the header of a response.
    cursor:
        Of the first slice.
    """

    outputs: list[str]
    is_in_order: bool
    cursor: list[int]


@dataclass(frozen=True, slots=True)
class NextSlice(Message):
    """Evaluate the slice at the cursor; a larger one if nobody else wants the device."""

    call: int
    cursor: list[int]
    is_alone: bool


@dataclass(frozen=True, slots=True)
class BlockPlace:
    """Where a block belongs: see :class:`~farfunc_server.evaluation.slices.Block`."""

    leaf: int
    is_columns: bool
    start: int
    stop: int
    length: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Slice(Message):
    """Some blocks of the result.

    Attributes
    ----------
    result:
        What is to be told of the evaluation.
    blocks:
        Where those of the payload belong; empty where they come in order by themselves.
    cursor:
        Of the next slice; None after the last, with which the call is closed.
    """

    result: Result
    blocks: list[BlockPlace]
    cursor: list[int] | None

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Slice:
        """Read one from a header."""
        return cls(Result(**fields["result"]), [BlockPlace(**block) for block in fields["blocks"]], fields["cursor"])


@dataclass(frozen=True, slots=True)
class EndSlices(Message):
    """Close a call: no more of it is wanted."""

    call: int


@dataclass(frozen=True, slots=True)
class Ended(Message):
    """The call is closed, if it was open."""


@dataclass(frozen=True, slots=True)
class Infer(Message):
    """Tell the types of the function's results, on fake tensors; ``lengths`` are those of its symbolic dimensions."""

    function: str
    request_id: str
    lengths: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Inferred(Message):
    """What a dry run has told.

    Attributes
    ----------
    outputs:
        Types as text (``float64[3]``); None if it did not come to its end.
    failure:
        Why it did not.
    peak_bytes, operations:
        Memory and scalar operations of one evaluation, so far as it came.
    """

    outputs: list[str] | None
    failure: str | None
    peak_bytes: int
    operations: float


@dataclass(frozen=True, slots=True)
class Compile(Message):
    """Make the machine code of a plan, into the folder ``packages``."""

    function: str
    plan: dict[str, Any]
    packages: str


@dataclass(frozen=True, slots=True)
class Compiled(Message):
    """It is there, after so many seconds; or why it is not."""

    seconds: float | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Probe(Message):
    """Evaluate something whose result is known, to see whether the device is well."""


@dataclass(frozen=True, slots=True)
class Healthy(Message):
    """It is; otherwise the answer is a :class:`Problem`."""


@dataclass(frozen=True, slots=True)
class Problem(Message):
    """An RFC 9457 problem document.

    Attributes
    ----------
    problem:
        The document.
    is_last:
        Whether the worker ends with this answer.
    """

    problem: dict[str, Any]
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class UnknownFunction(Message):
    """The worker has not the function: send :class:`Load` first."""


_KINDS: dict[str, type[Message]] = {
    kind.__name__: kind
    for kind in (
        Ready,
        Configure,
        Configured,
        Load,
        Loaded,
        Evaluate,
        Result,
        EvaluateMany,
        Results,
        Apart,
        Sliced,
        NextSlice,
        Slice,
        EndSlices,
        Ended,
        Infer,
        Inferred,
        Compile,
        Compiled,
        Probe,
        Healthy,
        Problem,
        UnknownFunction,
    )
}


def from_header(header: bytes) -> Message:
    """The message of a header; raises FrameError for what is none, or one of another version of this program."""
    try:
        if header[:1] == b"R":
            _, seconds = _RESULT.unpack_from(header)
            return Result(seconds, header[_RESULT.size :].decode())
        if header[:1] == b"E":
            _, call = _EVALUATE.unpack_from(header)
            function, request_id = header[_EVALUATE.size :].decode().split("\n")
            return Evaluate(function, request_id, call)
        fields = json.loads(header)
        kind = _KINDS[fields.pop("kind")]
        return kind.from_fields(fields)
    except (KeyError, TypeError, ValueError, AttributeError, struct.error) as error:
        raise FrameError(f"not a message: {header[:200]!r}") from error
