"""What ``farfunc top`` shows, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .figures import Figures, quantile, rate

__all__ = ["Frame", "draw"]

_BOLD, _DIM, _RED, _GREEN, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[0m"
_LATENCY = "farfunc_http_request_seconds"
_EVALUATE = {"route": "/v1/evaluate"}
_PARTS = ("read", "parse", "queue", "ipc", "compute", "reply")
_MOST_PLANS = 12
_BAR = 20


@dataclass(frozen=True, slots=True)
class Frame:
    """What is known of a server at one moment.

    Attributes
    ----------
    before, now:
        Its figures at two moments: rates are between them.
    devices, plans:
        As ``/v1/devices`` and ``/v1/plans`` tell them.
    """

    url: str
    before: Figures
    now: Figures
    devices: Sequence[dict[str, Any]]
    plans: Sequence[dict[str, Any]]


def draw(frame: Frame, columns: int, *, is_colored: bool) -> list[str]:
    """The lines of a frame, none longer than so many columns."""
    return [
        f"{color}{_clean(line)[:columns]}{_PLAIN}" if color and is_colored else _clean(line)[:columns]
        for color, line in _lines(frame)
    ]


def _clean(line: str) -> str:
    """Names and reasons come from elsewhere: they move no cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def _lines(frame: Frame) -> Iterator[tuple[str, str]]:
    before, now = frame.before, frame.now
    waiting, room = now.sum("farfunc_queue_depth"), now.sum("farfunc_queue_capacity")
    seconds = now.moment - before.moment
    yield _BOLD, f"farfunc {frame.url}"
    yield "", ""
    failed = rate(before, now, "farfunc_evaluations_total") - rate(
        before, now, "farfunc_evaluations_total", outcome="ok"
    )
    yield (
        "",
        f"requests {rate(before, now, 'farfunc_http_requests_total'):10.1f} /s    "
        f"evaluations {rate(before, now, 'farfunc_evaluations_total'):8.1f} /s    failed {failed:6.1f} /s",
    )
    p50, p99 = (_time(quantile(part, before, now, _LATENCY, **_EVALUATE)) for part in (0.5, 0.99))
    yield "", f"time to answer    p50 {p50:>9}    p99 {p99:>9}    (evaluations of the last {seconds:.1f} s)"
    yield "", "mean of parts     " + "  ".join(f"{part} {_time(_mean(frame, part))}" for part in _PARTS)
    yield (
        _RED if room and waiting >= 0.9 * room else "",
        f"queue {waiting:6.0f} of {room:.0f} waiting  {_bar(waiting / room if room else 0)}  "
        f"{now.sum('farfunc_evaluations_running'):.0f} running",
    )
    yield "", ""
    yield (
        _BOLD,
        f"{'DEVICE':<10}{'STATE':<10}{'PID':>8}{'BUSY':>8}  {'':<{_BAR}}"
        f"{'CALLS/S':>10}{'REQ/CALL':>9}{'LOST':>6}  NAME",
    )
    for device in frame.devices:
        name = device["name"]
        busy = min(rate(before, now, "farfunc_device_busy_seconds_total", device=name), 1.0)
        calls = rate(before, now, "farfunc_batch_requests_count", device=name)
        each = rate(before, now, "farfunc_batch_requests_sum", device=name) / calls if calls else 0.0
        yield (
            "" if device["state"] == "ready" else _RED,
            f"{name:<10}{device['state']:<10}{device['pid'] or '-':>8}{busy:>8.0%}  {_bar(busy)}"
            f"{calls:>10.1f}{each:>9.1f}{device['restarts']:>6}  {device['description'] or ''}",
        )
    yield "", ""
    stages = "  ".join(f"{stage} {count:.0f}" for stage, count in now.by("farfunc_plans", "stage").items())
    hits, misses = (rate(before, now, f"farfunc_plan_{kind}_total") for kind in ("hits", "misses"))
    found = f"{hits / (hits + misses):.0%}" if hits + misses else "-"
    yield _BOLD, f"PLANS  {stages}   memory {_size(now.sum('farfunc_plan_bytes'))}   found {found}"
    if frame.plans:
        yield _DIM, f"{'DEVICE':<10}{'STAGE':<10}{'CALLS':>9}{'MEAN':>10}  FUNCTION UNDER TRANSFORMS"
    for plan in frame.plans[:_MOST_PLANS]:
        calls = sum(stage["calls"] for stage in plan["stages"].values())
        taken = sum(stage["seconds"] for stage in plan["stages"].values())
        chain = " ".join(transform["transform"] for transform in plan["transforms"]) or "apply"
        yield (
            "",
            f"{plan['device']:<10}{plan['stage']:<10}{calls:>9}{_time(taken / calls if calls else None):>10}  "
            f"{chain} of {plan['function'][:19]} ({', '.join(plan['arguments'])})",
        )
    if len(frame.plans) > _MOST_PLANS:
        yield _DIM, f"and {len(frame.plans) - _MOST_PLANS} more"


def _mean(frame: Frame, part: str) -> float | None:
    count = rate(frame.before, frame.now, "farfunc_part_seconds_count", part=part)
    return rate(frame.before, frame.now, "farfunc_part_seconds_sum", part=part) / count if count else None


def _bar(part: float) -> str:
    full = round(min(max(part, 0.0), 1.0) * _BAR)
    return "#" * full + "." * (_BAR - full)


def _time(seconds: float | None) -> str:
    """A time for people.

    >>> [_time(seconds) for seconds in (None, 0.000123, 0.0456, 7.0)]
    ['-', '123 us', '45.6 ms', '7 s']
    """
    if seconds is None:
        return "-"
    for unit, factor in (("us", 1e6), ("ms", 1e3)):
        if seconds * factor < 1000:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def _size(count: float) -> str:
    """A size for people.

    >>> _size(3.5 * 2**20)
    '3.5 MiB'
    """
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"
