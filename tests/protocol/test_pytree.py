"""Pytrees: torch's own rules without torch, and a wire form that no stranger can abuse."""

import json
from collections import OrderedDict, defaultdict, deque, namedtuple
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfunc_protocol.errors import LimitExceeded, ProtocolError, TransformValueError
from farfunc_protocol.pytree import (
    LEAF,
    MAX_DEPTH,
    NodeType,
    Opaque,
    TreeSpec,
    broadcast_prefix,
    flatten,
    from_json,
    register_node,
    to_json,
    tree_map,
    unflatten,
)
from farfunc_protocol.strict_json import canonical_json, parse_json


class Point(NamedTuple):
    x: object
    y: object


class Pair:
    def __init__(self, left, right, tag=None):
        self.left, self.right, self.tag = left, right, tag

    def __eq__(self, other):
        return (self.left, self.right, self.tag) == (other.left, other.right, other.tag)

    __hash__ = None


register_node(Pair, lambda p: ([p.left, p.right], p.tag), lambda children, tag: Pair(*children, tag))


class Colour(IntEnum):
    RED = 1


_SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.complex_numbers() | st.text()
_KEYS = st.text(st.characters(exclude_categories=("Cs",)), max_size=4) | st.integers(-9, 9)
_CONTAINERS = {
    "tuple": lambda inner: st.lists(inner, max_size=3).map(tuple),
    "list": lambda inner: st.lists(inner, max_size=3),
    "dict": lambda inner: st.dictionaries(_KEYS, inner, max_size=3),
    "OrderedDict": lambda inner: st.dictionaries(_KEYS, inner, max_size=3).map(OrderedDict),
    "defaultdict": lambda inner: st.dictionaries(_KEYS, inner, max_size=3).map(lambda d: defaultdict(list, d)),
    "deque": lambda inner: st.lists(inner, max_size=3).map(lambda items: deque(items, maxlen=5)),
    "Point": lambda inner: st.builds(Point, inner, inner),
}
_WITH_PAIRS = {**_CONTAINERS, "Pair": lambda inner: st.builds(Pair, inner, inner)}


def trees(leaves, containers=_WITH_PAIRS):
    return st.recursive(leaves, lambda inner: st.one_of([make(inner) for make in containers.values()]), max_leaves=12)


def is_float(leaf):
    return type(leaf) is float


class TestFlatten:
    @given(trees(st.integers()))
    def test_unflatten_is_its_inverse(self, tree):
        leaves, spec = flatten(tree)
        again = unflatten(spec, leaves)
        assert again == tree
        assert type(again) is type(tree)
        assert flatten(again) == (leaves, spec)
        assert hash(flatten(again)[1]) == hash(spec)
        assert len(leaves) == spec.num_leaves == len(spec.leaf_paths())

    @given(trees(st.floats(allow_nan=False) | st.none() | st.text() | st.integers()))
    def test_static_leaves_belong_to_the_structure(self, tree):
        leaves, spec = flatten(tree, is_array=is_float)
        assert all(map(is_float, leaves))
        assert unflatten(spec, leaves) == tree

    @given(trees(st.integers(), _CONTAINERS))
    def test_as_torch_does(self, tree):
        torch_pytree = pytest.importorskip("torch.utils._pytree")
        assert flatten(tree)[0] == torch_pytree.tree_flatten(tree)[0]

    def test_containers_are_of_the_exact_class(self):
        class MyList(list):
            pass

        class MyPoint(Point):
            pass

        for leaf in (MyList([1]), {1, 2}, range(3), "ab", None, np.zeros(2)):
            assert flatten(leaf)[1] == LEAF
        assert flatten(MyPoint(1, 2))[0] == [1, 2]  # torch, too, looks into what a namedtuple's subclass is

    def test_c_named_tuples(self):
        torch = pytest.importorskip("torch")
        result = torch.max(torch.tensor([[1.0, 2.0]]), dim=1)
        leaves, spec = flatten(result)
        assert str(spec) == "max(values=*, indices=*)"
        assert unflatten(spec, [1, 2]).indices == 2
        assert len(leaves) == 2

    def test_is_leaf_stops_the_descent(self):
        leaves, spec = flatten([(1, 2), [3]], is_leaf=lambda node: isinstance(node, tuple))
        assert leaves == [(1, 2), 3]
        assert str(spec) == "[*, [*]]"

    def test_the_order_of_keys_is_kept(self):
        assert flatten({"b": 1, "a": 2})[0] == [1, 2]
        assert flatten({"b": 1, "a": 2})[1] != flatten({"a": 2, "b": 1})[1]

    def test_a_tree_that_contains_itself(self):
        loop = []
        loop.append(loop)
        with pytest.raises(LimitExceeded):
            flatten(loop)

    def test_what_can_be_flattened_can_travel(self):
        tree = 1.0
        for _ in range(MAX_DEPTH + 1):
            tree = [tree]
        spec = flatten(tree)[1]
        assert from_json(parse_json(canonical_json(to_json(spec)))) == spec
        with pytest.raises(LimitExceeded):
            flatten([tree])

    def test_the_number_of_leaves_is_checked(self):
        with pytest.raises(TransformValueError, match=r"1 leaves were given to a structure of 2: \(\*, \*\)"):
            unflatten(flatten((1, 2))[1], [1])

    @pytest.mark.parametrize("cls", [Pair, dict, OrderedDict])
    def test_a_class_is_registered_once(self, cls):
        with pytest.raises(TransformValueError, match="container already"):
            register_node(cls, lambda x: ([], None), lambda children, context: None)


