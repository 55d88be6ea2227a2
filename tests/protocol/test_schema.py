import math

import numpy as np
import pytest

from farfunc_protocol.errors import InvalidGraph
from farfunc_protocol.schema import REQUIRED, Argument, Schema, Type, parse_schema

pytestmark = pytest.mark.thin

EVERY_TYPE = parse_schema(
    "f(Tensor self, Tensor? t, Tensor[] ts, Tensor?[] ots, int i, SymInt s, int? oi, int[] il, SymInt[2] sl, "
    "int[1]? oil, float f, float? of, float[]? ofl, bool b, bool[3] bl, Scalar c, Scalar? oc, Scalar[] cl, "
    'str st="a\'b", str? ost=None, ScalarType? dtype=None, Layout? layout=None, Device? device=None, '
    "bool? pin_memory=None, MemoryFormat? memory_format=None, Generator? generator=None) -> (Tensor, Tensor[])"
)


def rebuilt(schema: Schema) -> str:
    parts: list[str] = []
    for argument in schema.arguments:
        if argument.keyword_only and "*" not in parts:
            parts.append("*")
        parts.append(f"{argument.type} {argument.name}" + ("" if argument.default is REQUIRED else "=..."))
    return f"{schema.wire_name}({', '.join(parts)}) -> {', '.join(map(str, schema.returns))}"


def test_a_schema_keeps_its_text_and_can_be_rebuilt() -> None:
    text = "sum.dim_IntList(Tensor self, int[1]? dim, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor"
    schema = parse_schema(text)
    assert str(schema) == text
    assert rebuilt(schema) == text.replace("=False", "=...").replace("=None", "=...")


def test_arguments_are_tensors_attributes_or_placement() -> None:
    assert [argument.name for argument in EVERY_TYPE.tensor_arguments] == ["self", "t", "ts", "ots"]
    names = {argument.name for argument in EVERY_TYPE.attributes}
    assert names.isdisjoint({"layout", "device", "pin_memory", "memory_format", "generator"})
    assert "dtype" in names


def test_alias_annotations_are_dropped() -> None:
    schema = parse_schema("split.Tensor(Tensor(a -> *) self, SymInt split_size, int dim=0) -> Tensor(a)[]")
    assert schema.arguments[0] == Argument("self", Type("Tensor"))
    assert schema.returns == (Type("Tensor", is_list=True),)


@pytest.mark.parametrize(
    ("text", "default"),
    [
        ("int[2] x=0", (0, 0)),
        ("int[] x=[]", ()),
        ("SymInt[2] x=[1, 2]", (1, 2)),
        ("float x=2.", 2.0),
        ("Scalar x=1", 1),
        ("Scalar x=0.5", 0.5),
        ("bool x=True", True),
        ("ScalarType? x=4", "int64"),
        ('str x="none"', "none"),
        ("int? x=None", None),
    ],
)
def test_defaults(text: str, default: object) -> None:
    parsed = parse_schema(f"f(Tensor self, {text}) -> Tensor").attributes[0].default
    assert parsed == default
    assert type(parsed) is type(default)


@pytest.mark.parametrize("text", ["f", "f(Tensor self)", "f(Dict x) -> Tensor", "f(Tensor self) -> Storage"])
def test_what_is_no_schema_is_a_programming_error(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        parse_schema(text)


@pytest.mark.parametrize(
    ("name", "given", "canonical"),
    [
        ("i", np.int32(3), 3),
        ("s", {"dim": "n"}, {"dim": "n"}),
        ("sl", 3, (3, 3)),
        ("sl", [{"dim": "n"}, 2], ({"dim": "n"}, 2)),
        ("oil", 0, (0,)),
        ("oil", None, None),
        ("f", 2, 2.0),
        ("f", math.inf, math.inf),
        ("ofl", [1, 2.5], (1.0, 2.5)),
        ("b", np.True_, True),
        ("bl", [True, False, True], (True, False, True)),
        ("c", True, True),
        ("c", 2, 2),
        ("c", 1 + 2j, 1 + 2j),
        ("c", np.float32(0.5), 0.5),
        ("cl", [1, 0.5], (1, 0.5)),
        ("st", "x", "x"),
        ("dtype", "float64", "float64"),
    ],
)
def test_attributes_have_one_representation(name: str, given: object, canonical: object) -> None:
    (argument,) = [argument for argument in EVERY_TYPE.attributes if argument.name == name]
    value = argument.normalise(given)
    assert value == canonical
    assert type(value) is type(canonical)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("i", True),
        ("i", 1.0),
        ("i", 2**63),
        ("i", {"dim": "n"}),
        ("s", {"dim": 1}),
        ("s", {"dim": "n", "x": 1}),
        ("il", 3),
        ("il", "3"),
        ("sl", [1.5, 2]),
        ("f", "1"),
        ("f", 10**400),
        ("f", True),
        ("b", 1),
        ("st", None),
        ("c", "1"),
        ("c", None),
        ("c", 2**64),
        ("dtype", "float128"),
        ("dtype", 6),
    ],
)
def test_attributes_of_another_type_are_refused(name: str, given: object) -> None:
    (argument,) = [argument for argument in EVERY_TYPE.attributes if argument.name == name]
    with pytest.raises(InvalidGraph, match=f"'{name}' is "):
        argument.normalise(given, where="equations[3].attributes." + name)


def test_a_refusal_names_the_path_and_the_remedy() -> None:
    schema = parse_schema("permute(Tensor(a) self, int[] dims) -> Tensor(a)")
    with pytest.raises(InvalidGraph) as caught:
        schema.normalise({"dims": [0, "1"]}, where="equations[3].attributes")
    assert caught.value.where == "equations[3].attributes.dims[1]"
    assert caught.value.remedy == "give a list, each item an integer of 64 bits"


def test_canonical_attributes_are_in_order_without_defaults() -> None:
    schema = parse_schema("g(Tensor self, float eps=0., int n=1, bool flag=False) -> Tensor")
    assert list(schema.normalise({"flag": True, "n": 2, "eps": 0})) == ["n", "flag"]
    # -0.0 == 0.0, but it means something else.
    assert schema.normalise({"eps": -0.0}) == {"eps": -0.0}
    assert schema.complete({}) == {"eps": 0.0, "n": 1, "flag": False}


def test_scalars_that_are_equal_keep_their_kind() -> None:
    schema = parse_schema("add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor")
    assert schema.normalise({"alpha": 1}) == {}
    assert schema.normalise({"alpha": 1.0}) == {"alpha": 1.0}
    assert schema.normalise({"alpha": True}) == {"alpha": True}


def test_missing_unknown_and_placement_attributes_are_refused() -> None:
    schema = parse_schema("full(SymInt[] size, Scalar fill_value, *, Device? device=None) -> Tensor")
    with pytest.raises(InvalidGraph, match="needs the attribute 'fill_value'"):
        schema.normalise({"size": [1]})
    with pytest.raises(InvalidGraph, match="no attribute 'value'") as caught:
        schema.normalise({"size": [1], "value": 2})
    assert caught.value.remedy == "its attributes are fill_value, size"
    with pytest.raises(InvalidGraph, match="how a tensor is stored"):
        schema.normalise({"size": [1], "fill_value": 2, "device": "cuda"})
