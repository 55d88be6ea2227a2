"""What the dispatcher is asked to have done."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..batch_form import bucket
from ..workers.frames import Buffer
from ..workers.messages import Evaluate, Infer, Message

__all__ = ["Answer", "Job", "Moments"]

Answer = tuple[Message, memoryview]


class Moments(Protocol):
    """What a job is told of itself.

    Attributes
    ----------
    begun, answered:
        When it was sent to a worker for the first time, and when it was answered: on ``time.monotonic``.
    device, requests, rows:
        Where, with how many requests in one call, and of how many rows together.
    """

    begun: float | None
    answered: float | None
    device: str | None
    requests: int
    rows: int


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is to do.

    Attributes
    ----------
    message, payload:
        What it is sent.
    file:
        Reads the function's file, which is sent where the worker has not got it.
    seconds:
        The time limit, from now, waiting included.
    kind, rows:
        As of a :class:`~farfunc_server.scheduling.line.Ticket`, among the requests of one function.
    moments:
        Is told how the job gets on.
    alike:
        The same for requests of one function that differ in nothing but their arrays' data and their rows; None where
        that is not known.
    tenant, priority:
        Who pays for it, and how much before the tenant's other jobs it goes.
    resume_at:
        The cursor of the first slice that is wanted, where those before it are known.
    """

    message: Evaluate | Infer
    payload: Sequence[Buffer]
    file: Callable[[], Sequence[Buffer]]
    seconds: float
    kind: Hashable = None
    rows: int = 1
    moments: Moments | None = None
    alike: Hashable = None
    tenant: str = "default"
    priority: int = 0
    resume_at: list[int] | None = None

    @property
    def cost(self) -> Hashable:
        """The same for jobs that take equally long."""
        alike = self.kind if self.alike is None else self.alike
        return None if alike is None else (self.message.function, alike, bucket(self.rows))