class TestEquality:
    @pytest.mark.parametrize(
        ("left", "right"),
        [
            ([1], (1,)),
            ({"a": 1}, OrderedDict(a=1)),
            (OrderedDict(a=1), defaultdict(None, a=1)),
            (defaultdict(list, a=1), defaultdict(int, a=1)),
            (deque([1], maxlen=2), deque([1], maxlen=3)),
            ({1: 1}, {True: 1}),
            ({1: 1}, {"1": 1}),
            (Point(1, 2), namedtuple("Point", "x y")(1, 2)),
            (Pair(1, 2, "a"), Pair(1, 2, "b")),
            (Point(1, 2), (1, 2)),
            ([], ()),
            (1, [1]),
        ],
    )
    def test_structures_that_differ(self, left, right):
        assert flatten(left)[1] != flatten(right)[1]

    @pytest.mark.parametrize(
        ("left", "right"),
        [
            (3, 3.0),
            (1, True),
            (0.0, -0.0),
            (0j, -0j),
            (None, False),
            ("a", b"a"),
            (1, 2),
            (slice(1), slice(2)),
            ({1}, {2}),
        ],
    )
    def test_static_values_that_differ(self, left, right):
        assert static(left) != static(right)
        assert static(left) != LEAF

    @pytest.mark.parametrize(
        "make",
        [
            lambda: float("nan"),
            lambda: complex("nan"),
            lambda: slice(1, None, 2),
            lambda: {1, 2},
            lambda: bytearray(b"ab"),
            lambda: Colour.RED,
            lambda: np.dtype("f4"),
            lambda: "ab" * 2,
        ],
    )
    def test_static_values_that_are_equal(self, make):
        assert static(make()) == static(make())
        assert hash(static(make())) == hash(static(make()))

    def test_a_set_that_changes_later_makes_no_two_specs_alike(self):
        options = {1}
        before = static(options)
        options.add(2)
        assert before != static(options)

    def test_what_cannot_be_hashed_is_compared_by_identity(self):
        class Unhashable:
            __hash__ = None

            def __eq__(self, other):
                return True

        one, other = Unhashable(), Unhashable()
        assert static(one) == static(one)
        assert hash(static(one)) == hash(static(one))
        assert static(one) != static(other)

    def test_objects_whose_comparison_is_no_bool(self):
        class Elementwise:
            def __hash__(self):
                return 1

            def __eq__(self, other):
                raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")

        one = Elementwise()
        assert static(one) == static(one)
        assert static(one) != static(Elementwise())
        assert flatten(Pair(1, 2, np.zeros(2)))[1] != flatten(Pair(1, 2, np.zeros(2)))[1]

    def test_a_spec_is_equal_to_specs_only(self):
        assert LEAF != "*"
        assert LEAF is not None


def static(value):
    return flatten(value, is_leaf=lambda _: True, is_array=lambda _: False)[1]


