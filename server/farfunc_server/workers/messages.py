"""What the web process and its workers say to each other.

==============================  ===========================  =======================================
web process                     worker                       payload
==============================  ===========================  =======================================
(starts it)                     :class:`Ready`
:class:`Configure`              :class:`Configured`
:class:`Load`                   :class:`Loaded`              of Load: a function file
:class:`Evaluate`               :class:`Result`              of both: as ``farfunc_protocol.messages``
:class:`EvaluateMany`           :class:`Results`             of both: one behind the other
:class:`Infer`                  :class:`Inferred`
:class:`Compile`                :class:`Compiled`
==============================  ===========================  =======================================

In place of its answer a worker may send :class:`Problem`, or :class:`UnknownFunction` where it
has not the function (it never had, or has forgotten it): then the web process loads it and asks again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .frames import FrameError

__all__ = [
    "Compile",
    "Compiled",
    "Configure",
    "Configured",
    "Evaluate",
    "EvaluateMany",
    "Infer",
    "Inferred",
    "Load",
    "Loaded",
    "Message",
    "Problem",
    "Ready",
    "Result",
    "Results",
    "UnknownFunction",
    "from_header",
]


@dataclass(frozen=True, slots=True)
class Message:
    """The header of a frame."""

    def to_header(self) -> dict[str, Any]:
        """The message as a document; a dataclass within it is written out when the document is."""
        kind = type(self)  # not dataclasses.asdict, which copies all that is within
        return {"kind": kind.__name__, **{name: getattr(self, name) for name in kind.__dataclass_fields__}}


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
    """

    device: str
    threads: int | None
    memory_bytes: int | None
    operations: float
    packages: str | None = None


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
    """Evaluate the request of the payload; ``function`` is the identity that its reference stands for."""

    function: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Result(Message):
    """The response is the payload.

    Attributes
    ----------
    seconds:
        The time that it took on the device.
    stage:
        The stage of the plan that ran: ``plain``, ``flat`` or ``compiled``.
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
class Problem(Message):
    """An RFC 9457 problem document."""

    problem: dict[str, Any]


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
        Infer,
        Inferred,
        Compile,
        Compiled,
        Problem,
        UnknownFunction,
    )
}


def from_header(header: dict[str, Any]) -> Message:
    """The message of a header; raises FrameError for one of another version of this program."""
    fields = dict(header)
    try:
        kind = _KINDS[fields.pop("kind")]
        return Results.from_fields(fields) if kind is Results else kind(**fields)
    except (KeyError, TypeError) as error:
        raise FrameError(f"not a message: {str(header)[:200]}") from error
