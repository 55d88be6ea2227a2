"""Calls that are known again: whatever is not the same is evaluated as what it is."""

import gc
import warnings
import weakref

import numpy as np
import pytest

from farfunc_protocol import safetensors
from farfunc_protocol.arrays import Array
from farfunc_protocol.document import function_to_bytes, identity
from farfunc_protocol.graph import Equation, Graph, TensorType
from farfunc_protocol.messages import EvaluateRequest, decode_response, encode_request, encode_response
from farfunc_protocol.messages import EvaluateResponse as Response
from farfunc_protocol.transforms import FlatTransform
from farfunc_server.evaluation import calls_alike, plan_cache
from farfunc_server.evaluation.plans import Stage
from farfunc_server.workers import handler
from farfunc_server.workers.frames import memory_of
from farfunc_server.workers.handler import Handler
from farfunc_server.workers.messages import Evaluate, EvaluateMany, Load, Problem, Result
from support.graphs import array, f64, function_of, wrapped

JACFWD = FlatTransform("jacfwd", {"argnums": (0,)})
JACREV = FlatTransform("jacrev", {"argnums": (0,)})


VECTOR = f64(3)


def unary(op, type=VECTOR, **attributes):
    return wrapped(Graph((type,), (), (Equation(op, (0,), attributes, (1,)),), (1,)))


SIN, COS = unary("sin"), unary("cos")


class Session:
    """Evaluations by a worker's handler."""

    def __init__(self):
        self.handler = Handler()

    def load(self, function):
        file = function_to_bytes(function)
        self.handler.answer(Load(identity(file)), memoryview(file))
        return identity(file)

    def ask(self, name, arrays, *chain, **more):
        request = EvaluateRequest(name, chain, tuple(arrays), **more)
        return self.send(name, b"".join(encode_request(request)))

    def send(self, name, body):
        payload = memory_of(len(body))
        payload[:] = body
        message, parts = self.handler.answer(Evaluate(name, "r", 1), payload)
        assert isinstance(message, Result | Problem)
        return message, b"".join(parts)

    def results(self, *arguments, **more):
        message, body = self.ask(*arguments, **more)
        assert isinstance(message, Result), message
        return [array.data for array in decode_response(body).arrays]

    def heat(self, name, arrays, *chain, **more):
        """Call until the plan is final, and the call known if it ever is."""
        for _ in range(12):
            self.ask(name, arrays, *chain, **more)
            while self.handler.use_idle_time():
                pass

    @property
    def known(self):
        return len(self.handler._alike)


@pytest.fixture
def session():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, which a worker has no reader for
        yield Session()


def test_calls_alike_are_known_and_each_has_its_own_answer(session):
    name = session.load(SIN)
    session.heat(name, [array(np.zeros(3))], JACFWD)
    assert session.known == 1
    for number in range(100):  # the long way in between
        x = np.random.default_rng(number).normal(size=3)
        message, body = session.ask(name, [array(x)], JACFWD)
        assert message.stage == "flat"
        (jacobian,) = decode_response(body).arrays
        np.testing.assert_allclose(jacobian.data, np.diag(np.cos(x)), rtol=1e-14)
        assert body == b"".join(encode_response(Response((jacobian,))))
    assert session.known == 1


def test_another_function_transform_dtype_or_shape_is_another_call(session):
    sin, cos = session.load(SIN), session.load(COS)
    x = np.array([0.1, 0.2, 0.3])
    session.heat(sin, [array(x)], JACFWD)
    np.testing.assert_allclose(session.results(cos, [array(x)], JACFWD)[0], np.diag(-np.sin(x)), rtol=1e-14)
    np.testing.assert_allclose(session.results(sin, [array(x)], JACREV)[0], np.diag(np.cos(x)), rtol=1e-14)
    np.testing.assert_allclose(session.results(sin, [array(x)])[0], np.sin(x), rtol=1e-14)
    rows = FlatTransform("vmap", {"in_dims": (0,), "out_dims": (0,)})
    np.testing.assert_allclose(session.results(sin, [array([x, x])], rows)[0], np.sin([x, x]), rtol=1e-14)
    for wrong in (array(x, "float32"), array(x[:2]), array(np.float64(0.1)), array([x, x])):
        message, _ = session.ask(sin, [wrong], JACFWD)
        assert isinstance(message, Problem)
        assert message.problem["code"] == "invalid_request"
    np.testing.assert_allclose(session.results(sin, [array(x)], JACFWD)[0], np.diag(np.cos(x)), rtol=1e-14)


