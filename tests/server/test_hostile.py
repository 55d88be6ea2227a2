"""Ten thousand mutated documents: each is accepted and right, or refused with 4xx and a reason.

The seeds are fixed. Functions and requests are changed in one to four places: other operators,
attributes, variables, types, trees, numbers, missing and doubled members, garbled text and bytes.
"""

import json
import random

import numpy as np
import pytest
import torch

from farfunc_protocol import array_json
from farfunc_protocol.document import function_from_bytes, function_to_bytes, function_to_json, identity
from farfunc_protocol.errors import PROBLEM_MEDIA_TYPE
from farfunc_protocol.graph import Equation, Function, Graph, TensorType
from farfunc_protocol.messages import EvaluateRequest, decode_request, decode_response, encode_request
from farfunc_protocol.ops import OPS
from farfunc_protocol.pytree import flatten
from farfunc_protocol.strict_json import parse_json
from farfunc_protocol.transforms import FlatTransform
from support.graphs import array, f64, i64, wrapped
from support.http import BINARY, evaluation
from support.in_process import InProcessServer
from support.mutations import mutated_binary, mutated_json

pytestmark = pytest.mark.timeout(900)

JSON = {"content-type": "application/json", "x-timeout": "30"}
BINARY = {**BINARY, "x-timeout": "30"}

PLAIN = wrapped(
    Graph(
        (f64(3), f64(2, 3)),
        (f64(3),),
        (
            Equation("sin", (0,), {}, (3,)),
            Equation("mul.Tensor", (3, 2), {}, (4,)),
            Equation("mv", (1, 4), {}, (5,)),
            Equation("sum.dim_IntList", (1,), {"dim": (0,), "keepdim": False}, (6,)),
            Equation("stack", ((6, 0),), {"dim": 1}, (7,)),
            Equation("clamp", (7,), {"min": -0.5, "max": 2.0}, (8,)),
        ),
        (5, 8),
    ),
    [array([1.0, -2.0, 0.5])],
)
NESTED = wrapped(
    Graph(
        (f64("n"), f64()),
        (),
        (
            Equation(
                "grad",
                (0, 1),
                {"argnums": (0,)},
                (2,),
                Graph(
                    (f64("n"),),
                    (f64(),),
                    (
                        Equation("mul.Tensor", (0, 1), {}, (2,)),
                        Equation("tanh", (2,), {}, (3,), grad=False),
                        Equation("dot", (3, 0), {}, (4,)),
                    ),
                    (4,),
                ),
            ),
            Equation("ones", (), {"size": ({"dim": "n"},), "dtype": "float64"}, (3,)),
            Equation("outer", (2, 3), {}, (4,)),
        ),
        (4,),
    )
)
INDEXED = Function(
    Graph(
        (f64(4, 3), i64(2)),
        (),
        (
            Equation("index.Tensor", (0, (1,)), {}, (2,)),
            Equation("max.dim", (2,), {"dim": 1}, (3, 4)),
            Equation("split.Tensor", (0,), {"split_size": 2, "dim": 0}, (5, 6)),
            Equation("linalg_vector_norm", (5,), {"ord": 2.0, "dim": (1,)}, (7,)),
        ),
        (3, 4, 6, 7),
    ),
    (),
    flatten(((0,), {"index": 0}))[1],
    flatten({"largest": (0, 0), "rest": [0, 0]})[1],
)
FUNCTIONS = [PLAIN, NESTED, INDEXED]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    settings = {"memory_limit": 1 << 26, "operation_limit": 1e9, "threads": 1, "devices": ("cpu",)}
    with InProcessServer(tmp_path_factory.mktemp("hostile"), **settings) as server:
        for name, function in (("plain", PLAIN), ("indexed", INDEXED)):
            assert server.request("POST", f"/v1/functions?name={name}", function_to_bytes(function), BINARY).is_success
        yield server


def refused_or(response, *accepted):
    """Whether a request was accepted; fails unless it was refused as it should be."""
    if response.status_code in accepted:
        return True
    shown = response.text[:2000]
    assert 400 <= response.status_code < 500, shown
    assert response.headers["content-type"] == PROBLEM_MEDIA_TYPE, shown
    problem = response.json()
    assert problem["status"] == response.status_code, shown
    assert problem["code"] not in ("internal", "server"), shown
    assert isinstance(problem["detail"], str), shown
    assert 3 < len(problem["detail"]) < 4000, shown
    assert "Traceback" not in shown
    return False


