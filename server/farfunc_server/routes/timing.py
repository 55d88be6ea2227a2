"""Where the time of one evaluation went, as the header ``Server-Timing`` tells it (W3C Server Timing)."""

from __future__ import annotations

import time
from dataclasses import dataclass

__all__ = ["Timing"]

_PARTS = ("read", "parse", "queue", "ipc", "compute", "reply", "total")
_WHOLE = b", ".join(b"%b;dur=%%.3f" % name.encode() for name in _PARTS)


@dataclass(slots=True)
class Timing:
    """The moments of a request, on the clock of ``time.monotonic``; None for those that have not come.

    Attributes
    ----------
    started:
        Its head has arrived.
    received:
        So has its body.
    asked:
        It has been read and is handed to the dispatcher.
    begun:
        It is sent to a worker, for the first time.
    answered:
        The worker has answered.
    compute:
        Seconds that the worker took.
    device, stage:
        Where it was evaluated, and by which program of the plan.
    requests, rows:
        How many requests were evaluated in the same call, and of how many rows.
    """

    started: float
    received: float | None = None
    asked: float | None = None
    begun: float | None = None
    answered: float | None = None
    compute: float | None = None
    device: str | None = None
    stage: str | None = None
    requests: int = 1
    rows: int = 1

    def header(self) -> bytes:
        """The header's value, for an answer whose head is written now.

        The parts follow one another, hence their sum is the total.

        >>> Timing(time.monotonic()).header().startswith(b"read;dur=")
        True
        """
        now = time.monotonic()
        if self.compute is None or (answered := self.answered) is None:
            return self._so_far(now)
        assert self.received is not None
        assert self.asked is not None
        assert self.begun is not None
        return _WHOLE % (
            (self.received - self.started) * 1e3,
            (self.asked - self.received) * 1e3,
            (self.begun - self.asked) * 1e3,
            (answered - self.begun - self.compute) * 1e3,
            self.compute * 1e3,
            (now - answered) * 1e3,
            (now - self.started) * 1e3,
        )

    def _so_far(self, now: float) -> bytes:
        """Of a request that did not come to its end, or only to a problem."""
        parts = []
        before = self.started
        for name, moment in (
            ("read", self.received),
            ("parse", self.asked),
            ("queue", self.begun),
            ("worker", self.answered),
        ):
            end = now if moment is None else moment
            parts.append(f"{name};dur={(end - before) * 1e3:.3f}")
            if moment is None:
                break
            before = moment
        else:
            parts.append(f"reply;dur={(now - before) * 1e3:.3f}")
        parts.append(f"total;dur={(now - self.started) * 1e3:.3f}")
        return ", ".join(parts).encode()
