"""Each numbered rule of the validator refuses what breaks it, and says where."""

import numpy as np
import pytest

from farfunc_protocol.arrays import Array
from farfunc_protocol.errors import FarfuncError, InvalidGraph, LimitExceeded, UnsupportedOperator
from farfunc_protocol.graph import Equation, Function, Graph, TensorType
from farfunc_protocol.limits import Limits
from farfunc_protocol.pytree import flatten
from farfunc_protocol.validate import RULES, validate_function, validate_graph

VECTOR = TensorType("float64", (3,))
SCALAR = TensorType("float64", ())
SQUARE = TensorType("float64", (3, 3))
SIN = Graph((VECTOR,), (), (Equation("sin", (0,), {}, (1,)),), (1,))
WITH_CAPTURE = Graph((VECTOR,), (VECTOR,), (Equation("mul.Tensor", (0, 1), {}, (2,)),), (2,))


def graph(*equations, inputs=(VECTOR,), captures=(), outputs=None):
    last = [var for equation in equations for var in equation.outputs][-1:]
    return Graph(inputs, captures, equations, tuple(last) if outputs is None else outputs)


def function(of=SIN, constants=(), in_tree=((0,), {}), out_tree=0):
    return Function(of, constants, flatten(in_tree)[1], flatten(out_tree)[1])


ACCEPTED = {
    "sin": SIN,
    "an input as an output": graph(outputs=(0, 0)),
    "a list operand": graph(Equation("cat", ((0, 0),), {}, (1,))),
    "a null operand": graph(Equation("clamp.Tensor", (0, None, 0), {}, (1,))),
    "an attribute with its default": graph(Equation("add.Tensor", (0, 0), {"alpha": 1}, (1,))),
    "a Jacobian": graph(Equation("jacrev", (0,), {"argnums": (0,)}, (1,), SIN)),
    "a Jacobian with a capture": graph(Equation("jacfwd", (0, 0), {"argnums": (0,)}, (1,), WITH_CAPTURE)),
    "jvp": graph(Equation("jvp", (0, 0), {}, (1, 2), SIN)),
    "vjp": graph(Equation("vjp", (0, 0), {}, (1, 2), SIN)),
    "vmap": graph(Equation("vmap", (0,), {"in_dims": (0,), "out_dims": (0,)}, (1,), SIN), inputs=(SQUARE,)),
    "no_grad": graph(Equation("sin", (0,), {}, (1,), grad=False)),
    "a symbolic dimension": graph(
        Equation("reshape", (0,), {"shape": ({"dim": "n"}, 3)}, (1,)), inputs=(TensorType("float64", ("n", 3)),)
    ),
}


@pytest.mark.parametrize("given", ACCEPTED.values(), ids=ACCEPTED)
def test_good_graphs_are_accepted(given):
    validate_graph(given)


def test_types_are_inferred_through_transforms():
    inner = graph(Equation("jacrev", (0,), {"argnums": (0,)}, (1,), SIN))
    outer = graph(Equation("vmap", (0,), {"in_dims": (0,), "out_dims": (0,)}, (1,), inner), inputs=(SQUARE,))
    assert validate_graph(outer) == (TensorType("float64", (3, 3, 3)),)


