"""Shape rules against the truth: what torch itself returns."""

import random
from collections.abc import Iterator

import pytest
import torch

from farfunc_protocol.dtypes import DTYPES
from farfunc_protocol.errors import InvalidGraph
from farfunc_protocol.graph import TensorType
from farfunc_protocol.ops import OPS, TypedOperand, UnknownDimension
from support.operator_calls import OperatorCall, calls, run

OTHER_DTYPES = ("float32", "float16", "bfloat16", "int32", "int16", "uint8", "bool", "complex64", "complex128")

VALUE_DEPENDENT = {"index.Tensor", "one_hot", "repeat_interleave.self_Tensor"}
"""Refused where the shape would depend on values: by masks, or for want of a number."""

STRICTER = {
    # torch has kernels for empty or scalar operands of dtypes that it has no others for.
    "cdist",
    "cholesky",
    "complex",
    "cummax",
    "cummin",
    "einsum",
    "inner",
    "kthvalue",
    "linalg_cholesky",
    "linalg_cholesky_ex",
    "linalg_det",
    "linalg_eigh",
    "linalg_eigvalsh",
    "linalg_ldl_factor",
    "linalg_ldl_factor_ex",
    "linalg_matrix_rank.atol_rtol_float",
    "linalg_matrix_rank.atol_rtol_tensor",
    "linalg_slogdet",
    "linalg_solve",
    "linalg_solve_ex",
    "linalg_solve_triangular",
    "linalg_svd",
    "linalg_svdvals",
    "_safe_softmax",
    "log_softmax.int",
    "mode",
    "softmax.int",
    "svd",
    "view_as_complex",
}
"""Rules that refuse dtypes, or mixtures of them, which torch accepts in corner cases."""

UNSAFE = {"linalg_lu_solve", "lu_solve", "lu_unpack", "linalg_ldl_solve", "ormqr", "embedding_bag.padding_idx"}
"""Operators whose operands cannot be filled with ones: torch would read out of bounds."""


def with_rules(found: dict[str, list[OperatorCall]]) -> Iterator[OperatorCall]:
    for name, examples in found.items():
        if OPS[name].shape_rule is not None:
            yield from examples


def mistakes(found: dict[str, list[OperatorCall]]) -> list[str]:
    wrong = []
    for call in with_rules(found):
        try:
            inferred = OPS[call.name].infer(call.inputs, call.attributes)
        except InvalidGraph as error:
            if call.name not in VALUE_DEPENDENT:
                wrong.append(f"{call}: {error}")
            continue
        if inferred != call.results:
            wrong.append(f"{call}: {[str(result) for result in inferred]}")
        assert OPS[call.name].cost(call.inputs, inferred, call.attributes) >= 0
    return wrong


def test_samples_of_op_db() -> None:
    found = calls("float64")
    assert len(found) > 480
    assert mistakes(found) == []


@pytest.mark.conformance
@pytest.mark.timeout(900)
@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_all_samples_of_op_db(dtype: str) -> None:
    assert mistakes(calls(dtype, samples=60)) == []


def recast(operand: TypedOperand, dtypes: Iterator[str]) -> TypedOperand:
    if isinstance(operand, tuple):
        return tuple(recast(item, dtypes) for item in operand)
    if operand is None or operand.dtype != "float64":
        return operand
    return TensorType(next(dtypes), operand.shape)


def dtype_sequences() -> Iterator[list[str]]:
    for dtype in OTHER_DTYPES:
        yield [dtype] * 100
        yield [dtype] + ["float64"] * 99


