"""What transforms do to trees, types and documents, without torch."""

import json

import numpy as np
import pytest

from farfunc_protocol.errors import (
    FarfuncError,
    InvalidGraph,
    InvalidRequest,
    TransformError,
    TransformIndexError,
    TransformTypeError,
    TransformValueError,
)
from farfunc_protocol.pytree import flatten
from farfunc_protocol.tensor_type import TensorType
from farfunc_protocol.transforms import (
    TRANSFORM_NAMES,
    FlatTransform,
    Grad,
    GradAndValue,
    Hessian,
    Jacfwd,
    Jacrev,
    Jvp,
    Vjp,
    Vmap,
    check_flat,
    flat_inner_types,
    flat_result_types,
    from_json,
    primal_count,
    to_json,
)

pytestmark = pytest.mark.thin


def f32(*shape):
    return TensorType("float32", shape)


def f64(*shape):
    return TensorType("float64", shape)


def i64(*shape):
    return TensorType("int64", shape)


def arrays(tree):
    return [leaf for leaf in flatten(tree)[0] if isinstance(leaf, TensorType)]


# transform, what it is called with, what the function inside returns -> what it sees, what comes out
RULES = [
    (Jacfwd(), (f64(3),), {"y": f64(2)}, (f64(3),), {"y": f64(2, 3)}),
    (Jacfwd(), (f32(3),), f64(2), (f32(3),), f64(2, 3)),
    (Jacrev(), (f32(3),), f64(2), (f32(3),), f32(2, 3)),
    (Jacfwd(-1), (i64(), f64(3)), f64(), (i64(), f64(3)), f64(3)),
    (Jacrev((1, 0)), (f64(2), f64(3)), f64(4), (f64(2), f64(3)), (f64(4, 3), f64(4, 2))),
    (Jacrev((0,)), (f64(2),), [f64()], (f64(2),), [(f64(2),)]),
    (Jacrev(), ({"w": f64(2, 3), "b": [f64(2)]},), (f64(2), f64()), None, None),
    (Jacfwd(has_aux=True), (f64(3),), (f64(2), {"n": i64(5)}), (f64(3),), (f64(2, 3), {"n": i64(5)})),
    (Jacfwd(None), (f64(2), f64(3)), f64(), None, (f64(2), f64(3))),
    (Hessian(), (f64(3),), f64(), (f64(3),), f64(3, 3)),
    (Hessian((0, 1)), (f64(3), f32(2)), f64(), None, ((f64(3, 3), f64(3, 2)), (f32(2, 3), f32(2, 2)))),
    (Grad(), ({"w": f64(3)}, "name"), f64(), ({"w": f64(3)}, "name"), {"w": f64(3)}),
    (Grad((0, 1), has_aux=True), (f64(3), f64(2)), (f64(), [i64()]), None, ((f64(3), f64(2)), [i64()])),
    (GradAndValue(), (f64(3),), f64(), None, (f64(3), f64())),
    (GradAndValue(has_aux=True), (f64(3),), (f64(), f64(7)), None, (f64(3), (f64(), f64(7)))),
    (Vmap(), (f64(8, 3),), f64(2), (f64(3),), f64(8, 2)),
    (Vmap((1, None), -1), (f64(3, 8), f64(4)), f64(2), (f64(3), f64(4)), f64(2, 8)),
    (Vmap(({"x": 0, "y": None},)), ({"x": f64(8), "y": f64(8)},), f64(), ({"x": f64(), "y": f64(8)},), f64(8)),
    (Vmap((0, None), (0, None)), (f64(8), "mean"), (f64(), "text"), (f64(), "mean"), (f64(8), "text")),
    (Vmap(), (f64("n", 3),), f64(2), (f64(3),), f64("n", 2)),
    (Jvp(), ((f64(3),), (f64(3),)), (f64(2),), (f64(3),), ((f64(2),), (f64(2),))),
    (Jvp(has_aux=True), ((f64(3),), (f64(3),)), (f64(2), i64()), (f64(3),), (f64(2), f64(2), i64())),
    (Vjp(), ((f64(3), [f64()]), {"y": f64(2)}), {"y": f64(2)}, None, ({"y": f64(2)}, (f64(3), [f64()]))),
    (Vjp(has_aux=True), ((f64(3),), f64(2)), (f64(2), f64(9)), (f64(3),), (f64(2), (f64(3),), f64(9))),
]


