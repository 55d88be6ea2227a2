"""Flat programs give what torch.func gives: for operators of torch's database, for random programs, for NaN and
infinities, for batches of any size; and what they are made for: what rows share is computed once.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import hessian, jacfwd, jacrev, jvp, vmap

from conformance.cases import cases_of, entries
from farfunc_protocol.graph import TensorType
from farfunc_server.evaluation.compilation import PackageFolder, PlanSpec, compile_plan, why_not_here
from farfunc_server.evaluation.flattening import FlatProgram, NotFlat, flatten
from farfunc_server.evaluation.program import Program
from support.graphs import function_of

CPU = torch.device("cpu")
NAN, INF = float("nan"), float("inf")
F64 = torch.float64


def flat_of(function: Callable, arguments, constants=()) -> FlatProgram:
    def listed(leaves, captures):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = function(*leaves, *captures)
        return results if isinstance(results, tuple) else (results,)

    def type_of(tensor):
        return TensorType(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))

    types = [type_of(argument) for argument in arguments]
    return flatten(listed, types, [type_of(constant) for constant in constants], CPU, constants=constants)


def assert_flat(function: Callable, *arguments: torch.Tensor, constants=()) -> FlatProgram:
    """Compare the flat program of a function with the function."""
    program = flat_of(function, arguments, constants)
    if program.is_random:
        return program
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = function(*arguments, *constants)
    expected = expected if isinstance(expected, tuple) else (expected,)
    given = program(arguments, constants)
    assert len(expected) == len(given)
    for left, right in zip(given, expected, strict=True):
        assert (left.dtype, left.shape) == (right.dtype, right.shape)
        right = right.detach()
        finite = right[right.isfinite()].abs() if right.is_floating_point() else right[:0]
        largest = float(finite.max()) if finite.numel() else 1.0  # sums in another order are rounded otherwise
        atol, rtol = (
            (1e-5 * max(largest, 1.0), 1e-5) if right.dtype == torch.float32 else (1e-9 * max(largest, 1.0), 1e-9)
        )
        torch.testing.assert_close(left, right, equal_nan=True, atol=atol, rtol=rtol)
    return program


def calls(program: FlatProgram, name: str) -> list[torch.Size]:
    """The shapes of what an operator's calls return."""
    return [node.meta["val"].shape for node in program.module.graph.nodes if str(node.target) == f"aten.{name}.default"]


def mlp(x, *parameters):
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        x = torch.tanh(weight @ x + bias)
    return x


def parameters_of(*widths, dtype=F64):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(shape, dtype=dtype, generator=generator) for n, m in pairwise(widths) for shape in ((m, n), (m,))
    ]


@pytest.mark.parametrize("name", sorted(entries())[::17])
def test_an_operator_of_the_database(name):
    for case in cases_of(entries()[name], 1):
        check_operator(case)


def test_a_tensor_that_torch_makes_unseen_is_no_constant():
    case = next(cases_of(entries()["sgn"], 1))  # it gives zeros for a derivative
    with pytest.raises(NotFlat, match="does not see"):
        flat_of(jacrev(case.function), case.arguments)


@pytest.mark.parametrize("derivative", [jacrev, jacfwd, hessian])
def test_zeros_that_torch_makes_unseen_are_no_memory_that_nobody_has_written(derivative):
    """Those of a derivative that is missing; what was read in their place was zero only while the memory was new."""
    x = torch.randn(3, 4, dtype=F64)
    for function in (lambda x: torch.sgn(x) * torch.ones_like(x), lambda x: torch.where(x > 0, x, 0).cumsum(0).max()):
        transformed = vmap(derivative(function))
        assert_flat(transformed, x)

        def listed(leaves, captures, transformed=transformed):
            return (transformed(*leaves),)

        unfolded = flatten(listed, [TensorType("float64", (3, 4))], [], CPU, fold=False)
        assert not [node for node in unfolded.module.graph.nodes if "empty" in str(node.target)]


def check_operator(case) -> None:
    """Every chain for which torch.func itself has a result."""
    transforms = [jacrev, jacfwd] if case.forward else [jacrev]
    for transform in transforms:
        derivative = transform(case.function, case.differentiated[:1])
        batched = vmap(derivative)
        rows = tuple(torch.stack([argument] * 3) for argument in case.arguments)
        for function, arguments in ((derivative, case.arguments), (batched, rows)):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    torch.utils._pytree.tree_leaves(function(*arguments))
            except Exception:  # noqa: BLE001 - torch.func has none
                continue

            def leaves(*arguments, function=function):
                torch.manual_seed(0)
                return tuple(torch.utils._pytree.tree_leaves(function(*arguments)))

            with contextlib.suppress(NotFlat):  # that it may be
                assert_flat(leaves, *arguments)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("rows", [0, 1, 2, 7])