def interpret(graph, leaves, captures):
    """What a graph without bodies means, by torch's own schemas and nothing of the server's."""
    values = [*leaves, *captures]
    for equation in graph.equations:
        schema = OPS[equation.op].schema
        operator = getattr(getattr(torch.ops.aten, schema.name), schema.overload)
        operands = iter(equation.inputs)
        attributes = schema.complete(equation.attributes)
        arguments, keywords = [], {}
        for argument in operator._schema.arguments:
            if any(tensor.name == argument.name for tensor in schema.tensor_arguments):
                operand = next(operands)
                take = lambda var: None if var is None else values[var]  # noqa: E731
                value = [take(var) for var in operand] if isinstance(operand, tuple) else take(operand)
            elif argument.name in attributes:
                value = attributes[argument.name]
                value = getattr(torch, value) if "dtype" in argument.name and isinstance(value, str) else value
            else:
                value = argument.default_value
            if argument.kwarg_only:
                keywords[argument.name] = value
            else:
                arguments.append(value)
        result = operator(*arguments, **keywords)
        values.extend(result if isinstance(result, tuple | list) else [result])
    return tuple(values[var] for var in graph.outputs)


def tensor(array):
    return torch.from_numpy(np.array(array.data))


def same(results, expected):
    assert len(results) == len(expected)
    for result, wanted in zip(results, expected, strict=True):
        wanted = wanted.detach().resolve_conj().resolve_neg()
        assert result.shape == tuple(wanted.shape)
        assert f"torch.{result.dtype}" == str(wanted.dtype)
        np.testing.assert_allclose(result.data, wanted.numpy(), rtol=1e-12, equal_nan=True)


def check_function(server, document):
    """A function that was accepted is what was sent, and is evaluated as torch would."""
    file = server.request("GET", f"/v1/functions/{document['id']}/graph?format=safetensors").content
    assert identity(file) == document["id"]
    function = function_from_bytes(file)
    assert function_to_bytes(function) == file
    graph = function.graph
    types = [*graph.inputs, *graph.captures]
    numbers = all(type.dtype in ("float64", "int64") for type in types)
    small = sum(np.prod([n for n in type.shape if isinstance(n, int)]) for type in types) < 1000
    if not numbers or not small or any(isinstance(length, str) for type in types for length in type.shape):
        return
    leaves = [array(np.ones(type.shape), type.dtype) for type in graph.inputs]
    captures = {i: array(np.ones(graph.captures[i].shape), graph.captures[i].dtype) for i in document["open_captures"]}
    body = b"".join(encode_request(EvaluateRequest(document["id"], (), tuple(leaves), captures)))
    response = server.request("POST", "/v1/evaluate", body, BINARY)
    if not refused_or(response, 200):
        return
    results = decode_response(response.content).arrays
    described = server.request("GET", f"/v1/functions/{document['id']}").json()["outputs"]
    for result, text in zip(results, described, strict=True):
        assert text is None or text == str(result.type)
    plain = all(equation.body is None and not OPS[equation.op].random for equation in graph.walk())
    if plain and not any(op.startswith(("empty", "new_empty")) for op in document["operators"]):
        given = [constant or captures[i] for i, constant in enumerate(function.constants)]
        same(results, interpret(graph, map(tensor, leaves), list(map(tensor, given))))


@pytest.mark.parametrize("number", range(len(FUNCTIONS)))
@pytest.mark.parametrize("form", ["json", "binary"])
def test_functions(server, number, form):
    randomness = random.Random(f"functions {number} {form}")
    function = FUNCTIONS[number]
    document, file = function_to_json(function), function_to_bytes(function)
    accepted = 0
    for _ in range(1000):
        if form == "json":
            body, headers = mutated_json(document, randomness), JSON
        else:
            body, headers = mutated_binary(file, randomness), BINARY
        response = server.request("POST", "/v1/functions", body, headers)
        if refused_or(response, 201):
            accepted += 1
            check_function(server, response.json())
    assert 10 < accepted < 900


CHAINS = [
    [("jacfwd", {"argnums": (0, 1)})],
    [("jacrev", {"argnums": (1,), "chunk_size": 2})],
    [("vmap", {"in_dims": (0, None), "out_dims": (0, 1)}), ("jacrev", {"argnums": (0,), "aux": 0})],
    [("jvp", {}), ("jacfwd", {"argnums": (0,), "randomness": "same"})],
]