@pytest.mark.parametrize(("transform", "args", "out", "inside", "outside"), RULES)
def test_trees_and_flat_types_agree(transform, args, out, inside, outside):
    inner_args, inner_kwargs = transform.inner(args, {})
    result = transform.outer(args, {}, out)
    flat = transform.flat(args, {}, out)
    if inside is not None:
        assert inner_args == inside
    if outside is not None:
        assert result == outside
    check_flat(flat, arrays(args), arrays(out), body_inputs=arrays(inner_args))
    assert list(flat_inner_types(flat, arrays(args), len(arrays(inner_args)))) == arrays((inner_args, inner_kwargs))
    assert list(flat_result_types(flat, arrays(args), arrays(out))) == arrays(result)
    assert FlatTransform.from_json(json.loads(json.dumps(flat.to_json()))) == flat


def test_kwargs_are_neither_mapped_nor_differentiated():
    args, kwargs = Vmap().inner((f64(8, 3),), {"scale": f64(8)})
    assert (args, kwargs) == ((f64(3),), {"scale": f64(8)})
    assert Vmap().flat((f64(8, 3),), {"scale": f64(8)}, f64()).attributes["in_dims"] == (0, None)
    assert Grad().flat((f64(3),), {"scale": f64()}, f64()).attributes["argnums"] == (0,)


# transform, args, out -> class, part of the message (out None: the arguments are refused)
REFUSED = [
    (lambda: Jacfwd(2).inner((f64(),), {}), TransformError, "Got argnum=2, but only 1 positional inputs"),
    (lambda: Jacrev([0]).inner((f64(),), {}), TransformError, "argnums must be int or Tuple"),
    (lambda: Grad((0.0,)).inner((f64(),), {}), TransformError, "argnum must be int"),
    (lambda: Grad(()).inner((f64(),), {}), TransformError, "argnums must be non-empty"),
    (lambda: Grad((0, -1)).inner((f64(),), {}), TransformError, "must be unique"),
    (lambda: Grad().inner((i64(),), {}), TransformError, "floating point dtype can require gradients"),
    (lambda: Grad().inner((2.0,), {}), TransformValueError, "must be Tensor, got <class 'float'>"),
    (lambda: Jacfwd().inner((i64(),), {}), TransformValueError, "but got: torch.int64"),
    (lambda: Jacfwd().inner((f64(),), {"y": 1}), TransformTypeError, "unexpected keyword argument 'y'"),
    (lambda: Jacrev().inner((TensorType("complex64", ()),), {}), TransformError, "jacrev: Expected all inputs"),
    (lambda: Jacrev(chunk_size=0), TransformValueError, "jacrev: `chunk_size` should be greater than 0."),
    (lambda: Jacrev(chunk_size="2"), TransformTypeError, "chunk_size is an integer or None, not '2'"),
    (lambda: Jacrev(chunk_size=2.5), TransformTypeError, "chunk_size is an integer or None, not 2.5"),
    (lambda: Vmap(chunk_size="2"), TransformTypeError, "chunk_size is an integer or None, not '2'"),
    (lambda: Vmap(chunk_size=2.5), TransformTypeError, "chunk_size is an integer or None, not 2.5"),
    (lambda: Jacfwd(randomness="some").inner((f64(),), {}), TransformError, "Only allowed values for randomness"),
    (lambda: Vmap(randomness="some"), TransformError, "Only allowed values for randomness"),
    (lambda: Vmap(chunk_size=-1), TransformValueError, "chunk_size should be None or greater than 0. (got -1)"),
    (lambda: Vmap([0]).inner((f64(2),), {}), TransformValueError, "expected `in_dims` to be int or"),
    (lambda: Vmap((0, 0)).inner((f64(2),), {}), TransformValueError, "not compatible with the structure of `inputs`"),
    (lambda: Vmap(1).inner((f64(2),), {}), TransformValueError, "Got in_dim=1 for some input"),
    (lambda: Vmap().inner((f64(2), f64(3)), {}), TransformValueError, "got sizes [2, 3] for the mapped dimension"),
    (lambda: Vmap((None,)).inner((f64(2),), {}), TransformValueError, "at least one Tensor"),
    (lambda: Vmap().inner((), {}), TransformValueError, "got no inputs"),
    (lambda: Vmap().inner((3,), {}), TransformValueError, "the input is of type <class 'int'>"),
    (lambda: Vmap(0, 3).outer((f64(2),), {}, f64()), TransformIndexError, "[-1, 0], but got 3"),
    (
        lambda: Vmap().outer((f64(2),), {}, 1.0),
        TransformValueError,
        "return Tensors, got type <class 'float'>",
    ),
    (lambda: Vmap(0, (0, 0)).outer((f64(2),), {}, f64()), TransformValueError, "the structure of `outputs`"),
    (lambda: Jacrev().outer((f64(),), {}, None), TransformError, "(got output = [None])"),
    (lambda: Jacfwd().outer((f64(),), {}, 1), TransformError, "jvp(f, primals, tangents): expected f(*primals) to"),
    (lambda: Jacrev().outer((f64(),), {}, i64()), TransformError, "got Tensor with dtype torch.int64"),
    (lambda: Grad().outer((f64(),), {}, f64(2)), TransformError, "got tensor with 1 dims"),
    (
        lambda: Grad(has_aux=True).outer((f64(),), {}, [f64(), f64()]),
        TransformError,
        "(output, aux) if has_aux",
    ),
    (lambda: Vjp(True).outer(((f64(),), f64()), {}, (f64(), 1)), TransformError, "Expected tensors, got unsupported"),
    (lambda: Vjp().outer(((f64(),), (f64(),)), {}, f64()), TransformError, "Expected pytree structure of cotangents"),
    (lambda: Vjp().outer(((f64(),), f64(2)), {}, f64()), TransformError, "Mismatch in shape: grad_output[0]"),
    (lambda: Jvp().inner(([f64()], [f64()]), {}), TransformError, "Expected primals to be a tuple"),
    (lambda: Jvp().inner(((f64(),), [f64()]), {}), TransformError, "same python structure"),
    (lambda: Jvp().inner(((), ()), {}), TransformError, "to contain at least one Tensor"),
    (lambda: Jvp().inner(((f64(),), (1.0,)), {}), TransformError, "to only contain Tensors"),
    (lambda: Jvp().inner(((f64(2),), (f64(3),)), {}), TransformError, "different size"),
]