def test_other_dtypes_and_mixtures_of_two() -> None:
    picked = random.Random(0)
    wrong, compared = [], 0
    for name, examples in calls("float64").items():
        if OPS[name].shape_rule is None or name in UNSAFE:
            continue
        for call in picked.sample(examples, min(len(examples), 3)):
            for sequence in dtype_sequences():
                dtypes = iter(sequence)
                inputs = tuple(recast(operand, dtypes) for operand in call.inputs)
                try:
                    truth = run(name, inputs, call.attributes)
                except (RuntimeError, NotImplementedError, IndexError, ValueError, TypeError):
                    continue
                compared += 1
                try:
                    inferred = OPS[name].infer(inputs, call.attributes)
                except InvalidGraph as error:
                    if name not in STRICTER | VALUE_DEPENDENT:
                        wrong.append(f"{name}{inputs} {call.attributes}: {error}")
                    continue
                if inferred != truth:
                    wrong.append(f"{name}{inputs} {call.attributes}: {inferred}, not {truth}")
    assert wrong == []
    assert compared > 5000


def renamed(operand: TypedOperand, old: object, new: object) -> TypedOperand:
    if isinstance(operand, tuple):
        return tuple(renamed(item, old, new) for item in operand)
    if operand is None:
        return None
    return TensorType(operand.dtype, tuple(new if length == old else length for length in operand.shape))


def lengths(operand: TypedOperand) -> set[int]:
    if isinstance(operand, tuple):
        return set().union(*map(lengths, operand))
    return {length for length in operand.shape if length > 1} if operand is not None else set()


def test_a_symbolic_dimension_is_carried_through_or_asked_for() -> None:
    known = set()
    for call in with_rules(calls("float64")):
        op = OPS[call.name]
        try:
            concrete = op.infer(call.inputs, call.attributes)
        except InvalidGraph:
            continue
        for length in set().union(*map(lengths, call.inputs)):
            inputs = tuple(renamed(operand, length, "n") for operand in call.inputs)
            try:
                symbolic = op.infer(inputs, call.attributes)
            except UnknownDimension:
                continue
            known.add(call.name)
            assert renamed(symbolic, "n", length) == concrete, f"{call} with n for {length}"
    assert {"add.Tensor", "matmul", "sum.dim_IntList", "linalg_solve", "softmax.int", "cat", "select.int"} <= known


@pytest.mark.parametrize(
    ("shape", "attributes", "expected"),
    [
        (("n", 3, 4), {"shape": ({"dim": "n"}, 12)}, ("n", 12)),
        (("n", 3, 4), {"shape": ({"dim": "n"}, -1)}, ("n", 12)),
        (("n", 3, 4), {"shape": (12, {"dim": "n"})}, (12, "n")),
        (("n",), {"shape": (-1,)}, ("n",)),
        (("n", "m"), {"shape": ({"dim": "m"}, {"dim": "n"}, 1)}, ("m", "n", 1)),
    ],
)
def test_reshape_of_symbolic_shapes(shape: tuple, attributes: dict, expected: tuple) -> None:
    (result,) = OPS["reshape"].infer((TensorType("float64", shape),), attributes)
    assert result.shape == expected


