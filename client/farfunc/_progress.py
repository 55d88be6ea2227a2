"""A bar that shows how far a job has come: in a terminal, in a notebook, or as lines in a log."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any, TextIO

from ._job_session import JobInfo

__all__ = ["Bar"]

_WIDTH = 30


def _text(info: JobInfo) -> str:
    filled = round(_WIDTH * info.fraction)
    return f"{info.label or info.id} [{'#' * filled}{'-' * (_WIDTH - filled)}] {info}"


class Bar:
    """Shows each state that it is given in the place of the one before.

    Parameters
    ----------
    stream:
        Where there is no notebook. In what is no terminal a line is written for each tenth.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._shown = ""
        self._tenth: tuple[str, int] | None = None
        self._cell = _notebook_cell()

    def show(self, info: JobInfo) -> None:
        """Show a state."""
        text = _text(info)
        if self._cell is not None:
            self._cell(text)
        elif self._is_terminal:
            # What the line before left is written over, and no more: it may wrap.
            self._write("\r" + text.ljust(len(self._shown)))
        elif (tenth := (info.state, int(10 * info.fraction))) != self._tenth:
            self._tenth = tenth
            self._write(text + "\n")
        self._shown = text

    def close(self) -> None:
        """Leave the last state where it is."""
        if self._is_terminal and self._cell is None and self._shown:
            self._write("\n")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            self._stream.write(text)
            self._stream.flush()


def _notebook_cell() -> Callable[[str], None] | None:
    """What writes into a cell's output, where this is a notebook: it has imported what that takes."""
    ipython, display = sys.modules.get("IPython"), sys.modules.get("IPython.display")
    shell = None if ipython is None else ipython.get_ipython()
    if display is None or shell is None or not hasattr(shell, "kernel"):
        return None
    show = display.display
    handle: Any = None

    def write(text: str) -> None:
        nonlocal handle
        data = {"text/plain": text}
        if handle is None:
            handle = show(data, raw=True, display_id=True)
        else:
            handle.update(data, raw=True)

    return write
