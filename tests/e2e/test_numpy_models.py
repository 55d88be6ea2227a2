"""Ordinary NumPy models, unchanged, against a real server: values from NumPy, derivatives from finite differences.

With and without torch: the file is marked thin.
"""

import numpy as np
import pytest

import farfunc
from farfunc_protocol.pytree import flatten, unflatten
from support.numpy_models import MODELS

pytestmark = pytest.mark.thin


def _is_array(leaf):
    return isinstance(leaf, np.ndarray | np.generic | float)


def _leaves(tree):
    return [np.asarray(leaf) for leaf in flatten(tree, is_array=_is_array)[0]]


def _finite_differences(function, x):
    """The Jacobian of all outputs by all inputs, by central differences of fourth order."""
    arrays, tree = flatten(x, is_array=_is_array)
    arrays = [np.array(array) for array in arrays]

    def outputs(number, place, step):
        moved = [array.copy() for array in arrays]
        moved[number].flat[place] += step
        leaves = _leaves(function(unflatten(tree, [array if array.ndim else float(array) for array in moved])))
        return np.concatenate([np.ravel(leaf) for leaf in leaves])

    columns = []
    for number, array in enumerate(arrays):
        for place in range(array.size):
            h = 1e-5 * max(1e-2, abs(array.flat[place]))
            near, far = (outputs(number, place, k * h) - outputs(number, place, -k * h) for k in (1, 2))
            columns.append((8 * near - far) / (12 * h))
    return np.stack(columns, axis=-1)


def _as_matrix(jacobian, outputs, inputs):
    blocks = _leaves(jacobian)
    rows = [
        [blocks[i * len(inputs) + j].reshape(out.size, argument.size) for j, argument in enumerate(inputs)]
        for i, out in enumerate(outputs)
    ]
    return np.block(rows)


@pytest.mark.parametrize(("model", "x"), MODELS, ids=[model.__name__ for model, _ in MODELS])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's own, of the sides that np.where does not choose
def test_model(model, x, server_url):
    inputs = _leaves(x)
    before = [array.copy() for array in inputs]
    expected = _leaves(model(x))
    differences = _finite_differences(model, x)
    scale = np.abs(differences).max(axis=1, keepdims=True) + 1e-3 * np.abs(differences).max() + 1e-8

    def with_value(x):
        result = model(x)
        return result, result

    with farfunc.Client(server_url) as client:
        reverse, found = client.jacrev(with_value, has_aux=True)(x)
        forward = client.jacfwd(model)(x)
    found = _leaves(found)
    assert [(leaf.dtype, leaf.shape) for leaf in found] == [(leaf.dtype, leaf.shape) for leaf in expected]
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-9, atol=1e-9)
    for jacobian in (reverse, forward):
        error = np.abs(_as_matrix(jacobian, expected, inputs) - differences) / scale
        assert error.max() < 1e-5
    for array, old in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(array, old)
