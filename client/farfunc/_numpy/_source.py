"""The line of the user's own source that is running."""

from __future__ import annotations

import functools
import linecache
import os
import sys
import sysconfig
from types import FrameType

import numpy

import farfunc_protocol

__all__ = ["is_of_user", "user_line", "user_text"]

_OURS = tuple(
    os.path.dirname(os.path.abspath(path)) + os.sep
    for path in (os.path.dirname(os.path.abspath(__file__)), farfunc_protocol.__file__, numpy.__file__)
)
"""Where farfunc and NumPy lie: the first of these is the folder of the package farfunc itself."""

_LIBRARIES = tuple(
    {os.path.abspath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
"""Where Python's library and the installed packages lie."""


def user_line() -> str | None:
    """The innermost line outside farfunc and NumPy: ``arm.py:12, in forward``. Installed packages come last."""
    frame = _user_frame()
    if frame is None:
        return None
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}, in {frame.f_code.co_name}"


def user_text() -> str:
    """The text of that line, where its file can be read; otherwise nothing."""
    frame = _user_frame()
    return "" if frame is None else linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()


def is_of_user(frame: FrameType) -> bool:
    """Whether a frame runs the user's own code."""
    return _place(frame.f_code.co_filename) == "user"


def _user_frame() -> FrameType | None:
    frame: FrameType | None = sys._getframe(2)
    nearest = None
    while frame is not None:
        place = _place(frame.f_code.co_filename)
        if place == "user":
            return frame
        if place == "library" and nearest is None:
            nearest = frame
        frame = frame.f_back
    return nearest


@functools.lru_cache(maxsize=4096)
def _place(filename: str) -> str:
    path = os.path.abspath(filename)
    if path.startswith(_OURS) or filename.startswith("<frozen"):
        return "ours"
    return "library" if path.startswith(_LIBRARIES) else "user"