class TestText:
    @pytest.mark.parametrize(
        ("tree", "text"),
        [
            (1.0, "*"),
            ((1.0,), "(*,)"),
            ((), "()"),
            ([1.0, 3], "[*, 3]"),
            ({"w": 1.0, 2: None}, "{'w': *, 2: None}"),
            (OrderedDict(w=1.0), "OrderedDict({'w': *})"),
            (Point(1.0, "mean"), "Point(x=*, y='mean')"),
            (deque([1.0]), "deque(*)"),
            (Pair(1.0, object()), "Pair(*, <object>)"),
        ],
    )
    def test_a_spec_reads_like_the_tree(self, tree, text):
        spec = flatten(tree, is_array=is_float)[1]
        assert str(spec) == text
        assert repr(spec) == f"TreeSpec({text})"

    def test_paths(self):
        call = (({"w": [1.0, 2.0]}, Point(3, 4.0)), {"bias": OrderedDict(b=Pair(5.0, None))})
        assert flatten(call, is_array=is_float)[1].leaf_paths(("args", "kwargs")) == [
            "args[0]['w'][0]",
            "args[0]['w'][1]",
            "args[1].y",
            "kwargs['bias']['b'][0]",
        ]
        assert LEAF.leaf_paths("x") == ["x"]


class TestTreeMap:
    def test_over_several_trees(self):
        assert tree_map(lambda a, b: a - b, Point(1, [2]), Point(10, [20])) == Point(-9, [-18])

    def test_of_different_structure(self):
        with pytest.raises(TransformValueError, match=r"tree 1 has the structure \[\*\]"):
            tree_map(max, (1,), [1])


_PREFIXES = [
    (0, [(1, 2), 3]),
    (None, {"a": 1}),
    ((0, None), ((1, 2), {"x": 3, "y": 4})),
    ([0, [1, None]], [1, [2, (3, 4)]]),
    (0, ()),
    ((), ()),
    ({"a": 0, "b": 1}, OrderedDict(a=(1, 2), b=3)),
    (OrderedDict(a=1), {"a": 1}),
    (defaultdict(int, a=1), OrderedDict(a=[2, 3])),
    (Point(0, None), Point([1, 2], 3)),
    (deque([0]), deque([[1, 2]])),
    # What goes deeper, or has another structure:
    ((0,), 1),
    ((0,), (1, 2)),
    ([0, 1], (1, 2)),
    ({"a": 0}, {"b": 1}),
    ({"a": 0}, {"a": 1, "b": 1}),
    ((0, 1), Point(1, 2)),
    (Point(0, 1), (1, 2)),
    (Point(0, 1), namedtuple("Point", "x y")(1, 2)),
    (((0,), 1), ([1], 2)),
]


class TestBroadcastPrefix:
    @pytest.mark.parametrize(("prefix", "tree"), _PREFIXES)
    def test_as_torch_does(self, prefix, tree):
        torch_pytree = pytest.importorskip("torch.utils._pytree")
        expected = torch_pytree._broadcast_to_and_flatten(prefix, torch_pytree.tree_structure(tree))
        spec = flatten(tree)[1]
        if expected is None:
            with pytest.raises(TransformValueError, match="not compatible with the structure of the inputs"):
                broadcast_prefix(prefix, spec)
        else:
            assert broadcast_prefix(prefix, spec) == expected

    def test_entries_are_matched_by_key(self):
        # torch 2.13 gives them in the order of the prefix, and so to the wrong leaves.
        assert broadcast_prefix({"b": 0, "a": 1}, flatten({"a": (1, 2), "b": 3})[1]) == [1, 1, 0]

    def test_the_fault_has_a_path(self):
        with pytest.raises(TransformValueError) as caught:
            broadcast_prefix((0, {"x": (1,)}), flatten((1, {"x": [2]}))[1])
        assert caught.value.where == "in_dims[1]['x']"
        assert "in_dims" in str(caught.value)
        with pytest.raises(ValueError, match="out_dims is not compatible"):
            broadcast_prefix((0,), LEAF, where="out_dims")

    def test_static_values_take_no_part(self):
        spec = flatten((1.0, None, [3, 2.0]), is_array=is_float)[1]
        assert broadcast_prefix((0, None, 1), spec) == [0, 1]
        assert broadcast_prefix(0, spec) == [0, 0]
        with pytest.raises(TransformValueError):
            broadcast_prefix((0, (1,), 1), spec)

    def test_on_classes_of_the_other_side(self):
        there = from_json(to_json(flatten((Point(1, 2), defaultdict(list, a=3)))[1]))
        assert broadcast_prefix(((0, 1), {"a": None}), there) == [0, 1, None]
        assert broadcast_prefix((Point(0, 1), 2), there) == [0, 1, 2]