F = "float64"
CASES = [
    ("reshape", [(F, (2, 0, 3))], {"shape": (0, -1)}, None),
    ("reshape", [(F, ())], {"shape": (1, 1)}, ((F, (1, 1)),)),
    ("expand", [(F, (1, 3))], {"size": (-1, 1, 3)}, None),
    ("expand", [(F, (3, 1))], {"size": (2, 3, 0)}, ((F, (2, 3, 0)),)),
    ("slice.Tensor", [(F, (10,))], {"start": -3, "end": 2**63 - 1}, ((F, (3,)),)),
    ("slice.Tensor", [(F, (10,))], {"start": 8, "end": 2, "step": 3}, ((F, (0,)),)),
    ("index.Tensor", [(F, (2, 3, 4)), (None, ("int64", (5, 1)), ("int64", (6,)))], {}, ((F, (2, 5, 6)),)),
    ("index.Tensor", [(F, (2, 3, 4)), (("int64", (5,)), None, ("int64", (5,)))], {}, ((F, (5, 3)),)),
    ("cat", [((F, (2, 3)), ("int32", (1, 3)), (F, (0,)))], {}, ((F, (3, 3)),)),
    ("einsum", [((F, (2, 3, 4)), (F, (5, 4)))], {"equation": "...ij,kj->k...i"}, ((F, (5, 2, 3)),)),
    ("einsum", [((F, (3, 3)),)], {"equation": "ii"}, ((F, ()),)),
    ("linalg_solve", [(F, (4, 3, 3)), (F, (4, 3))], {}, ((F, (4, 3)),)),
    ("linalg_solve", [(F, (3, 3)), (F, (5, 3, 2))], {}, ((F, (5, 3, 2)),)),
    ("sum", [("bool", (2,))], {}, (("int64", ()),)),
    ("sum.dim_IntList", [(F, (2, 3))], {"dim": ()}, ((F, ()),)),
    ("div.Tensor", [("int32", (2,)), ("int32", ())], {}, (("float32", (2,)),)),
    ("mean.dim", [("int32", (2, 3))], {"dim": 0, "dtype": F}, ((F, (3,)),)),
    ("fft_irfft", [("complex64", (2, 5))], {}, (("float32", (2, 8)),)),
    ("fft_rfftn", [(F, (4, 6))], {"s": (3,)}, (("complex128", (4, 2)),)),
    ("arange.start_step", [], {"start": 0, "end": 1.0, "step": 0.25}, (("float32", (4,)),)),
    ("arange", [], {"end": 5}, (("int64", (5,)),)),
    ("tril_indices", [], {"row": 4, "col": 3, "offset": -1}, (("int64", (2, 6)),)),
    ("triu_indices", [], {"row": 4, "col": 3, "offset": 1}, (("int64", (2, 3)),)),
    ("full", [], {"size": (2, {"dim": "n"}), "fill_value": 1j}, (("complex64", (2, "n")),)),
    ("unbind.int", [(F, (2, 3))], {"dim": 1}, ((F, (2,)),) * 3),
    ("split.Tensor", [(F, (5,))], {"split_size": 2}, ((F, (2,)), (F, (2,)), (F, (1,)))),
    ("max_pool2d", [(F, (1, 5, 5))], {"kernel_size": 2, "ceil_mode": True}, ((F, (1, 3, 3)),)),
    ("conv1d.padding", [(F, (2, 3, 8)), (F, (4, 3, 4)), None], {"padding": "same"}, ((F, (2, 4, 8)),)),
    ("searchsorted.Tensor", [(F, (7,)), (F, (2, 3)), None], {"out_int32": True}, (("int32", (2, 3)),)),
]


def typed(value: object) -> TypedOperand:
    if value is None:
        return None
    if isinstance(value[0], str):
        return TensorType(*value)
    return tuple(map(typed, value))


@pytest.mark.parametrize(("name", "operands", "attributes", "expected"), CASES)
def test_cases_by_hand(name: str, operands: list, attributes: dict, expected: tuple | None) -> None:
    inputs = tuple(map(typed, operands))
    if expected is None:
        with pytest.raises(InvalidGraph):
            OPS[name].infer(inputs, attributes)
        return
    results = OPS[name].infer(inputs, attributes)
    assert results == tuple(map(typed, expected))
    if "{" not in str(attributes) and not name.startswith("index"):
        assert run(name, inputs, attributes) == results


@pytest.mark.parametrize("rows", range(6))
@pytest.mark.parametrize("columns", range(5))
def test_triangles_of_every_offset(rows: int, columns: int) -> None:
    for offset in range(-8, 9):
        attributes = {"row": rows, "col": columns, "offset": offset}
        for name, function in (("tril_indices", torch.tril_indices), ("triu_indices", torch.triu_indices)):
            (result,) = OPS[name].infer((), attributes)
            assert result.shape == tuple(function(rows, columns, offset).shape)
