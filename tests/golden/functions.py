"""The functions whose files are kept in this folder, built anew.

python tests/golden/functions.py     # writes the files of a new format version; never rewrites an old one
"""

from __future__ import annotations

import math
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np

from farfunc_protocol.arrays import Array
from farfunc_protocol.document import FORMAT_VERSION, function_to_bytes
from farfunc_protocol.graph import Equation, Function, Graph, TensorType
from farfunc_protocol.pytree import TreeSpec, flatten

FOLDER = Path(__file__).resolve().parent

Pose = namedtuple("Pose", ["position", "angle"])


def _tree(structure: object) -> TreeSpec:
    """The structure with a leaf for each 0, everything else static."""
    return flatten(structure, is_array=lambda leaf: leaf == 0)[1]


def _sine() -> Function:
    vector = TensorType("float64", (5,))
    graph = Graph((vector,), (), (Equation("sin", (0,), {}, (1,)),), (1,))
    return Function(graph, (), _tree(((0,), {})), _tree(0))


def _constants() -> Function:
    types = tuple(
        TensorType(dtype, shape)
        for dtype, shape in (
            ("float32", (2, 3)),
            ("complex128", ()),
            ("bfloat16", (2,)),
            ("bool", (0,)),
            ("int64", (1,)),
        )
    )
    constants = (
        Array.from_numpy(np.arange(6, dtype=np.float32).reshape(2, 3)),
        Array.from_numpy(np.array(1.5 - 2j)),
        Array("bfloat16", (2,), np.array([0x3F80, 0x7FC1], np.uint16)),
        Array.from_numpy(np.zeros(0, bool)),
        None,
    )
    equations = (
        Equation("matmul", (1, 0), {}, (6,)),
        Equation("add.Tensor", (6, 2), {"alpha": 2}, (7,), grad=False),
        Equation("clamp", (6,), {"min": -math.inf, "max": 0.5}, (8,)),
    )
    graph = Graph((TensorType("float32", (3,)),), types, equations, (7, 8, 3, 4, 5))
    return Function(graph, constants, _tree(((0,), {"mode": "same"})), _tree([0, (0, {"b": 0, "a": 0}), 0]))


def _nested() -> Function:
    vector, scalar = TensorType("float64", ("n",)), TensorType("float64", ())
    energy = Graph(
        (vector,),
        (scalar,),
        (
            Equation("mul.Tensor", (0, 1), {}, (2,)),
            Equation("rand_like", (2,), {}, (3,)),
            Equation("cat", ((2, 3),), {}, (4,)),
            Equation("sum", (4,), {}, (5,)),
        ),
        (5,),
    )
    gradient = Graph((vector,), (scalar,), (Equation("grad", (0, 1), {"argnums": (0,)}, (2,), energy),), (2,))
    attributes = {"in_dims": (0,), "out_dims": (1,), "randomness": "different"}
    graph = Graph(
        (TensorType("float64", ("b", "n")), scalar), (), (Equation("vmap", (0, 1), attributes, (2,), gradient),), (2,)
    )
    return Function(graph, (), _tree(((Pose(0, 0),), {})), _tree(0))


FUNCTIONS = {"sine": _sine, "constants": _constants, "nested": _nested}


def path_of(name: str, version: int = FORMAT_VERSION) -> Path:
    """Where the file of a function is kept."""
    return FOLDER / f"v{version}" / f"{name}.safetensors"


def main() -> None:
    for name, build in FUNCTIONS.items():
        path = path_of(name)
        if path.exists():
            sys.exit(f"{path} exists: a changed format needs a new FORMAT_VERSION")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(function_to_bytes(build()))


if __name__ == "__main__":
    main()
