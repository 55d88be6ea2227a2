"""What the dispatcher says when a job is not done."""

from __future__ import annotations

from collections.abc import Iterable

from farfunc_protocol.errors import DeadlineUnreachable, DevicesUnavailable, ServerBusy, TimeLimitExceeded, WorkerDied

from .lanes import Lane

__all__ = ["cannot_end_in_time", "never_begun", "no_device", "shutting_down", "too_late", "worker_died"]

_LATER = "try again later, or give a longer X-Timeout (timeout= in Python)"
_LESS = "give a longer X-Timeout (timeout= in Python), up to the server's limit, or send less work"


def cannot_end_in_time(limit: float, takes: float, wait: float) -> DeadlineUnreachable:
    """The time limit is shorter than what is known: all in seconds."""
    is_too_long = takes > limit
    return DeadlineUnreachable(
        f"requests like this one take {takes:.3g} s here, after {wait:.3g} s for what waits before it, "
        f"and its time limit is {limit:g} s",
        remedy=_LESS if is_too_long else _LATER,
        retry_after=None if is_too_long else round(max(wait + takes - limit, 1.0), 1),
    )


def never_begun(limit: float, *, is_ready: bool, retry_after: float) -> TimeLimitExceeded:
    """The time limit is over, and the job's turn has not come."""
    if is_ready:
        reason = f"the request waited for its whole time limit of {limit:g} s, and its turn did not come"
    else:
        reason = f"no worker became ready within the request's time limit of {limit:g} s"
    return TimeLimitExceeded(reason, remedy=_LATER, retry_after=retry_after)


def too_late(limit: float) -> TimeLimitExceeded:
    """The time limit is over, and the job has not ended."""
    return TimeLimitExceeded(f"the evaluation was stopped at the request's time limit of {limit:g} s", remedy=_LESS)


def worker_died() -> WorkerDied:
    """Twice, which is enough."""
    return WorkerDied(
        "the process that evaluated the request died, and so did the one that tried again",
        remedy="send less work at once, if it may need more memory than there is; sent again as it "
        "is, it will end the same way",
    )


def no_device(lanes: Iterable[Lane]) -> DevicesUnavailable:
    """All devices are out of service."""
    states = ", ".join(f"{lane.device} {lane.state}" for lane in lanes)
    return DevicesUnavailable(
        f"no device of this server is in service: {states}",
        remedy="try again later, or ask the server's operator: GET /v1/devices tells how they are",
        retry_after=30.0,
    )


def shutting_down() -> ServerBusy:
    """The server takes no jobs any more."""
    return ServerBusy(
        "the server is shutting down", remedy="try again: another server may take its place", retry_after=1.0
    )