@pytest.mark.parametrize(("call", "kind", "words"), REFUSED)
def test_errors_have_the_words_and_the_class_of_torch(call, kind, words):
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    assert words in caught.value.detail


@pytest.mark.parametrize("transform", [Jacfwd(), Jacrev(), Grad(), GradAndValue(), Hessian()])
@pytest.mark.parametrize(
    ("leaf", "words"),
    [
        (i64(3), "the argument is int64[3]: convert it to a floating dtype"),
        (3, "the argument is 3, a value of the function: write 3.0, or leave it out of argnums"),
        ("three", "the argument is 'three', a value of the function: give an array, or leave it out of argnums"),
        (np.array([1, "a"], object), "the argument is an array of dtype object: convert it"),
    ],
)
def test_what_cannot_be_differentiated_is_shown_with_a_remedy(transform, leaf, words):
    with pytest.raises(TransformError) as caught:
        transform.inner((leaf,), {})
    assert words in caught.value.remedy


CHECKED = [
    ("jacfwd", {}, [f64()], [f64()], "needs the attribute 'argnums'"),
    ("jacfwd", {"argnums": 0}, [f64()], [f64()], "argnums is a list"),
    ("jacfwd", {"argnums": [1]}, [f64()], [f64()], "positions from 0 to 0, not 1"),
    ("jacfwd", {"argnums": [-1]}, [f64()], [f64()], "positions from 0 to 0, not -1"),
    ("jacfwd", {"argnums": [True]}, [f64(), f64()], [f64()], "not true"),
    ("jacfwd", {"argnums": [[0]]}, [f64()], [f64()], "not [0]"),
    ("jacfwd", {"argnums": [0, 0]}, [f64()], [f64()], "unique"),
    ("jacfwd", {"argnums": []}, [f64()], [f64()], "non-empty"),
    ("jacfwd", {"argnums": [0]}, [i64()], [f64()], "need a floating or complex dtype"),
    ("jacrev", {"argnums": [0]}, [f64()], [i64()], "need a floating or complex dtype"),
    ("jacfwd", {"argnums": [0], "aux": 1}, [f64()], [f64()], "aux counts"),
    ("jacfwd", {"argnums": [0], "aux": "1"}, [f64()], [f64(), f64()], "aux counts"),
    ("jacfwd", {"argnums": [0], "randomness": ["same"]}, [f64()], [f64()], "randomness is one of"),
    ("jacrev", {"argnums": [0], "chunk_size": 0}, [f64()], [f64()], "chunk_size is a positive integer"),
    ("jacrev", {"argnums": [0], "chunk_size": 1.0}, [f64()], [f64()], "chunk_size is a positive integer"),
    ("hessian", {"argnums": [0], "aux": 0}, [f64()], [f64()], "no attribute 'aux'"),
    ("grad", {"argnums": [0]}, [f64()], [f64(2)], "one scalar output"),
    ("grad", {"argnums": [0]}, [f64()], [f64(), f64()], "one scalar output"),
    ("vmap", {"in_dims": [0], "out_dims": [0]}, [f64()], [f64()], "the axis is null, not 0"),
    ("vmap", {"in_dims": [0], "out_dims": [2]}, [f64(2)], [f64()], "an integer from -1 to 0, or null, not 2"),
    ("vmap", {"in_dims": [None], "out_dims": [0]}, [f64(2)], [f64()], "maps at least one leaf"),
    ("vmap", {"in_dims": [0, 0], "out_dims": [0]}, [f64(2), f64(3)], [f64()], "one length"),
    ("vmap", {"in_dims": [0], "out_dims": [0]}, [f64(2), f64(3)], [f64()], "1 entries for 2 leaves"),
    ("vmap", {"in_dims": {"0": 0}, "out_dims": [0]}, [f64(2)], [f64()], "in_dims is a list"),
    ("jvp", {}, [f64(), f64(), f64()], [f64()], "3 arrays are given"),
    ("jvp", {}, [f64(2), f64(3)], [f64()], "tangent 0 is float64[3]"),
    ("jvp", {}, [f64(), i64()], [f64()], "need a floating or complex dtype"),
    ("vjp", {}, [f64()], [f64()], "1 arrays are given"),
    ("vjp", {}, [f64(), f64(2)], [f64()], "cotangent 0 is float64[2]"),
    ("vjp", {"aux": {}}, [f64(), f64()], [f64()], "aux counts"),
    ("exec", {}, [f64()], [f64()], "is not a transform"),
]


