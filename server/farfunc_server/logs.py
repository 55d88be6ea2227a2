"""One line for each event: ``key=value`` pairs that people can read and programs can split."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["event", "start_logging"]

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:@+,%")


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


def start_logging(level: str, *, quiet: Mapping[str, int] | None = None) -> None:
    """Send all logs to the standard error, in this form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name, own_level in (quiet or {}).items():
        logging.getLogger(name).setLevel(own_level)
