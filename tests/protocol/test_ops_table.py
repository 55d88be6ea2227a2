"""The table itself: what each row says of its operator is what torch says."""

import re

import pytest
import torch

from farfunc_protocol.graph import TensorType
from farfunc_protocol.ops import FAMILIES, OPS, RESERVED, Op
from support.operator_calls import overload

ROWS = sorted(OPS)


def test_each_operator_is_declared_once() -> None:
    names = [op.name for rows in FAMILIES.values() for op in rows]
    assert len(names) == len(set(names)) == len(OPS)


def test_the_table_has_not_shrunk() -> None:
    assert len(OPS) == 768
    assert sum(op.shape_rule is not None for op in OPS.values()) == 689


@pytest.mark.parametrize("name", ROWS)
def test_schema_is_atens_own(name: str) -> None:
    assert "aten::" + str(OPS[name].schema) == str(overload(name)._schema)
    assert OPS[name].name == name


@pytest.mark.parametrize("name", ROWS)
def test_arguments_and_defaults_are_read_as_torch_reads_them(name: str) -> None:
    theirs = overload(name)._schema
    for ours, other in zip(OPS[name].schema.arguments, theirs.arguments, strict=True):
        assert (ours.name, ours.keyword_only) == (other.name, other.kwarg_only)
        if other.has_default_value() and not ours.is_placement and ours.type.base != "ScalarType":
            default = other.default_value
            assert ours.default == (tuple(default) if isinstance(default, list) else default)


def test_rows_are_functional() -> None:
    assert [name for name in ROWS if overload(name)._schema.is_mutable] == []


def test_rows_return_tensors_only() -> None:
    assert all(kind.base == "Tensor" for op in OPS.values() for kind in op.schema.returns)


@pytest.mark.parametrize("name", ROWS)
def test_docs_are_one_line(name: str) -> None:
    assert re.fullmatch(r"[^\n]{4,100}\.", OPS[name].doc)


def test_random_operators_are_marked() -> None:
    seeded = {name for name in ROWS if torch.Tag.nondeterministic_seeded in overload(name).tags}
    assert {name for name, op in OPS.items() if op.random} == seeded


@pytest.mark.parametrize(
    ("name", "attributes", "draws"),
    [
        ("sin", {}, False),
        ("randn", {"size": (2,)}, True),
        ("dropout", {"p": 0.5, "train": True}, True),
        ("dropout", {"p": 0.5, "train": False}, False),
        ("native_dropout", {"p": 0.5, "train": None}, True),
        ("rrelu", {}, False),
        ("rrelu", {"training": True}, True),
        ("scaled_dot_product_attention", {}, False),
        ("scaled_dot_product_attention", {"dropout_p": 0.1}, True),
        ("lstm.input", {"dropout": 0.1, "train": True}, True),
        ("lstm.input", {"dropout": 0.0, "train": True}, False),
    ],
)
def test_whether_one_application_draws(name: str, attributes: dict, draws: bool) -> None:
    assert OPS[name].draws(attributes) is draws


def test_transforms_are_no_operators() -> None:
    assert RESERVED.isdisjoint(OPS)
    assert RESERVED.isdisjoint(op.schema.name for op in OPS.values())


def _cost(op: Op, *shapes: tuple | None, **attributes: object) -> float:
    inputs = tuple(None if shape is None else TensorType("float64", shape) for shape in shapes)
    return op.cost(inputs, op.infer(inputs, attributes), attributes)


def test_costs_count_scalar_operations() -> None:
    assert _cost(OPS["add.Tensor"], (3, 1), (4,)) == 12
    assert _cost(OPS["sum"], (3, 4)) == 12
    assert _cost(OPS["reshape"], (3, 4), shape=(12,)) == 0
    assert _cost(OPS["mm"], (3, 4), (4, 5)) == 2 * 3 * 4 * 5
    assert _cost(OPS["matmul"], (7, 3, 4), (4, 5)) == 2 * 7 * 3 * 4 * 5
    assert _cost(OPS["dot"], (9,), (9,)) == 18
    assert _cost(OPS["linear"], (8, 4), (5, 4), (5,)) == 2 * 8 * 4 * 5
    assert _cost(OPS["addmm"], (5,), (3, 4), (4, 5)) == 2 * 3 * 4 * 5
    assert _cost(OPS["linalg_inv"], (2, 10, 10)) == 10 * 2 * 10**3
    assert _cost(OPS["fft_fft"], (1024,)) == 5 * 1024 * 10
    assert _cost(OPS["conv2d"], (1, 3, 8, 8), (4, 3, 3, 3), None) == 2 * 4 * 6 * 6 * 27


@pytest.mark.parametrize("name", ROWS)
def test_costs_of_nothing_are_finite(name: str) -> None:
    op = OPS[name]
    empty = TensorType("float64", (0, 0, 0))
    inputs = tuple((empty, empty) if argument.type.is_list else empty for argument in op.schema.tensor_arguments)
    stand_in = {"int": 1, "SymInt": 1, "float": 1.0, "bool": True, "str": "x", "Scalar": 1, "ScalarType": "float64"}
    attributes = {
        argument.name: (stand_in[argument.type.base],) * 2 if argument.type.is_list else stand_in[argument.type.base]
        for argument in op.schema.attributes
    }
    assert 0 <= op.cost(inputs, (empty,), attributes) < 100