@pytest.mark.parametrize(("name", "attributes", "inputs", "outputs", "words"), CHECKED)
def test_hostile_transforms_are_refused_with_a_path(name, attributes, inputs, outputs, words):
    with pytest.raises(InvalidGraph) as caught:
        check_flat(FlatTransform(name, attributes), inputs, outputs, where="request.transforms[1]")
    assert words in caught.value.detail
    assert caught.value.where.startswith("request.transforms[1]")


def test_a_body_of_other_types_is_refused():
    flat = FlatTransform("vmap", {"in_dims": [0], "out_dims": [0]})
    check_flat(flat, [f64(8, 3)], [f64()], body_inputs=[f64(3)])
    check_flat(flat, [f64(8, 3)], [f64()], body_inputs=[f64("n")])
    for body in ([f64(8, 3)], [f32(3)], [f64(3), f64(3)], []):
        with pytest.raises(InvalidGraph):
            check_flat(flat, [f64(8, 3)], [f64()], body_inputs=body)


def test_primals_are_counted_from_the_operands():
    assert primal_count("jvp", 3, 1, 1, {}) is None
    assert primal_count("vjp", 1, 1, 2, {}) is None
    assert primal_count("vjp", 3, 2, 2, {"aux": 1}) == 2
    assert primal_count("vjp", 3, 2, 1, {"aux": "none"}) == 2


@pytest.mark.parametrize(
    "transform",
    [
        Jacfwd(),
        Jacfwd((0, -1), True, "same"),
        Jacrev(1, has_aux=True, chunk_size=4),
        Hessian((0, 1)),
        Grad(),
        GradAndValue((1,), True),
        Vmap(),
        Vmap((0, {"w": None, "b": (1, None)}), None, "different", 16),
        Jvp(strict=True),
        Vjp(has_aux=True),
    ],
)
def test_the_json_form_comes_back(transform):
    assert from_json(json.loads(json.dumps(to_json(transform)))) == transform


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"transform": "exec"},
        {"transform": ["vmap"]},
        {"transform": "jacfwd", "argnums": "0"},
        {"transform": "jacfwd", "argnums": []},
        {"transform": "jacfwd", "argnums": [True]},
        {"transform": "jacfwd", "has_aux": 1},
        {"transform": "jacfwd", "in_dims": 0},
        {"transform": "jacrev", "chunk_size": 0},
        {"transform": "vmap", "in_dims": "0"},
        {"transform": "vmap", "in_dims": [0, 1.5]},
        {"transform": "vmap", "randomness": None},
        {"transform": "vmap", "function_name": "f"},
    ],
)
def test_other_json_is_refused(document):
    with pytest.raises(InvalidRequest):
        from_json(document)


@pytest.mark.parametrize("document", [None, 3, {}, {"transform": "exec"}, {"transform": {}}, {"name": "vmap"}])
def test_other_flat_json_is_refused(document):
    with pytest.raises(InvalidGraph):
        FlatTransform.from_json(document)


def test_every_transform_has_both_forms():
    from farfunc_protocol.transforms import TRANSFORMS

    assert set(TRANSFORMS) | {"call"} == TRANSFORM_NAMES
    assert all(issubclass(kind, FarfuncError) for kind in (TransformError, InvalidGraph))


@pytest.mark.parametrize("kind", [lambda inner: [inner], lambda inner: {"w": inner}])
def test_axes_nested_beyond_every_tree_are_refused(kind):
    axes = 0
    for _ in range(500):
        axes = kind(axes)
    with pytest.raises(InvalidRequest, match="at most 64 levels"):
        from_json({"transform": "vmap", "in_dims": axes})