@pytest.mark.parametrize("transform", [jacrev, jacfwd, hessian])
def test_batches_of_any_size(transform, rows, dtype):
    parameters = parameters_of(5, 96, 70, 3, dtype=dtype)
    x = torch.randn(rows, 5, dtype=dtype)
    if rows == 0 and transform is not jacrev:
        pytest.skip("torch.func refuses an empty batch in forward mode")
    assert_flat(vmap(transform(mlp), (0, *[None] * 6)), x, constants=parameters)


def test_a_weight_is_multiplied_with_all_rows_of_a_batch_at_once():
    parameters = parameters_of(80, 100, 90, 8)
    x = torch.randn(16, 80, dtype=F64)
    program = assert_flat(vmap(jacrev(mlp), (0, *[None] * 6)), x, constants=parameters)
    assert not calls(program, "bmm")
    assert (16 * 8, 100) in calls(program, "mm")


def test_what_depends_on_constants_alone_is_computed_beforehand():
    def linear(x, weight, bias):
        return weight @ x + bias

    x, parameters = torch.randn(16, 40, dtype=F64), parameters_of(40, 100)
    derivative = vmap(jacrev(linear), (0, None, None))
    program = assert_flat(derivative, x, constants=parameters)
    assert not calls(program, "mm") + calls(program, "bmm")
    assert program.folded_bytes <= 8 * (100 * 100 + 2 * 100 * 40)  # once for all rows
    open_ = assert_flat(derivative, x, *parameters)  # captures that come with each call
    assert calls(open_, "mm") == [(100, 40)] or calls(open_, "mm") == [(40, 100)]


def test_an_activation_is_computed_once_for_all_cotangents():
    def function(x, weight):
        return weight @ (torch.sigmoid(x) * torch.exp(x))

    weight = torch.randn(30, 20, dtype=F64)
    program = assert_flat(vmap(jacrev(function), (0, None)), torch.randn(5, 20, dtype=F64), constants=[weight])
    assert calls(program, "exp") == [(5, 20)]
    assert calls(program, "sigmoid") == [(5, 20)]


@pytest.mark.parametrize("where", ["x", "weight", "last weight", "bias"])
@pytest.mark.parametrize("value", [NAN, INF, -INF, -0.0])
@pytest.mark.parametrize("transform", [jacrev, jacfwd])
def test_nan_infinity_and_signed_zero_spread_as_they_do_in_torch(transform, value, where):
    def network(x, w1, b1, w2, b2):
        return w2 @ (w1 @ x + b1).exp() + b2

    parameters = parameters_of(5, 96, 4)
    x = torch.randn(3, 5, dtype=F64)
    target = {"x": x[1], "weight": parameters[0][7], "last weight": parameters[2][1], "bias": parameters[1]}[where]
    target[2] = value
    function = vmap(transform(network), (0, *[None] * 4))
    program = assert_flat(function, x, constants=parameters)
    given = program([x], parameters)[0]
    zero = given == 0
    assert torch.equal(torch.signbit(given[zero]), torch.signbit(function(x, *parameters)[zero]))


def test_a_diagonal_jacobian_has_the_nan_that_multiplying_with_zero_gives():
    x = torch.tensor([1.0, NAN, INF], dtype=F64)
    assert_flat(jacfwd(torch.sin), x)
    assert_flat(jacrev(torch.sin), x)


DTYPES = [torch.float64, torch.float32, torch.complex128, torch.complex64, torch.bfloat16, torch.int64]
LENGTHS = st.sampled_from([0, 1, 2, 3, 8, 64, 65, 130])


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(DTYPES),
    st.tuples(LENGTHS, LENGTHS, LENGTHS),
    st.sampled_from([1, 0, 4]),
    st.sampled_from(["", "left", "right", "both"]),
    st.sampled_from(["left", "right", "both"]),
    st.booleans(),
    st.sampled_from([None, NAN, INF]),
)
def test_products_of_any_layout(dtype, lengths, batch, turned, shared, is_batched, special):
    """Operands by rows and by columns, shared along the batch and not."""
    rows, inner, columns = lengths
    generator = torch.Generator().manual_seed(0)

    def factor(name: str, n: int, m: int) -> torch.Tensor:
        shape = (m, n) if turned in (name, "both") else (n, m)
        if is_batched and shared not in (name, "both"):
            shape = (batch, *shape)
        value = torch.randint(-5, 6, shape, generator=generator).to(dtype)
        if special is not None and value.numel() and dtype is not torch.int64:
            value.view(-1)[0] = special
        return value

    def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        left = left.mT if turned in ("left", "both") else left
        right = right.mT if turned in ("right", "both") else right
        if not is_batched:
            return torch.mm(left, right)
        return torch.bmm(left.expand(batch, rows, inner), right.expand(batch, inner, columns))

    assert_flat(product, factor("left", rows, inner), factor("right", inner, columns))