class TestJson:
    @given(trees(st.floats() | _SCALARS), st.booleans())
    def test_is_canonical(self, tree, arrays_are_floats):
        spec = flatten(tree, is_array=is_float if arrays_are_floats else None)[1]
        text = canonical_json(to_json(spec))
        again = from_json(parse_json(text))
        assert canonical_json(to_json(again)) == text
        assert again.num_leaves == spec.num_leaves
        assert len(again.leaf_paths()) == spec.num_leaves

    @given(
        trees(st.floats() | _SCALARS, {name: _CONTAINERS[name] for name in ("tuple", "list", "dict", "OrderedDict")})
    )
    def test_builtin_containers_come_back(self, tree):
        spec = flatten(tree, is_array=is_float)[1]
        assert from_json(parse_json(canonical_json(to_json(spec)))) == spec

    @pytest.mark.parametrize(
        ("tree", "document"),
        [
            (1.5, "*"),
            ((1.5, [2.5]), ["tuple", "*", ["list", "*"]]),
            ({"b": 1.5, 3: 2.5}, {"dict": [["b", "*"], [3, "*"]]}),
            (OrderedDict(a=1.5), {"class": "OrderedDict", "dict": [["a", "*"]]}),
            (defaultdict(list, a=1.5), {"class": "defaultdict", "dict": [["a", "*"]]}),
            (Point(1.5, None), {"class": "Point", "fields": ["x", "y"], "node": ["*", {"static": None}]}),
            (Pair(1.5, True, "tag"), {"class": "Pair", "node": ["*", {"static": True}]}),
            (deque([1.5], maxlen=3), {"class": "deque", "node": ["*"]}),
            ({(0, 1): 1.5}, {"class": "dict", "node": ["*"]}),
            ({True: 1.5}, {"class": "dict", "node": ["*"]}),
            ({Colour.RED: 1.5}, {"class": "dict", "node": ["*"]}),
            ({2**64: 1.5}, {"class": "dict", "node": ["*"]}),
            ("mean", {"static": "mean"}),
            (2**64 - 1, {"static": 2**64 - 1}),
            (2**64, {"static": {"opaque": "int"}}),
            ("\ud800", {"static": {"opaque": "str"}}),
            (1 + 2j, {"static": {"complex": [1.0, 2.0]}}),
            (complex("inf-nanj"), {"static": {"complex": ["Infinity", "NaN"]}}),
            (Colour.RED, {"static": {"opaque": "Colour"}}),
            (np.float32(1), {"static": {"opaque": "float32"}}),
            (print, {"static": {"opaque": "builtin_function_or_method"}}),
        ],
    )
    def test_the_form_is_pinned(self, tree, document):
        spec = flatten(tree, is_array=is_float)[1]
        assert to_json(spec) == document
        assert to_json(from_json(document)) == document

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), -0.0, 1.0, 1, True, None])
    def test_static_numbers_come_back_as_they_were(self, value):
        assert from_json(parse_json(canonical_json(to_json(static(value))))) == static(value)

    def test_an_unknown_class_comes_back_as_a_tuple_or_a_dict(self):
        tree = [Point(1, 2), Pair(3, 4), deque([5]), defaultdict(list, a=6), {(0,): 7}]
        spec = from_json(to_json(flatten(tree)[1]))
        assert unflatten(spec, [1, 2, 3, 4, 5, 6, 7]) == [(1, 2), (3, 4), (5,), {"a": 6}, (7,)]
        assert spec.leaf_paths("x") == ["x[0].x", "x[0].y", "x[1][0]", "x[1][1]", "x[2][0]", "x[3]['a']", "x[4][0]"]

    def test_an_opaque_value_is_known_by_its_type_alone(self):
        assert unflatten(from_json({"static": {"opaque": "Model"}}), []) == Opaque("Model")
        assert to_json(static(object())) == to_json(static(object()))

    def test_no_class_is_looked_up_by_its_name(self):
        spec = from_json({"class": "Pair", "node": ["*", "*"]})
        assert spec.node == NodeType("Pair", None)
        assert unflatten(spec, [1, 2]) == (1, 2)


