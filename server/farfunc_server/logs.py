"""One line for each event: ``key=value`` pairs that people can read and programs can split, or a JSON object.

Both have the same fields in the same order. The web process and its workers write to the same stream in the same form.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import time
import traceback
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TextIO

__all__ = ["FORMATS", "event", "inherited", "log_request", "start_logging"]

FORMATS = ("text", "json")

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:@+,%")

_LONGEST_DELAY = 0.05  # seconds that a request's line may wait to be written with others
_MOST_LINES = 256


class _Formatter(logging.Formatter):
    """The form of a line.

    Parameters
    ----------
    form:
        ``"text"`` or ``"json"``.
    """

    def __init__(self, form: str) -> None:
        super().__init__()
        self.is_json = form == "json"

    def format(self, record: logging.LogRecord) -> str:
        pairs: dict[str, Any] = {
            "time": f"{_second(int(record.created), self.is_json)}.{int(record.msecs):03d}" + "Z" * self.is_json,
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        pairs = {key: value for key, value in pairs.items() if value is not None}
        if self.is_json:
            if record.exc_info:
                pairs["exception"] = "".join(traceback.format_exception(*record.exc_info))
            return json.dumps(pairs, default=str)
        line = " ".join(f"{key}={_quoted(value)}" for key, value in pairs.items())
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


@lru_cache(4)
def _second(seconds: int, is_universal: bool) -> str:
    """A moment, for programs in the time of everyone (RFC 3339), for people in theirs."""
    moment = time.gmtime(seconds) if is_universal else time.localtime(seconds)
    return time.strftime("%Y-%m-%dT%H:%M:%S", moment)


def _quoted(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    # Whatever a client sent stays on one line and within one pair.
    return text if text and _PLAIN.issuperset(text) else json.dumps(text)


def event(logger: logging.Logger, level: int, message: str, **fields: Any) -> None:
    """Log an event with its fields."""
    logger.log(level, message, extra={"fields": fields})


class _Handler(logging.StreamHandler[TextIO]):
    """Writes records at once, and lines of requests some at a time: after a moment, before a record, at the end."""

    def __init__(self, stream: TextIO, form: str) -> None:
        super().__init__(stream)
        self.form = form
        self.setFormatter(_Formatter(form))
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
_json_text = json.encoder.encode_basestring_ascii


def log_request(
    level: int,
    *,
    request_id: str,
    method: str,
    path: str,
    status: int,
    seconds: float,
    error: str | None,
    tenant: str | None = None,
    trace_id: str | None = None,
) -> None:
    """Log a request that has been answered; called on the event loop.

    A record of ``logging`` for each would cost as much as a small request does, and so would a system call: the line
    is put together here, in the form of all others.
    """
    if not _requests.isEnabledFor(level):
        return
    if _handler is None:  # the application runs in a process whose logs are not ours
        milliseconds = round(seconds * 1e3, 3)
        fields = {"method": method, "path": path, "status": status, "ms": milliseconds, "error": error}
        fields |= {"tenant": tenant, "trace_id": trace_id}
        event(_requests, level, "request", request_id=request_id, **fields)
        return
    now = time.time()
    name = logging.getLevelName(level).lower()
    if _handler.form == "json":
        rest = "" if error is None else f', "error": "{error}"'
        rest += "" if tenant is None else f', "tenant": {_json_text(tenant)}'
        rest += "" if trace_id is None else f', "trace_id": "{trace_id}"'
        line = (
            f'{{"time": "{_second(int(now), True)}.{int(now % 1 * 1e3):03d}Z", "level": "{name}", '
            f'"logger": "{_requests.name}", "event": "request", "request_id": "{request_id}", '
            f'"method": {_json_text(method)}, "path": {_json_text(path)}, "status": {status}, '
            f'"ms": {seconds * 1e3:.6g}{rest}}}\n'
        )
    else:
        rest = "" if error is None else f" error={error}"
        rest += "" if tenant is None else f" tenant={_quoted(tenant)}"
        rest += "" if trace_id is None else f" trace_id={trace_id}"
        line = (
            f"time={_second(int(now), False)}.{int(now % 1 * 1e3):03d} level={name} logger={_requests.name} "
            f"event=request request_id={request_id} method={_quoted(method)} path={_quoted(path)} status={status} "
            f"ms={seconds * 1e3:.6g}{rest}\n"
        )
    _handler.note(line)


_level = "info"


def start_logging(level: str, form: str = "text", *, quiet: Mapping[str, int] | None = None) -> None:
    """Send all logs to the standard error, as ``"text"`` or ``"json"``."""
    global _handler, _level
    _handler, _level = _Handler(sys.stderr, form), level
    logging.basicConfig(level=level.upper(), handlers=[_handler], force=True)
    for name, own_level in (quiet or {}).items():
        logging.getLogger(name).setLevel(own_level)


def inherited() -> list[str]:
    """What a process that this one starts is told of the logs, on its command line; nothing where they are not ours."""
    return [] if _handler is None else ["--log-level", _level, "--log-format", _handler.form]