@pytest.mark.timeout(600)
def test_machine_code_of_float32_products_of_what_varies(tmp_path):
    """They are oneDNN's, for which torch's compiler has a rule for constant weights only."""
    if (reason := why_not_here()) is not None:
        pytest.skip(reason)

    def body(b, x, w):
        (y,) = b.add("mm", (x, w))
        (y,) = b.add("tanh", (y,))
        return b.add("mm", (y, w))[0]

    types = (TensorType("float32", (130, 130)), TensorType("float32", (130, 130)))
    function, folder = function_of(types, body), PackageFolder(tmp_path)
    spec = PlanSpec("sha256:x", (), types, (), "cpu", 1)
    compile_plan(spec, function, folder)
    x, w = torch.randn(2, 130, 130).unbind()
    flat = flatten(Program(function, (), CPU).run, types, (), CPU)
    assert any("linear_pointwise" in str(node.target) for node in flat.module.graph.nodes)
    run, _ = folder.load(spec.digest, CPU)
    torch.testing.assert_close(run([x, w], [])[0], torch.tanh(x @ w) @ w, atol=1e-3, rtol=1e-5)


STEPS: dict[str, Callable] = {
    "tanh": lambda x, w: torch.tanh(x),
    "product": lambda x, w: w @ x.reshape(-1)[: w.shape[1]],
    "matrix": lambda x, w: x[..., : w.shape[0]] @ w[: x.shape[-1], :3] if x.dim() else x,
    "outer": lambda x, w: x.reshape(-1)[:4, None] * x.reshape(-1)[None, :5],
    "sum": lambda x, w: x.sum(-1, keepdim=True) + x,
    "mean": lambda x, w: x - x.mean(),
    "softmax": lambda x, w: torch.softmax(x, -1) if x.dim() else x,
    "where": lambda x, w: torch.where(x > 0.1, x * 2, x.exp()),
    "transpose": lambda x, w: x.transpose(0, -1) if x.dim() else x,
    "expand": lambda x, w: x.expand(2, *x.shape) if x.numel() < 200 else x,
    "cat": lambda x, w: torch.cat([x, torch.zeros_like(x)]) if 0 < x.numel() < 200 and x.dim() else x,
    "index": lambda x, w: x[..., :1] * x if x.dim() else x,
    "flip": lambda x, w: x.flip(0) if x.dim() else x,
    "cumsum": lambda x, w: x.cumsum(0) if x.dim() else x,
    "diagonal": lambda x, w: torch.diag_embed(x).sum(-1) if x.dim() and x.numel() < 50 else x,
    "constant": lambda x, w: x * torch.ones_like(x) + torch.full_like(x, 0.5),
    "select": lambda x, w: torch.select_scatter(x, torch.zeros_like(x[0]), 0, 0) if x.dim() else x,
    "slice": lambda x, w: torch.slice_scatter(x, torch.ones_like(x[:1]), 0, 0, 1) if x.dim() else x,
    "batch": lambda x, w: torch.bmm(w.expand(3, *w.shape), torch.ones(3, w.shape[1], 2, dtype=w.dtype)).sum() * x,
    "layers": lambda x, w: torch.nn.functional.layer_norm(x, x.shape[-1:]) if x.dim() else x,
    "square": lambda x, w: x.reshape(-1).dot(x.reshape(-1)) * x,
}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=6),
    st.sampled_from(["jacrev", "jacfwd", "vmap jacrev", "vmap jacfwd", "vmap vmap jacrev", "jacfwd jacrev", "jvp"]),
    st.sampled_from([(4,), (1,), (3, 2), (2, 1, 3), ()]),
    st.sampled_from([(1,), (3,)]),
    st.sampled_from([1, 8, 65]),
    st.sampled_from([torch.float64, torch.float32]),
)
def test_random_programs(names, chain, shape, batch, width, dtype):
    generator = torch.Generator().manual_seed(len(names))
    weight = torch.randn(width, 4, dtype=dtype, generator=generator) / 4

    def function(x, w):
        for name in names:
            x = STEPS[name](x, w[:, : max(min(4, x.numel()), 1)])
        return x * 0.5

    x = torch.randn(shape, dtype=dtype, generator=generator)
    if chain == "jvp":
        assert_flat(lambda x, v, w: jvp(lambda x: function(x, w), (x,), (v,)), x, x.cos(), constants=[weight])
        return
    transformed = function
    for name in reversed(chain.split()):
        if name == "vmap":
            transformed = vmap(transformed, (0, None))
            x = torch.randn(*batch, *x.shape, dtype=dtype, generator=generator)
        else:
            transformed = {"jacrev": jacrev, "jacfwd": jacfwd}[name](transformed)
    assert_flat(transformed, x, constants=[weight])