class TestHostileJson:
    @pytest.mark.parametrize(
        ("document", "where", "says"),
        [
            (None, "t", "not null"),
            ("leaf", "t", "not 'leaf'"),
            (3, "t", "not 3"),
            ([], "t", "begins with"),
            (["set", "*"], "t", "not with 'set'"),
            ([["tuple"]], "t", "begins with"),
            (["tuple", "*", "x"], "t[2]", "not 'x'"),
            ({}, "t", "is no tree"),
            ({"dict": [], "extra": 1}, "t", "is no tree"),
            ({"static": 1, "dict": []}, "t", "is no tree"),
            ({"node": ["*"]}, "t", "is no tree"),
            ({"dict": {"a": "*"}}, "t.dict", "a list of pairs"),
            ({"dict": ["*"]}, "t.dict[0]", "a pair"),
            ({"dict": [["a"]]}, "t.dict[0]", "a pair"),
            ({"dict": [["a", "*"], ["a", "*"]]}, "t.dict[1][0]", "occurs twice"),
            ({"dict": [[True, "*"]]}, "t.dict[0][0]", "a key is a string or an integer"),
            ({"dict": [[1.0, "*"]]}, "t.dict[0][0]", "a key is a string or an integer"),
            ({"dict": [[None, "*"]]}, "t.dict[0][0]", "a key is a string or an integer"),
            ({"dict": [[2**64, "*"]]}, "t.dict[0][0]", "a key is a string or an integer"),
            ({"dict": [[["a"], "*"]]}, "t.dict[0][0]", "a key is a string or an integer"),
            ({"dict": [["a", ["list", None]]]}, "t.dict[0][1][1]", "not null"),
            ({"class": 3, "dict": []}, "t.class", "a class is a name"),
            ({"class": "P", "node": "*"}, "t.node", "a list"),
            ({"class": "P", "node": ["?"]}, "t.node[0]", "not '\\?'"),
            ({"class": None, "node": ["*"]}, "t.class", "a class is a name"),
            ({"class": "P", "fields": ["x"], "node": []}, "t.fields", "one name for each child"),
            ({"class": "P", "fields": [1], "node": ["*"]}, "t.fields", "one name for each child"),
            ({"class": "P", "fields": None, "node": []}, "t.fields", "one name for each child"),
            ({"static": []}, "t.static", "not a static value"),
            ({"static": {}}, "t.static", "not a static value"),
            ({"static": 2**64}, "t.static", "not a static value"),
            ({"static": {"opaque": 1}}, "t.static", "not a static value"),
            ({"static": {"float": "inf"}}, "t.static", "not a static value"),
            ({"static": {"float": ["NaN"]}}, "t.static", "not a static value"),
            ({"static": {"complex": [1.0]}}, "t.static", "not a static value"),
            ({"static": {"complex": [1.0, 2]}}, "t.static.complex[1]", "a number with a point"),
            ({"static": float("inf")}, "t.static", "a number is finite"),
            ({"static": {"complex": [float("nan"), 1.0]}}, "t.static.complex[0]", "a number with a point"),
            ({"static": "\ud800"}, "t.static", "not a static value"),
            ({1: 2, "a": 3}, "t", "is no tree"),
        ],
    )
    def test_a_fault_has_a_path_and_a_remedy(self, document, where, says):
        with pytest.raises(ProtocolError, match=says) as caught:
            from_json(document, where="t")
        assert caught.value.where == where
        assert caught.value.remedy

    @pytest.mark.parametrize(
        "wrap",
        [
            lambda inner: ["tuple", inner],
            lambda inner: {"dict": [["a", inner]]},
            lambda inner: {"class": "P", "node": [inner]},
            lambda inner: [inner],
            lambda inner: {"static": inner},
        ],
    )
    def test_depth_is_bounded(self, wrap):
        document = "*"
        for _ in range(10_000):
            document = wrap(document)
        with pytest.raises(ProtocolError):
            from_json(document)

    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats()
            | st.sampled_from(["*", "tuple", "list", "a", "NaN"]),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(
                    st.sampled_from(["dict", "class", "node", "fields", "static", "complex", "opaque", "float"]),
                    inner,
                    max_size=3,
                )
            ),
            max_leaves=20,
        )
    )
    def test_any_document_is_valid_or_refused(self, document):
        try:
            spec = from_json(document)
        except ProtocolError:
            return
        assert json.loads(canonical_json(to_json(spec))) == document
        assert flatten(unflatten(spec, [1.5] * spec.num_leaves))[0].count(1.5) >= 0
        assert str(spec)


def test_specs_are_frozen():
    with pytest.raises(AttributeError):
        TreeSpec("leaf").kind = "tuple"