def local(chain, arrays, plain):
    """The chain by torch.func, for a function of two leaves that returns two."""
    function = plain
    for flat in reversed(chain):
        function = applied(flat, function)
    return function(*map(tensor, arrays))


def leaves(tree):
    return (tree,) if isinstance(tree, torch.Tensor) else tuple(leaf for item in tree for leaf in leaves(item))


def applied(flat, function):
    attributes = dict(flat.attributes)
    aux = attributes.pop("aux", 0)
    split = (lambda *a: (function(*a)[:-aux], function(*a)[-aux:])) if aux else function
    if flat.name == "vmap":
        return lambda *a: tuple(torch.func.vmap(function, **attributes)(*a))
    if flat.name in ("jacfwd", "jacrev", "hessian"):
        extra = {"has_aux": True} if aux else {}
        return lambda *a: leaves(getattr(torch.func, flat.name)(split, **attributes, **extra)(*a))
    if flat.name == "jvp":
        return lambda *a: leaves(torch.func.jvp(split, a[: len(a) // 2], a[len(a) // 2 :], has_aux=bool(aux)))
    pytest.skip(f"a mutation made a {flat.name}")


@pytest.mark.parametrize("number", range(len(CHAINS)))
def test_binary_requests(server, number):
    randomness = random.Random(f"binary requests {number}")
    chain = [FlatTransform(*item) for item in CHAINS[number]]
    values = [np.linspace(0.0, 1.0, 3), np.linspace(-1.0, 1.0, 6).reshape(2, 3)]
    if chain[0].name == "vmap":
        values[0] = np.stack([values[0]] * 4)
    if chain[0].name == "jvp":
        values += [value + 1 for value in values]
    body = evaluation("plain", [array(value) for value in values], *chain, seed=1)
    accepted = 0
    for _ in range(600):
        changed = mutated_binary(body, randomness)
        response = server.request("POST", "/v1/evaluate", changed, BINARY)
        if refused_or(response, 200):
            accepted += 1
            request = decode_request(changed)
            if request.function.startswith("plain"):
                function = lambda *a: interpret(PLAIN.graph, a, [tensor(PLAIN.constants[0])])  # noqa: E731
                same(decode_response(response.content).arrays, local(request.transforms, request.arrays, function))
    assert accepted > 10


REQUESTS = [
    ("/v1/evaluate", {"function": "plain", "transforms": [{"transform": "jacfwd", "argnums": [0, 1]}]}),
    ("/v1/functions/plain/jacrev", {"argnums": 0, "chunk_size": 2, "has_aux": False}),
    ("/v1/functions/plain/apply", {"kwargs": {}, "seed": 3, "encoding": "base64"}),
]


@pytest.mark.parametrize("number", range(len(REQUESTS)))
def test_json_requests(server, number):
    randomness = random.Random(f"json requests {number}")
    path, document = REQUESTS[number]
    x, y = [0.0, 0.5, 1.0], {"dtype": "float64", "data": [[1.0, 2.0, 3.0], [4.0, 5.0, "NaN"]]}
    document = {**document, "args": [x, y]}
    accepted = 0
    for _ in range(534):
        changed = mutated_json(document, randomness)
        response = server.request("POST", path, changed, JSON)
        if not refused_or(response, 200):
            continue
        accepted += 1
        request = parse_json(changed)
        if path != "/v1/functions/plain/apply" or request.get("function", "plain") != "plain":
            continue
        types = (TensorType("float64", (3,)), TensorType("float64", (2, 3)))
        given = [array_json.from_json(value, expected=type) for value, type in zip(request["args"], types, strict=True)]
        expected = interpret(PLAIN.graph, map(tensor, given), [tensor(PLAIN.constants[0])])
        same([array_json.from_json(item) for item in response.json()["result"]], expected)
    assert accepted > 10


def test_the_server_is_well_after_all_that(server):
    body = json.dumps({"args": [[0.0, 0.0, 0.0], [[1.0] * 3] * 2]}).encode()
    assert server.request("POST", "/v1/functions/plain/apply", body, JSON).status_code == 200
    (device,) = server.request("GET", "/v1/devices").json()["devices"]
    assert device["restarts"] == 0