def test_two_functions_whose_requests_name_them_alike(session):
    # A name may come to stand for another function: what counts is the identity that the web process has found.
    sin, cos = session.load(SIN), session.load(COS)
    x = np.array([0.1, 0.2, 0.3])
    body = b"".join(encode_request(EvaluateRequest("wave", (), (array(x),))))
    for _ in range(12):
        session.send(sin, body)
        while session.handler.use_idle_time():
            pass
    assert session.known == 1
    np.testing.assert_array_equal(decode_response(session.send(sin, body)[1]).arrays[0].data, np.sin(x))
    np.testing.assert_array_equal(decode_response(session.send(cos, body)[1]).arrays[0].data, np.cos(x))


def test_arguments_of_mixed_dtypes_and_shapes_lie_where_the_header_says(session):
    types = (TensorType("float32", (2, 2)), TensorType("float64", ()), TensorType("int64", (3,)))
    graph = Graph(types, (), (Equation("mul.Tensor", (0, 1), {}, (3,)), Equation("neg", (2,), {}, (4,))), (3, 4, 1))
    name = session.load(wrapped(graph))
    matrix, factor, counts = np.array([[1, 2], [3, 4]], np.float32), np.float64(2.5), np.array([1, -2, 3])
    arrays = [array(matrix, "float32"), array(factor), array(counts, "int64")]
    session.heat(name, arrays)
    assert session.known == 1
    found = session.results(name, [array(2 * matrix, "float32"), array(3 * factor), array(5 * counts, "int64")])
    np.testing.assert_array_equal(found[0], (6 * matrix * np.float32(factor)).astype(np.float32))
    np.testing.assert_array_equal(found[1], -5 * counts)
    np.testing.assert_array_equal(found[2], 3 * factor)


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "bfloat16", "float16", "uint8"])
def test_every_kind_of_dtype_has_its_own_bits_back(session, dtype):
    conj = dtype.startswith("complex")
    name = session.load(unary("conj_physical" if conj else "abs", TensorType(dtype, (3,))))
    for values in ([1, 2, 3], [4, 5, 6]):
        x = Array.from_numpy(np.array(values) * (1 + 1j) if conj else np.array(values, np.uint8), dtype)
        session.heat(name, [x])
        (found,) = session.results(name, [x])
        np.testing.assert_array_equal(found, np.conj(x.data) if conj else x.data)


def test_a_result_that_is_an_argument_a_transposed_view_or_conjugate(session):
    type = TensorType("complex64", (2, 3))
    transposed = Equation("transpose.int", (0,), {"dim0": 0, "dim1": 1}, (1,))
    graph = Graph((type,), (), (transposed, Equation("conj_physical", (1,), {}, (2,))), (0, 1, 2))
    name = session.load(wrapped(graph))
    first = (np.arange(6).reshape(2, 3) * (1 + 2j)).astype(np.complex64)
    session.heat(name, [array(first, "complex64")])
    for x in (first, 3 * first):
        for found, expected in zip(
            session.results(name, [array(x, "complex64")]), (x, x.T, np.conj(x.T)), strict=True
        ):
            np.testing.assert_array_equal(found, expected)


