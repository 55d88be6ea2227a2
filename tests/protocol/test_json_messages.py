"""Evaluation requests as JSON: the user's form of the transforms, trees of arrays."""

import numpy as np
import pytest

from farfunc_protocol.arrays import Array
from farfunc_protocol.errors import FarfuncError, InvalidRequest, ProtocolError
from farfunc_protocol.graph import Equation, Function, Graph, TensorType
from farfunc_protocol.json_messages import encode_json_response, read_json_request
from farfunc_protocol.pytree import flatten
from farfunc_protocol.transforms import FlatTransform

VECTOR, SCALAR = TensorType("float64", (2,)), TensorType("float64", ())


def _is_leaf(value):
    return value == 0


def function(in_tree, out_tree, inputs, outputs):
    graph = Graph(inputs, (), (Equation("sin", (0,), {}, (len(inputs),)),), outputs)
    trees = [flatten(tree, is_array=_is_leaf)[1] for tree in (in_tree, out_tree)]
    return Function(graph, (), *trees)


SIN = function(((0,), {}), 0, (VECTOR,), (1,))
TREES = function(
    (({"w": 0, "b": 0}, [0, "tanh"]), {"scale": 0, "mode": "same"}), (0, {"aux": 0}), (VECTOR,) * 4, (4, 1)
)


def bind(function, output_types, **document):
    request = read_json_request({"function": "f", **document})
    return request.bind(function, output_types)


def test_plain_lists_take_the_dtype_of_the_function():
    request, result = bind(SIN, [VECTOR], args=[[1, 2]], transforms=[{"transform": "jacfwd"}])
    assert request.arrays == (Array.from_numpy(np.array([1.0, 2.0])),)
    assert request.transforms == (FlatTransform("jacfwd", {"argnums": (0,)}),)
    assert result == TensorType("float64", (2, 2))


def test_a_batch_may_have_any_length():
    chain = [{"transform": "vmap", "in_dims": [1]}, {"transform": "jacrev"}]
    request, result = bind(SIN, [VECTOR], args=[[[1, 2, 3], [4, 5, 6]]], transforms=chain)
    assert request.arrays[0].shape == (2, 3)
    assert request.transforms[0] == FlatTransform("vmap", {"in_dims": (1,), "out_dims": (0,)})
    assert result == TensorType("float64", (3, 2, 2))


def test_trees_statics_and_kwargs():
    args = [{"b": [3, 4], "w": [1, 2]}, [[5, 6], "tanh"]]
    request, result = bind(TREES, [VECTOR, VECTOR], args=args, kwargs={"scale": [7, 8]})
    assert [array.to_numpy().tolist() for array in request.arrays] == [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert result == (VECTOR, {"aux": VECTOR})


def test_products_take_primals_and_directions():
    request, result = bind(SIN, [VECTOR], args=[[[1, 2]], [[3, 4]]], transforms=[{"transform": "jvp"}])
    assert len(request.arrays) == 2
    assert result == (VECTOR, VECTOR)
    request, result = bind(SIN, [VECTOR], args=[[[1, 2]], [3, 4]], transforms=[{"transform": "vjp"}])
    assert len(request.arrays) == 2
    assert result == (VECTOR, (VECTOR,))


def test_a_vjp_of_a_batch():
    chain = [{"transform": "vjp"}, {"transform": "vmap"}]
    request, result = bind(SIN, [VECTOR], args=[[[[1, 2]]], [[3, 4]]], transforms=chain)
    assert [array.shape for array in request.arrays] == [(1, 2), (1, 2)]
    assert result == (TensorType("float64", (1, 2)), (TensorType("float64", (1, 2)),))


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({}, "request"),
        ({"args": 3}, "request.args"),
        ({"args": []}, "args"),
        ({"args": [[1, 2, 3]]}, "args[0]"),
        ({"args": [["x", 2]]}, "args[0][0]"),
        ({"args": [{"dtype": "float32", "data": [1, 2]}]}, "args[0]"),
        ({"args": [[1, 2]], "kwargs": {"x": 1}}, "kwargs"),
        ({"args": [[1, 2]], "kwargs": []}, "request.kwargs"),
        ({"args": [[1, 2]], "seed": -1}, "request.seed"),
        ({"args": [[1, 2]], "encoding": "pickle"}, "request.encoding"),
        ({"args": [[1, 2]], "transforms": [{"transform": "exec"}]}, "request.transforms[0]"),
        ({"args": [[1, 2]], "transforms": [{"transform": "jacrev"}] * 17}, "request.transforms"),
        ({"args": [[1, 2]], "surplus": 1}, "request"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path(document, where):
    with pytest.raises(ProtocolError) as caught:
        bind(SIN, [VECTOR], **document)
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ([{"w": [1, 2]}, [[5, 6], "tanh"]], {"scale": [7, 8]}),
        ([{"w": [1, 2], "b": [1, 2], "c": 0}, [[5, 6], "tanh"]], {"scale": [7, 8]}),
        ([{"w": [1, 2], "b": [1, 2]}, [[5, 6], "relu"]], {"scale": [7, 8]}),
        ([{"w": [1, 2], "b": [1, 2]}, [[5, 6], "tanh"]], {}),
        ([{"w": [1, 2], "b": [1, 2]}, [[5, 6], "tanh"]], {"scale": [7, 8], "mode": "other"}),
    ],
)
def test_trees_that_differ_are_refused(args, kwargs):
    with pytest.raises(InvalidRequest):
        bind(TREES, [VECTOR, VECTOR], args=args, kwargs=kwargs)