REFUSED = {
    "G1 unknown op": ("G1", graph(Equation("sinn", (0,), {}, (1,)))),
    "G1 a Python name": ("G1", graph(Equation("os.system", (0,), {}, (1,)))),
    "G1 an in-place op": ("G1", graph(Equation("sin_", (0,), {}, (1,)))),
    "G2 too few operands": ("G2", graph(Equation("add.Tensor", (0,), {}, (1,)))),
    "G2 too many operands": ("G2", graph(Equation("sin", (0, 0), {}, (1,)))),
    "G2 null where a tensor must be": ("G2", graph(Equation("sin", (None,), {}, (1,)))),
    "G2 a list where one must be": ("G2", graph(Equation("sin", ((0,),), {}, (1,)))),
    "G2 one where a list must be": ("G2", graph(Equation("cat", (0,), {}, (1,)))),
    "G2 null in a list": ("G2", graph(Equation("cat", ((0, None),), {}, (1,)))),
    "G3 used before defined": ("G3", graph(Equation("sin", (1,), {}, (1,)))),
    "G3 an output that is not defined": ("G3", graph(outputs=(7,))),
    "G3 a huge variable": ("G3", graph(Equation("sin", (2**70,), {}, (1,)))),
    "G4 a gap in the numbers": ("G4", graph(Equation("sin", (0,), {}, (2,)))),
    "G4 a variable defined twice": ("G4", graph(Equation("sin", (0,), {}, (0,)))),
    "G4 too few outputs": ("G4", graph(Equation("sort", (0,), {}, (1,)))),
    "G4 too many outputs": ("G4", graph(Equation("sin", (0,), {}, (1, 2)))),
    "G4 no outputs": ("G4", graph(Equation("sin", (0,), {}, ()), outputs=())),
    "G4 a split in the wrong number": ("G4", graph(Equation("unbind.int", (0,), {}, (1, 2)))),
    "G5 an unknown attribute": ("G5", graph(Equation("sin", (0,), {"dim": 0}, (1,)))),
    "G5 a missing attribute": ("G5", graph(Equation("select.int", (0,), {"dim": 0}, (1,)))),
    "G5 a wrong type": ("G5", graph(Equation("select.int", (0,), {"dim": "0", "index": 0}, (1,)))),
    "G5 beyond 64 bits": ("G5", graph(Equation("select.int", (0,), {"dim": 0, "index": 2**64}, (1,)))),
    "G5 an unknown dtype": ("G5", graph(Equation("to.dtype", (0,), {"dtype": "object"}, (1,)))),
    "G6 shapes that do not fit": (
        "G6",
        graph(Equation("add.Tensor", (0, 1), {}, (2,)), inputs=(VECTOR, TensorType("float64", (4,)))),
    ),
    "G6 an axis that is not there": ("G6", graph(Equation("select.int", (0,), {"dim": 5, "index": 0}, (1,)))),
    "G7 a transform without a body": ("G7", graph(Equation("jacrev", (0,), {"argnums": (0,)}, (1,)))),
    "G7 an op with a body": ("G7", graph(Equation("sin", (0,), {}, (1,), SIN))),
    "G8 a capture is missing": ("G8", graph(Equation("jacrev", (0,), {"argnums": (0,)}, (1,), WITH_CAPTURE))),
    "G8 a capture of another type": (
        "G8",
        graph(Equation("jacrev", (0, 1), {"argnums": (0,)}, (2,), WITH_CAPTURE), inputs=(VECTOR, SQUARE)),
    ),
    "G8 a tangent is missing": ("G8", graph(Equation("jvp", (0,), {}, (1, 2), SIN))),
    "G8 a list": ("G8", graph(Equation("jacrev", ((0,),), {"argnums": (0,)}, (1,), SIN))),
    "G9 a position that is not there": ("G9", graph(Equation("jacrev", (0,), {"argnums": (1,)}, (1,), SIN))),
    "G9 the gradient of a vector": ("G9", graph(Equation("grad", (0,), {"argnums": (0,)}, (1,), SIN))),
    "G9 an unknown parameter": ("G9", graph(Equation("jacrev", (0,), {"argnums": (0,), "x": 1}, (1,), SIN))),
    "G9 leaves of another shape": (
        "G9",
        graph(Equation("jacrev", (0,), {"argnums": (0,)}, (1,), SIN), inputs=(SQUARE,)),
    ),
    "G10 a dimension of no input": (
        "G10",
        graph(Equation("reshape", (0,), {"shape": ({"dim": "m"},)}, (1,))),
    ),
}


@pytest.mark.parametrize(("rule", "given"), REFUSED.values(), ids=REFUSED)
def test_bad_graphs_are_refused(rule, given):
    with pytest.raises(FarfuncError) as caught:
        validate_graph(given)
    assert caught.value.rule == rule
    assert isinstance(caught.value, InvalidGraph | UnsupportedOperator)
    assert caught.value.where.startswith("graph.")


REFUSED_FUNCTIONS = {
    "G11 too few": ("G11", function(WITH_CAPTURE)),
    "G11 another type": ("G11", function(WITH_CAPTURE, (Array.from_numpy(np.ones(4)),))),
    "G12 arguments": ("G12", function(in_tree=((0, 0), {}))),
    "G12 no kwargs": ("G12", function(in_tree=(0,))),
    "G12 result": ("G12", function(out_tree=(0, 0))),
}


@pytest.mark.parametrize(("rule", "given"), REFUSED_FUNCTIONS.values(), ids=REFUSED_FUNCTIONS)
def test_bad_functions_are_refused(rule, given):
    with pytest.raises(InvalidGraph) as caught:
        validate_function(given)
    assert caught.value.rule == rule


def test_every_rule_has_a_test():
    assert {rule for rule, _ in (*REFUSED.values(), *REFUSED_FUNCTIONS.values())} == set(RULES)


def test_open_captures_are_accepted():
    validate_function(function(WITH_CAPTURE, (None,)))


def test_an_error_shows_the_equations_around_the_fault():
    body = graph(*(Equation("sin", (i,), {}, (i + 1,)) for i in range(5)), Equation("nothing", (5,), {}, (6,)))
    given = graph(Equation("jacrev", (0,), {"argnums": (0,)}, (1,), body))
    with pytest.raises(UnsupportedOperator) as caught:
        validate_graph(given)
    assert caught.value.where == "graph.equations[0].body.equations[5].op"
    assert "> [5] %6 = nothing(%5)" in caught.value.detail
    assert "  [4] %5 = sin(%4)" in caught.value.detail


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sinn", "did you mean sin"),
        ("mul", "did you mean mul.Tensor or mul.Scalar"),
        ("aten::sin", "write sin;"),
        ("aten.add.Tensor", "write add.Tensor;"),
        ("torch.ops.aten.sin.default", "write sin;"),
        ("zzzzzzzz", "listed at /v1/ops"),
    ],
)
def test_an_unknown_op_has_its_nearest_names_beside_it(name, words):
    with pytest.raises(UnsupportedOperator) as caught:
        validate_graph(graph(Equation(name, (0,), {}, (1,))))
    assert words in caught.value.remedy


def test_results_larger_than_the_limit_are_refused_before_anything_is_allocated():
    long = graph(Equation("expand", (0,), {"size": (1 << 30, 3)}, (1,)))
    with pytest.raises(LimitExceeded, match="elements"):
        validate_graph(long, limits=Limits(elements=1 << 20))
