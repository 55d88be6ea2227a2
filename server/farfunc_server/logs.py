"""One line for each event: ``key=value`` pairs that people can read and programs can split."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

__all__ = ["event", "log_request", "start_logging"]

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:@+,%")

_LONGEST_DELAY = 0.05  # seconds that a request's line may wait to be written with others
_MOST_LINES = 256


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        pairs: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        line = " ".join(f"{key}={_quoted(value)}" for key, value in pairs.items() if value is not None)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _quoted(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    # Whatever a client sent stays on one line and within one pair.
    return text if text and _PLAIN.issuperset(text) else json.dumps(text)


def event(logger: logging.Logger, level: int, message: str, **fields: Any) -> None:
    """Log an event with its fields."""
    logger.log(level, message, extra={"fields": fields})


class _Handler(logging.StreamHandler[TextIO]):
    """Writes records at once, and lines of requests some at a time: after a moment, before a record, at the end."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.setFormatter(_Formatter())
        self._lines: list[str] = []

    def note(self, line: str) -> None:
        """Write a line soon; called on the event loop."""
        assert self.lock is not None
        with self.lock:
            self._lines.append(line)
            waiting = len(self._lines)
        if waiting == 1:
            asyncio.get_running_loop().call_later(_LONGEST_DELAY, self.flush)
        elif waiting >= _MOST_LINES:
            self.flush()

    def emit(self, record: logging.LogRecord) -> None:
        self._write_lines()
        super().emit(record)

    def flush(self) -> None:
        self._write_lines()
        super().flush()

    def _write_lines(self) -> None:
        assert self.lock is not None
        with self.lock:
            text = "".join(self._lines)
            self._lines.clear()
            if text:
                with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                    self.stream.write(text)


_requests = logging.getLogger("farfunc.requests")
_handler: _Handler | None = None
_time = (0, "")


def log_request(
    level: int, *, request_id: str, method: str, path: str, status: int, seconds: float, error: str | None
) -> None:
    """Log a request that has been answered; called on the event loop.

    A record of ``logging`` for each would cost as much as a small request does, and so would a system call: the line
    is put together here, in the form of all others.
    """
    global _time
    if not _requests.isEnabledFor(level):
        return
    if _handler is None:  # the application runs in a process whose logs are not ours
        milliseconds = round(seconds * 1e3, 3)
        fields = {"method": method, "path": path, "status": status, "ms": milliseconds, "error": error}
        event(_requests, level, "request", request_id=request_id, **fields)
        return
    now = time.time()
    if int(now) != _time[0]:
        _time = (int(now), time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(now)))
    _handler.note(
        f"time={_time[1]}.{int(now % 1 * 1e3):03d} level={logging.getLevelName(level).lower()} logger={_requests.name} "
        f"event=request request_id={request_id} method={_quoted(method)} path={_quoted(path)} status={status} "
        f"ms={seconds * 1e3:.6g}{'' if error is None else f' error={error}'}\n"
    )


def start_logging(level: str, *, quiet: Mapping[str, int] | None = None) -> None:
    """Send all logs to the standard error, in this form."""
    global _handler
    _handler = _Handler(sys.stderr)
    logging.basicConfig(level=level.upper(), handlers=[_handler], force=True)
    for name, own_level in (quiet or {}).items():
        logging.getLogger(name).setLevel(own_level)
