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

_VARIABLES = ("LOAD_FAST", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF")


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

    What is called begins where the call expression begins: a variable, and then attributes of it.
    """
    instructions = list(dis.get_instructions(code))
    # Python 3.11 counts the caches behind an instruction that calls a function of Python.
    call = next((item for item in reversed(instructions) if item.offset <= offset), None)
    if call is None or call.positions is None or call.positions.lineno is None:
        return None, False
    start = (call.positions.lineno, call.positions.col_offset)
    chain: list[Any] = []
    for item in instructions:
        if item.offset >= call.offset:
            break
        where = item.positions
        if where is None or (where.lineno, where.col_offset) != start:
            continue
        if item.opname.startswith(_VARIABLES):
            chain = [item]
        elif item.opname in ("LOAD_ATTR", "LOAD_METHOD") and chain:
            chain.append(item)
    if not chain:
        return None, False
    name = chain[-1].argval[-1] if isinstance(chain[-1].argval, tuple) else chain[-1].argval
    return (name, len(chain) == 1) if isinstance(name, str) else (None, False)