def test_random_numbers_are_drawn_anew_and_by_their_seeds(session):
    name = session.load(unary("rand_like"))
    x = [array(np.zeros(3))]
    session.heat(name, x, seed=1)
    session.heat(name, x)
    assert session.known == 0
    first, again, other = (session.results(name, x, seed=seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()
    assert (session.results(name, x)[0] != session.results(name, x)[0]).all()


def test_captures_that_come_with_the_call_are_the_calls_own(session):
    graph = Graph((f64(3),), (f64(3),), (Equation("mul.Tensor", (0, 1), {}, (2,)),), (2,))
    name = session.load(wrapped(graph, [None]))
    x = array([1.0, 2.0, 3.0])
    for factor in (2.0, 3.0):
        captures = {0: array(np.full(3, factor))}
        session.heat(name, [x], captures=captures)
        np.testing.assert_array_equal(session.results(name, [x], captures=captures)[0], factor * x.data)
    message, _ = session.ask(name, [x])
    assert isinstance(message, Problem)


def test_constants_are_those_of_the_function(session):
    graph = Graph((f64(3),), (f64(3),), (Equation("mul.Tensor", (0, 1), {}, (2,)),), (2,))
    x = array([1.0, 2.0, 3.0])
    names = {factor: session.load(wrapped(graph, [array(np.full(3, factor))])) for factor in (2.0, 3.0)}
    for name in names.values():
        session.heat(name, [x])
    assert session.known == 2
    for factor, name in names.items():
        np.testing.assert_array_equal(session.results(name, [x])[0], factor * x.data)


def test_a_bool_that_is_2_is_refused_however_often_the_call_came(session):
    name = session.load(unary("logical_not", TensorType("bool", (3,))))
    good = array([True, False, True], "bool")
    session.heat(name, [good])
    body = bytearray(b"".join(encode_request(EvaluateRequest(name, (), (good,)))))
    body[-3:] = b"\1\2\0"
    message, _ = session.send(name, bytes(body))
    assert isinstance(message, Problem)
    assert message.problem["code"] == "invalid_array"


def test_a_request_that_is_cut_or_goes_on_is_no_known_call(session):
    name = session.load(SIN)
    x = array([1.0, 2.0, 3.0])
    session.heat(name, [x])
    body = b"".join(encode_request(EvaluateRequest(name, (), (x,))))
    for wrong in (body[:-8], body[:-1], body + bytes(8), body[:20], body[:5], b""):
        message, _ = session.send(name, wrong)
        assert isinstance(message, Problem), wrong
    np.testing.assert_array_equal(decode_response(session.send(name, body)[1]).arrays[0].data, np.sin(x.data))


def test_tensors_that_another_writer_left_unaligned(session):
    name = session.load(SIN)
    x = np.array([1.0, 2.0, 3.0])
    file = b"".join(encode_request(EvaluateRequest(name, (), (array(x),))))
    length = int.from_bytes(file[:8], "little")
    unaligned = (length + 3).to_bytes(8, "little") + file[8 : 8 + length] + b"   " + file[8 + length :]
    assert safetensors.decode(unaligned)[0]["0"].data.tolist() == x.tolist()
    for _ in range(12):
        session.send(name, unaligned)
        while session.handler.use_idle_time():
            pass
    np.testing.assert_array_equal(decode_response(session.send(name, unaligned)[1]).arrays[0].data, np.sin(x))


def test_an_error_has_its_words_and_place_and_the_next_call_is_answered(session):
    graph = Graph((f64(2, 2), f64(2)), (), (Equation("linalg_solve", (0, 1), {}, (2,)),), (2,))
    name = session.load(wrapped(graph))
    right = array([1.0, 2.0])
    session.heat(name, [array(np.eye(2)), right])
    for _ in range(2):
        message, _ = session.ask(name, [array(np.zeros((2, 2))), right])
        assert isinstance(message, Problem)
        assert "singular" in message.problem["detail"]
        assert message.problem["where"] == "equations[0] (linalg_solve)"
        np.testing.assert_array_equal(session.results(name, [array(2 * np.eye(2)), right])[0], [0.5, 1.0])


def test_a_fast_program_that_fails_is_given_up_and_the_plain_one_answers(session):
    name = session.load(SIN)
    x = array([1.0, 2.0, 3.0])
    session.heat(name, [x])
    [(_, plan)] = [item for item in session.handler._engine.plans if item[0].identity == name]

    def fail(leaves, captures):
        raise RuntimeError("it fails")

    plan._programs[plan.stage] = fail
    for stage in ("plain", "plain"):
        message, body = session.ask(name, [x])
        assert message.stage == stage or plan.stage is Stage.PLAIN
        np.testing.assert_array_equal(decode_response(body).arrays[0].data, np.sin(x.data))
    assert "it fails" in plan.records[Stage.FLAT].note


def test_plans_that_are_in_use_are_told_of(session, monkeypatch):
    monkeypatch.setattr(plan_cache, "_TELL_SECONDS", 0.0)
    name = session.load(SIN)
    x = array([1.0, 2.0, 3.0])
    session.heat(name, [x])
    calls = []
    for _ in range(3):
        message, _ = session.ask(name, [x])
        [told] = message.news
        calls.append(told["stages"]["flat"]["calls"])
    assert calls == [calls[0], calls[0] + 1, calls[0] + 2]


def test_with_the_first_plan_that_is_forgotten_all_are_let_go_of(session, monkeypatch):
    monkeypatch.setattr(plan_cache, "_TELL_SECONDS", 0.0)
    name, other = session.load(SIN), session.load(COS)
    x = array(np.ones(3))
    session.heat(name, [x])
    assert session.known == 1
    engine = session.handler._engine
    [is_kept] = [weakref.ref(program) for program, _ in engine.plans if program.identity == name]
    monkeypatch.setattr(plan_cache, "_MOST_PROGRAMS", 1)
    session.ask(other, [x])
    assert session.known == 0
    session.ask(other, [x])  # what was used last is told
    gc.collect()
    assert is_kept() is None
    np.testing.assert_array_equal(session.results(name, [x])[0], np.sin(x.data))


def test_no_more_are_kept_than_the_bound(session, monkeypatch):
    monkeypatch.setattr(calls_alike, "_MOST_KEPT", 2)
    name = session.load(unary("sin", f64("n")))
    for size in range(1, 6):
        session.heat(name, [array(np.ones(size))])
        assert session.known <= 2
        np.testing.assert_array_equal(session.results(name, [array(np.ones(size))])[0], np.sin(np.ones(size)))


@pytest.mark.parametrize("quick", [1.0, 0.0])
def test_many_at_once_have_each_its_own_answer_or_its_own_problem(session, monkeypatch, quick):
    monkeypatch.setattr(handler, "QUICK_SECONDS", quick)
    name = session.load(SIN)
    session.heat(name, [array(np.ones(3))], JACFWD)
    given = np.random.default_rng(1).normal(size=(70, 3))
    bodies = [b"".join(encode_request(EvaluateRequest(name, (JACFWD,), (array(x),)))) for x in given]
    bodies[5] = bodies[5][:-1]
    bodies[7] = b"".join(encode_request(EvaluateRequest(name, (JACFWD,), (array(given[7], "float32"),))))
    whole = b"".join(bodies)
    payload = memory_of(len(whole))
    payload[:] = whole
    message, parts = session.handler.answer(EvaluateMany(name, [len(body) for body in bodies]), payload)
    answers, start = b"".join(parts), 0
    for number, (x, size, problem) in enumerate(zip(given, message.sizes, message.problems, strict=True)):
        if number in (5, 7):
            assert problem["code"] in ("protocol", "invalid_request")
            assert size == 0
        else:
            (jacobian,) = decode_response(answers[start : start + size]).arrays
            np.testing.assert_allclose(jacobian.data, np.diag(np.cos(x)), rtol=1e-14, atol=0)
        start += size
    assert start == len(answers)


def test_what_is_large_goes_the_long_way(session):
    name = session.load(function_of([f64(100)], lambda builder, x: builder.add("sin", (x,))))
    session.heat(name, [array(np.ones(100))], JACFWD)  # 80 kB come back
    assert session.known == 0
