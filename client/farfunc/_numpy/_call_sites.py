"""Whether a call was written on a line of Python, or made by compiled code that has no frame of its own.

``np.random.default_rng(0)`` calls ``np.zeros`` from Cython: the nearest Python frame is then the
user's, but the call that this frame is executing is not one of ``zeros``.
"""

from __future__ import annotations

import builtins
import dis
import functools
from types import FrameType
from typing import Any

__all__ = ["calls"]


def calls(frame: FrameType, name: str, wrapper: Any) -> bool:
    """Whether the call that a frame is executing is one of the function ``wrapper``, known as ``name``.

    Through another variable it is recognised, too, and through ``map`` and its kind.
    """
    callee, is_variable = _callee(frame.f_code, frame.f_lasti)
    if callee is None or callee == name:
        return callee is not None or name in frame.f_code.co_names
    if not is_variable:
        return False
    found = frame.f_locals.get(callee, frame.f_globals.get(callee))
    return found is wrapper or (found is None and hasattr(builtins, callee))


@functools.lru_cache(maxsize=4096)
def _callee(code: Any, offset: int) -> tuple[str | None, bool]:
    """The name that is called by the instruction at an offset, and whether it is a plain variable.

    What is called begins where the call expression begins, and is loaded last of all that begins there.
    """
    instructions = list(dis.get_instructions(code))
    call = next((item for item in instructions if item.offset == offset), None)
    if call is None or call.positions is None or call.positions.lineno is None:
        return None, False
    start = (call.positions.lineno, call.positions.col_offset)
    loads = []
    for item in instructions:
        if item.offset >= offset:
            break
        where = item.positions
        if item.opname.startswith("LOAD_") and where and (where.lineno, where.col_offset) == start:
            loads.append(item)
    if not loads:
        return None, False
    name = loads[-1].argval[-1] if isinstance(loads[-1].argval, tuple) else loads[-1].argval
    is_variable = loads[-1].opname.startswith(("LOAD_FAST", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF"))
    return (name, is_variable) if isinstance(name, str) else (None, False)