@pytest.mark.parametrize(
    "chain",
    [
        [{"transform": "vmap", "in_dims": [5]}],
        [{"transform": "vmap", "in_dims": [None]}],
        [{"transform": "jacfwd", "argnums": 3}],
        [{"transform": "grad"}],
    ],
)
def test_what_torch_func_refuses_is_refused(chain):
    with pytest.raises(FarfuncError) as caught:
        bind(SIN, [VECTOR], args=[[[1, 2]]], transforms=chain)
    assert 400 <= caught.value.status < 500


def test_the_response_has_the_structure_of_the_result():
    arrays = [Array.from_numpy(np.array(1.5)), Array.from_numpy(np.array([np.nan, 2.0]))]
    document = encode_json_response(arrays, (SCALAR, {"aux": VECTOR}, None, "text"), "lists")
    assert document["result"][0] == {"dtype": "float64", "data": 1.5}
    assert document["result"][1]["aux"]["data"] == ["NaN", 2.0]
    assert document["result"][2:] == [None, "text"]
    packed = encode_json_response(arrays, [SCALAR, VECTOR], "base64")["result"]
    assert packed[0]["base64"] == "AAAAAAAA+D8="


@pytest.mark.parametrize(
    ("function", "document", "remedy"),
    [
        (SIN, {"args": [1, 2]}, "args is the list of the arguments: one vector stands in it as [[1, 2, 3]]"),
        (SIN, {"args": [[1, 2]], "transforms": [{"transform": "jvp"}]}, "give [[float64[2]], [float64[2]]]"),
        (SIN, {"args": [[[1, 2]]], "transforms": [{"transform": "vjp"}]}, "give [[float64[2]], float64[2]]"),
        (TREES, {"args": [[1]]}, 'give [{"w": float64[2], "b": float64[2]}, [float64[2], "tanh"]]'),
        (SIN, {"args": [[[1, 2]]]}, "one axis more is mapped by a vmap in the transforms; each vmap takes one axis"),
        (SIN, {"args": [[1, 2]], "transforms": [{"transform": "vmap"}]}, "give 2 axes; each vmap takes one of them"),
        (SIN, {"args": [1.0]}, "give 1 axis"),
    ],
)
def test_what_has_another_form_is_told_the_right_one(function, document, remedy):
    with pytest.raises(InvalidRequest) as caught:
        bind(function, [VECTOR] * len(function.graph.outputs), **document)
    assert caught.value.remedy == remedy


OPEN = function(((0, 0), {}), 0, (TensorType("float64", ("n", "m")), TensorType("float64", ("n",))), (2,))


def lengths(function, **document):
    return read_json_request({"function": "f", **document}).lengths(function)


def test_the_arrays_bind_symbolic_dimensions():
    assert lengths(OPEN, args=[[[1, 2, 3]], [1]]) == {"n": 1, "m": 3}
    assert lengths(SIN, args=["anything"]) == {}


@pytest.mark.parametrize(
    ("chain", "args"),
    [
        ([{"transform": "vmap"}], [[[[1, 2, 3]]] * 5, [[1]] * 5]),
        ([{"transform": "vmap", "in_dims": [None, 1]}], [[[1, 2, 3]], [[1, 2]]]),
        ([{"transform": "jvp"}, {"transform": "jacfwd"}], [[[[1, 2, 3]], [1]], None]),
        ([{"transform": "vjp"}, {"transform": "vjp"}], [[[[[1, 2, 3]], [1]], None], None]),
        ([{"transform": "vmap", "in_dims": [[None, 0], None]}, {"transform": "vjp"}], [[[[1, 2, 3]], [[1], [2]]], 0]),
        ([{"transform": "vmap", "in_dims": [0, None]}, {"transform": "vjp"}], [[[[[1, 2, 3]]] * 2, [[1], [2]]], 0]),
    ],
)
def test_they_are_the_primals_of_the_function_itself(chain, args):
    assert lengths(OPEN, transforms=chain, args=args) == {"n": 1, "m": 3}


@pytest.mark.parametrize(
    ("chain", "args", "where"),
    [
        ([], [[[1, 2, 3]], [1, 2]], "args[1]"),
        ([{"transform": "vmap"}], [[[[1, 2, 3]]], [[1, 2]]], "args[1]"),
        ([{"transform": "vjp"}], [[[[1, 2, 3]], [1, 2]], 0], "args[0][1]"),
        ([{"transform": "jvp"}], [[[[1, 2, 3]], [1, "x"]], 0], "args[0][1][1]"),
        ([{"transform": "jvp"}], [[[[1, 2, 3]]], 0], "args[0]"),
        ([{"transform": "jvp"}], [[1, 2, 3]], "args"),
    ],
)
def test_what_does_not_fit_symbolic_dimensions_is_pointed_at(chain, args, where):
    with pytest.raises(FarfuncError) as raised:
        lengths(OPEN, transforms=chain, args=args)
    assert raised.value.where == where


def test_a_request_is_bound_at_its_lengths():
    request = read_json_request({"function": "f", "args": [[[1, 2, 3]], [1]], "transforms": [{"transform": "jacrev"}]})
    found = request.lengths(OPEN)
    bound, result = request.bind(OPEN, [TensorType("float64", (1, 3))], found)
    assert [array.shape for array in bound.arrays] == [(1, 3), (1,)]
    assert result == TensorType("float64", (1, 3, 1, 3))
    with pytest.raises(InvalidRequest, match=r"float64\[1,3\] is given, float64\[2,3\] is expected"):
        request.bind(OPEN, [TensorType("float64", (1, 3))], {"n": 2, "m": 3})


def test_an_empty_list_is_an_empty_symbolic_axis():
    empty = function(((0,), {}), 0, (TensorType("float64", ("n", 3)),), (1,))
    request = read_json_request({"function": "f", "args": [[]]})
    assert request.lengths(empty) == {"n": 0}
    assert request.arrays["args[0]"].shape == (0, 3)
