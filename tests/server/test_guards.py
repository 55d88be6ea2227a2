"""Operators that read outside their operands, or crash, are refused before they do."""

import numpy as np
import pytest
import torch

from farfunc_protocol.errors import EvaluationError
from farfunc_protocol.graph import Equation, Graph
from farfunc_protocol.ops import OPS
from farfunc_protocol.transforms import FlatTransform
from farfunc_server.evaluation.engine import Engine
from farfunc_server.evaluation.guards import GUARDS
from support.graphs import array, wrapped

ENGINE = Engine()
IMAGES = array(np.ones((2, 3, 4, 4)))
ONE, THREE = array([1.0]), array([1.0, 2.0, 3.0])
NORM = {"momentum": 0.1, "eps": 1e-5}
PLAIN = {"stride": (1,), "padding": (0,), "dilation": (1,), "transposed": False, "output_padding": (0,)}
LOGITS = array(np.log(np.full((5, 2, 4), 0.25)))
TARGETS = array([[1, 2], [1, 3]], "int64")
LENGTHS = {"input_lengths": (5, 5), "target_lengths": (2, 2)}


def function_of(op, operands, attributes):
    """One equation, and the arrays to call it with."""
    arrays, inputs = [], []

    def take(operand):
        if operand is None:
            return None
        arrays.append(operand)
        return len(arrays) - 1

    for operand in operands:
        inputs.append(tuple(map(take, operand)) if isinstance(operand, tuple) else take(operand))
    outputs = tuple(range(len(arrays), len(arrays) + len(OPS[op].schema.returns)))
    graph = Graph(tuple(a.type for a in arrays), (), (Equation(op, tuple(inputs), attributes, outputs),), outputs)
    return wrapped(graph), arrays


REFUSED = {
    "no statistics": ("native_batch_norm", (IMAGES, None, None, None, None), {"training": False, **NORM}),
    "a short weight": ("native_batch_norm", (IMAGES, ONE, None, THREE, THREE), {"training": False, **NORM}),
    "short statistics": ("_native_batch_norm_legit_no_training", (IMAGES, None, None, ONE, ONE), NORM),
    "a flat weight": (
        "convolution_backward",
        (THREE, THREE, ONE),
        {"bias_sizes": (), "groups": 1, "output_mask": (True, True, True), **PLAIN},
    ),
    "no groups": (
        "convolution_backward",
        (array(np.ones((1, 1, 3))), array(np.ones((1, 1, 3))), array(np.ones((1, 1, 1)))),
        {"bias_sizes": (), "groups": 0, "output_mask": (True, True, True), **PLAIN},
    ),
    "labels out of range": ("ctc_loss.IntList", (LOGITS, array([[10**6, 2], [1, 3]], "int64")), LENGTHS),
    "negative labels": ("ctc_loss.IntList", (LOGITS, array([[-1, 2], [1, 3]], "int64")), LENGTHS),
    "lengths taken on trust": (
        "segment_reduce",
        (THREE, array([10**6], "int64"), None, None),
        {"reduce": "sum", "unsafe": True},
    ),
    "offsets out of range": ("segment_reduce", (THREE, None, None, array([0, 10**6], "int64")), {"reduce": "sum"}),
    "falling offsets": ("segment_reduce", (THREE, None, None, array([0, 3, 1], "int64")), {"reduce": "sum"}),
    "samples out of range": (
        "fractional_max_pool2d",
        (array(np.ones((1, 4, 4))), array(np.full((1, 1, 2), 1e9))),
        {"kernel_size": (2, 2), "output_size": (2, 2)},
    ),
    "samples that are no numbers": (
        "fractional_max_pool2d",
        (array(np.ones((1, 4, 4))), array(np.full((1, 1, 2), np.nan))),
        {"kernel_size": (2, 2), "output_size": (2, 2)},
    ),
    "no index": ("_unsafe_masked_index", (THREE, array([True] * 3, "bool"), (None,)), {"fill": 0}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    op, operands, attributes = REFUSED[name]
    function, arrays = function_of(op, operands, attributes)
    with pytest.raises(EvaluationError) as caught:
        ENGINE.evaluate(function, (), arrays)
    assert caught.value.where == f"equations[0] ({op})"
    arrays[0] = array(np.stack([arrays[0].data] * 2))
    axes = {"in_dims": (0, *(None for _ in arrays[1:])), "out_dims": (0,) * len(function.graph.outputs)}
    with pytest.raises(EvaluationError):
        ENGINE.evaluate(function, [FlatTransform("vmap", axes)], arrays)


def test_every_guard_has_a_row_and_the_rest_goes_through():
    assert set(GUARDS) <= set(OPS)
    function, arrays = function_of("ctc_loss.IntList", (LOGITS, TARGETS), LENGTHS)
    expected = torch.nn.functional.ctc_loss(
        torch.from_numpy(LOGITS.data), torch.from_numpy(TARGETS.data), (5, 5), (2, 2)
    )
    np.testing.assert_array_equal(ENGINE.evaluate(function, (), arrays)[0].data, expected.numpy())
    training = {"training": True, **NORM}
    function, arrays = function_of("native_batch_norm", (IMAGES, THREE, None, None, None), training)
    assert ENGINE.evaluate(function, (), arrays)[0].shape == IMAGES.shape
    trusted = {"reduce": "sum", "unsafe": True}
    function, arrays = function_of("segment_reduce", (THREE, array([1, 1], "int64"), None, None), trusted)
    np.testing.assert_array_equal(ENGINE.evaluate(function, (), arrays)[0].data, [1.0, 2.0])
    arrays[1] = array([[1, 1, 2], [2, 1, 1]], "int64")  # the batch lies last, where a careless check would add it up
    batched = FlatTransform("vmap", {"in_dims": (None, 1), "out_dims": (0,)})
    found = ENGINE.evaluate(function, [batched], arrays)[0].data
    np.testing.assert_array_equal(found, [[1.0, 5.0], [1.0, 2.0], [3.0, 3.0]])
    function, arrays = function_of("segment_reduce", (THREE, None, None, array([0, 2, 3], "int64")), {"reduce": "sum"})
    np.testing.assert_array_equal(ENGINE.evaluate(function, (), arrays)[0].data, [3.0, 3.0])


def test_samples_that_torch_takes_stay_within_the_input():
    rng = np.random.default_rng(0)
    data = rng.standard_normal((1, 1, 16, 16))
    for sample in (-1024.0, -8.3, -1.0, -1e-9, 0.0, 0.5, 1.0, 7.7, 1023.9):
        samples = np.full((1, 1, 2), sample)
        operands = (array(data), array(samples))
        for size in (2, 7, 8, 15):
            function, arrays = function_of(
                "fractional_max_pool2d", operands, {"kernel_size": (2, 2), "output_size": (size, size)}
            )
            values, places = (found.data for found in ENGINE.evaluate(function, (), arrays))
            np.testing.assert_array_equal(data.reshape(-1)[places], values)  # an index error where it is out of range
