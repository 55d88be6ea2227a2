"""The structure of a job's result as a document, for another process that asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from farfunc_protocol.arrays import Array
from farfunc_protocol.errors import FarfuncError
from farfunc_protocol.pytree import flatten, from_json, to_json, unflatten

from ._call import Call
from ._front_ends import numpy_front_end, torch_front_end
from ._plan import Plan

__all__ = ["note_of", "result_of"]


class _Place:
    """Stands for an array."""


def note_of(call: Call) -> dict[str, Any]:
    """What it takes to put the result of a call together elsewhere."""
    plan: Plan = call.entry.payload
    tree = plan.result.fill([_Place() for _ in plan.result.places])
    _, spec = flatten(tree, is_array=lambda leaf: isinstance(leaf, _Place))
    return {"version": 1, "tree": to_json(spec), "arrays": len(plan.result.places), "kind": call.front_end.name}


def result_of(note: Any, arrays: Sequence[Array]) -> Any:
    """Put a result together. Without a note that says how: a list of its arrays.

    Containers of classes that this process does not know come back as tuples and dicts.
    """
    try:
        tree, count, kind = from_json(note["tree"]), note["arrays"], note["kind"]
        if note["version"] != 1 or count > len(arrays):
            raise ValueError
    except (FarfuncError, LookupError, TypeError, ValueError):
        return [numpy_front_end().from_array(array, None) for array in arrays]
    front_end: Any = torch_front_end() if kind == "torch" else numpy_front_end()
    return unflatten(tree, [front_end.from_array(array, None) for array in arrays[:count]])
