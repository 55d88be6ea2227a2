"""How a JSON answer is written."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["json_text"]


def json_text(document: Any) -> str:
    """A JSON answer: ASCII, no NaN, and it ends its line, since many are read in a terminal."""
    return json.dumps(document, allow_nan=False) + "\n"
