"""The HTTP API of a real server, as any program sees it."""

import http.client
import json
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import numpy as np
import pytest

from farfunc_protocol.document import function_from_bytes, function_to_json, identity
from farfunc_protocol.errors import PROBLEM_MEDIA_TYPE, from_problem
from farfunc_protocol.graph import Equation, Graph
from farfunc_protocol.ops import OPS
from farfunc_protocol.transforms import FlatTransform
from support import environments
from support.graphs import array, f64, function_of, wrapped
from support.http import BINARY, evaluation, open_client, register, results
from support.paths import ROOT
from support.serving import RunningServer

SIN = wrapped(Graph((f64(2),), (), (Equation("sin", (0,), {}, (1,)),), (1,)))
X = array([0.0, 1.0])
COSINES = [[1.0, 0.0], [0.0, float(np.cos(1.0))]]
JACFWD = FlatTransform("jacfwd", {"argnums": (0,)})


@pytest.fixture(scope="module")
def client(server_url):
    with open_client(server_url) as client:
        register(client, SIN, "http_sin")
        yield client


def problem(response, status, code):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM_MEDIA_TYPE
    document = response.json()
    assert (document["status"], document["code"]) == (status, code)
    assert document["detail"]
    assert document["request_id"] == response.headers["x-request-id"]
    assert from_problem(document).detail == document["detail"]
    return document


# Functions


def test_registering_describes(client):
    function = function_of([f64(2), f64()], lambda b, x, y: b.add("mul.Tensor", (x, y))[0])
    described = client.post("/v1/functions?name=http_scaled", json=function_to_json(function)).json()
    assert described["signature"] == "(float64[2], float64[]) -> float64[2]"
    assert (described["name"], described["version"], described["names"]) == ("http_scaled", 1, ["http_scaled@1"])
    assert described["operators"] == {"mul.Tensor": 1}
    assert described["inputs"] == ["float64[2]", "float64[]"]
    assert client.get("/v1/functions/http_scaled@1").json() == described
    assert {**client.get(f"/v1/functions/{described['id']}").json(), "name": 0, "version": 0, "created": 0} == {
        **described,
        **{"name": 0, "version": 0, "created": 0, "versions": []},
    }


def test_both_forms_of_a_function_are_one_function(client):
    assert client.post("/v1/functions", json=function_to_json(SIN)).json()["id"] == register(client, SIN)


def test_types_without_a_shape_rule_are_asked_of_a_worker(client):
    function = wrapped(Graph((f64(2),), (), (Equation("view.dtype", (0,), {"dtype": "int64"}, (1,)),), (1,)))
    register(client, function, "http_bits")
    assert client.get("/v1/functions/http_bits").json()["signature"] == "(float64[2]) -> int64[2]"
    answer = client.post("/v1/functions/http_bits/apply", json={"args": [[0.0, 1.0]]}).json()
    assert answer == {"result": {"dtype": "int64", "data": [0, 0x3FF0000000000000]}}


def test_graphs_in_three_forms(client):
    path = "/v1/functions/http_sin/graph"
    text = client.get(path)
    assert text.headers["content-type"].startswith("text/plain")
    assert "%1 = sin(%0)" in text.text
    assert client.get(path, headers={"accept": "application/json"}).json() == function_to_json(SIN)
    file = client.get(f"{path}?format=safetensors").content
    assert function_from_bytes(file) == SIN
    assert identity(file) == client.get("/v1/functions/http_sin").json()["id"]


def test_lists_page_by_page(client):
    names = [f"http_page_{i}" for i in range(5)]
    for name in names:
        register(client, SIN, name)
    found, path = [], "/v1/functions?limit=2&after=http_page@1"
    while path:
        page = client.get(path).json()
        found += [item["name"] for item in page["functions"]]
        path = page["next"]
    assert [name for name in found if name in names] == names


def test_deleting(client):
    function = wrapped(Graph((f64(7),), (), (), (0,)))
    id = register(client, function, "http_gone")
    problem(client.delete(f"/v1/functions/{id}"), 422, "invalid_request")
    assert client.delete("/v1/functions/http_gone").status_code == 204
    problem(client.get("/v1/functions/http_gone"), 404, "function_not_found")
    problem(client.post("/v1/evaluate", content=evaluation(id, [X]), headers=BINARY), 404, "function_not_found")


# Evaluation


def test_a_chain_in_binary(client):
    vmap = FlatTransform("vmap", {"in_dims": (0,), "out_dims": (0,)})
    body = evaluation("http_sin", [array([[0.0, 1.0]] * 3)], vmap, JACFWD)
    (result,) = results(client.post("/v1/evaluate", content=body, headers=BINARY))
    np.testing.assert_array_equal(result.data, [COSINES] * 3)


def test_a_chain_in_json(client):
    request = {
        "function": "http_sin@1",
        "transforms": [{"transform": "vmap"}, {"transform": "jacfwd"}],
        "args": [[[0.0, 1.0]] * 3],
    }
    assert client.post("/v1/evaluate", json=request).json()["result"]["data"] == [COSINES] * 3


def test_the_answer_takes_the_accepted_form(client):
    request = {"function": "http_sin", "transforms": [{"transform": "jacfwd"}], "args": [[0.0, 1.0]]}
    binary = client.post("/v1/evaluate", json=request, headers={"accept": BINARY["content-type"]})
    np.testing.assert_array_equal(results(binary)[0].data, COSINES)
    body = evaluation("http_sin", [X], JACFWD)
    answer = client.post("/v1/evaluate", content=body, headers={**BINARY, "accept": "application/json;q=0.5, text/*"})
    assert answer.json() == {"leaves": [{"dtype": "float64", "data": COSINES}]}


@pytest.mark.parametrize(
    ("transform", "body", "result"),
    [
        ("apply", {"args": [[0.0, 0.0]]}, [0.0, 0.0]),
        ("jacfwd", {"args": [[0.0, 1.0]], "argnums": 0}, COSINES),
        ("jacrev", {"args": [[0.0, 1.0]], "chunk_size": 1}, COSINES),
        ("hessian", {"args": [[0.0, 0.0]]}, [[[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]),
        ("vmap", {"args": [[[0.0, 0.0]]]}, [[0.0, 0.0]]),
    ],
)
def test_transforms_by_their_path(client, transform, body, result):
    answer = client.post(f"/v1/functions/http_sin/{transform}", json=body)
    assert answer.status_code == 200, answer.text
    np.testing.assert_array_equal(np.abs(answer.json()["result"]["data"]), result)


def test_gradients_and_products_by_their_path(client):
    total = function_of([f64(2)], lambda b, x: b.add("sum", (b.add("mul.Tensor", (x, x))[0],))[0])
    register(client, total, "http_total")
    path = "/v1/functions/http_total"
    assert client.post(f"{path}/grad", json={"args": [[1.0, 2.0]]}).json()["result"]["data"] == [2.0, 4.0]
    gradient, value = client.post(f"{path}/grad_and_value", json={"args": [[1.0, 2.0]]}).json()["result"]
    assert (gradient["data"], value["data"]) == ([2.0, 4.0], 5.0)
    out, tangent = client.post(f"{path}/jvp", json={"args": [[[1.0, 2.0]], [[1.0, 0.0]]]}).json()["result"]
    assert (out["data"], tangent["data"]) == (5.0, 2.0)
    out, pulled = client.post(f"{path}/vjp", json={"args": [[[1.0, 2.0]], 10.0]}).json()["result"]
    assert (out["data"], pulled[0]["data"]) == (5.0, [20.0, 40.0])


def test_base64_keeps_every_bit(client):
    body = {"args": [[0.0, 1.0]], "encoding": "base64"}
    answer = client.post("/v1/functions/http_sin/jacfwd", json=body).json()["result"]
    assert answer["shape"] == [2, 2]
    assert "base64" in answer


def test_large_arrays_go_through(client):
    count = 1 << 20
    function = wrapped(Graph((f64(count),), (), (Equation("neg", (0,), {}, (1,)),), (1,)))
    values = np.random.default_rng(0).normal(size=count)
    body = evaluation(register(client, function), [array(values)])
    (result,) = results(client.post("/v1/evaluate", content=body, headers=BINARY))
    np.testing.assert_array_equal(result.data, -values)


# Refusals


def test_unknown_paths_methods_and_functions(client):
    problem(client.get("/v1/nothing"), 404, "not_found")
    problem(client.post("/v1/functions/http_sin/jacobian", json={"args": []}), 404, "not_found")
    response = client.get("/v1/evaluate")
    problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"
    for path, methods in (("/v1/functions", "GET, POST"), ("/v1/functions/http_sin", "DELETE, GET"), ("/docs", "GET")):
        response = client.put(path)
        assert problem(response, 405, "method_not_allowed")["remedy"] == f"use {methods}"
        assert response.headers["allow"] == methods  # RFC 9110: all that the path takes
    problem(client.get("/v1/functions/nothing"), 404, "function_not_found")
    problem(client.get("/v1/functions/no%20name"), 422, "invalid_request")
    problem(client.get("/v1/functions/..%2f..%2fetc%2fpasswd"), 404, "not_found")


@pytest.mark.parametrize("given", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ";"])
def test_media_types_that_are_not_read(client, given):
    headers = {} if given is None else {"content-type": given}
    found = problem(client.post("/v1/evaluate", content=b"{}", headers=headers), 415, "unsupported_media_type")
    assert "application/json" in found["remedy"]


@pytest.mark.parametrize("given", ["image/png", "application/json;q=0", "nonsense;q=x"])
def test_answers_that_cannot_be_given(client, given):
    path = "/v1/functions/http_sin/jacfwd"
    problem(client.post(path, json={"args": [[0.0, 1.0]]}, headers={"accept": given}), 406, "not_acceptable")


def test_parameters_are_checked(client):
    assert problem(client.get("/v1/functions?limit=x"), 422, "invalid_request")["where"] == "query.limit"
    problem(client.get("/v1/functions/http_sin/graph?format=xml"), 422, "invalid_request")
    problem(client.post("/v1/functions?name=1", json=function_to_json(SIN)), 422, "invalid_request")
    for given in ("0", "-1", "nan", "soon"):
        response = client.post("/v1/evaluate", content=b"", headers={**BINARY, "x-timeout": given})
        assert problem(response, 422, "invalid_request")["where"] == "header.x-timeout"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"args": [NaN]}',
        b'{"args": [Infinity]}',
        b'{"args": [' + b"9" * 100_000 + b"]}",
        b'{"args": [1e999]}',
        b'{"args": [], "args": []}',
        b'{"args": ["\xff"]}',
        b'\xef\xbb\xbf{"args": []}',
        b'{"args": ["\\ud800"]}',
        b'"args"',
        b"null",
        b'{"args": {}}',
        b'{"args": [], "seed": -1}',
        b'{"args": [[0, 1]], "nothing": 1}',
        b'{"args": [[0, 1]], "argnums": 1e9}',
        b'{"args": [[0, 1]], "argnums": []}',
        b'{"args": [[0, 1]], "kwargs": {"x": 1}}',
        b'{"args": [[[0, 1], [0]]]}',
        b'{"args": [{"dtype": "float64", "shape": [1000000000000], "base64": ""}]}',
        b'{"args": [{"dtype": "float64", "shape": [-1], "data": []}]}',
        b'{"args": [{"dtype": "object", "data": [0, 1]}]}',
    ],
)
def test_hostile_json(client, text):
    headers = {"content-type": "application/json"}
    response = client.post("/v1/functions/http_sin/jacfwd", content=text, headers=headers)
    assert 400 <= response.status_code < 500, response.text
    document = problem(response, response.status_code, response.json()["code"])
    assert document["code"] != "internal"
    assert len(document["detail"]) < 2000


def test_evaluation_errors_name_the_equation(client):
    function = wrapped(Graph((f64(2, 2), f64(2)), (), (Equation("linalg_solve", (0, 1), {}, (2,)),), (2,)))
    body = evaluation(register(client, function), [array(np.zeros((2, 2))), X])
    found = problem(client.post("/v1/evaluate", content=body, headers=BINARY), 422, "evaluation")
    assert found["where"] == "equations[0] (linalg_solve)"
    assert "singular" in found["detail"]


def raw(url):
    parts = urlsplit(url)
    return http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)


def test_a_body_that_is_declared_too_large_is_not_read(client, server_url):
    connection = raw(server_url)
    connection.putrequest("POST", "/v1/functions")
    connection.putheader("content-type", BINARY["content-type"])
    connection.putheader("content-length", str(1 << 40))
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 413
    assert json.loads(response.read())["code"] == "limit_exceeded"
    connection.close()


def test_a_body_that_grows_too_large_is_cut_off(start_server):
    with start_server("--body-limit", "1M") as server:
        connection = raw(server.url)
        connection.putrequest("POST", "/v1/functions")
        connection.putheader("content-type", BINARY["content-type"])
        connection.putheader("transfer-encoding", "chunked")
        connection.endheaders()
        for _ in range(40):
            connection.send(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
            time.sleep(0)
        response = connection.getresponse()
        assert response.status == 413
        assert "1,048,576 are allowed" in json.loads(response.read())["detail"]
        connection.close()


@pytest.mark.parametrize(
    "text",
    [
        b"GET / HTTP/1.1\r\n\r\n\r\n",
        b"POST /v1/evaluate HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/evaluate HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_what_is_not_http_is_not_a_500(server_url, text):
    parts = urlsplit(server_url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(1 << 16)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404"))
    with open_client(server_url) as client:
        assert client.get("/healthz").status_code == 200


# The service


def test_request_ids(client):
    assert client.get("/healthz", headers={"x-request-id": "my-id.1"}).headers["x-request-id"] == "my-id.1"
    for hostile in ("a b", "x" * 65, 'a"\\'):
        given = client.get("/healthz", headers={"x-request-id": hostile}).headers["x-request-id"]
        assert given != hostile
        assert given.isalnum()


def test_the_op_table_and_the_devices(client):
    ops = {op["name"]: op for op in client.get("/v1/ops").json()["ops"]}
    assert set(ops) == set(OPS)
    assert ops["add.Tensor"]["schema"].startswith("add.Tensor(Tensor self")
    (device,) = client.get("/v1/devices").json()["devices"]
    assert device["state"] == "ready"
    assert device["memory_bytes"] > 0


def test_health_and_metrics(client):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    client.post("/v1/evaluate", content=evaluation("http_sin", [X]), headers=BINARY)
    client.get("/v1/functions/secret-name")
    text = client.get("/metrics").text
    assert 'farfunc_http_requests_total{method="POST",route="/v1/evaluate",status="200"}' in text
    assert 'farfunc_evaluations_total{outcome="ok"}' in text
    assert "farfunc_evaluation_seconds_count" in text
    assert "secret-name" not in text
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    page = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
    assert {name for name in names if f"`{name}`" not in page} == set(), "docs/server.md tells what there is"


def test_openapi_has_an_example_or_a_schema_for_every_body(client):
    document = client.get("/openapi.json").json()
    posts = [path for path, item in document["paths"].items() if "post" in item]
    assert set(posts) > {"/v1/functions", "/v1/evaluate", "/v1/functions/{reference}/{transform}"}
    without = {path for path in posts if "requestBody" not in document["paths"][path]["post"]}
    assert {path.rpartition("/")[2] for path in without} <= {"cancel", "retry", "drain", "restore"}
    for path in set(posts) - without:
        content = document["paths"][path]["post"]["requestBody"]["content"]
        assert "example" in content["application/json"]["schema"], path
    assert client.get("/docs").status_code == 200


def test_openapi_examples_are_accepted(client):
    document = client.get("/openapi.json").json()["paths"]

    def example(path):
        return document[path]["post"]["requestBody"]["content"]["application/json"]["schema"]["example"]

    assert client.post("/v1/functions?name=sin", json=example("/v1/functions")).status_code == 201
    assert client.post("/v1/evaluate", json=example("/v1/evaluate")).status_code == 200
    path = "/v1/functions/{reference}/{transform}"
    assert client.post("/v1/functions/sin/jacfwd", json=example(path)).status_code == 200


def test_a_token_is_asked_under_v1_only(start_server):
    with start_server(FARFUNC_TOKEN="s3cret") as server, open_client(server.url) as client:
        assert client.get("/healthz").status_code == 200
        for given in (None, "Bearer wrong", "Basic s3cret", "Bearer", "s3cret", "Bearer s3cret2"):
            headers = {} if given is None else {"authorization": given}
            response = client.get("/v1/functions", headers=headers)
            problem(response, 401, "unauthorized")
            assert response.headers["www-authenticate"] == "Bearer"
        assert client.get("/v1/functions", headers={"authorization": "Bearer s3cret"}).status_code == 200
        assert "s3cret" not in server.output()


def test_a_call_that_is_known_again_asks_for_the_token_and_for_what_its_name_stands_for_now(start_server):
    cos = wrapped(Graph((f64(2),), (), (Equation("cos", (0,), {}, (1,)),), (1,)))
    x = np.array([0.1, 0.2])
    with start_server(FARFUNC_TOKEN="s3cret") as server, open_client(server.url) as client:
        client.headers["authorization"] = "Bearer s3cret"
        register(client, SIN, "wave")
        body = evaluation("wave", [array(x)])
        for _ in range(20):
            np.testing.assert_array_equal(
                results(client.post("/v1/evaluate", content=body, headers=BINARY))[0].data, np.sin(x)
            )
        for given in ("Bearer wrong", "Bearer"):
            headers = {**BINARY, "authorization": given}
            problem(client.post("/v1/evaluate", content=body, headers=headers), 401, "unauthorized")
        register(client, cos, "wave")
        for _ in range(20):
            np.testing.assert_array_equal(
                results(client.post("/v1/evaluate", content=body, headers=BINARY))[0].data, np.cos(x)
            )
        assert client.delete("/v1/functions/wave").status_code == 204
        problem(client.post("/v1/evaluate", content=body, headers=BINARY), 404, "function_not_found")


def test_functions_survive_kill_9_of_the_server(tmp_path):
    known = {}
    for turn in range(4):
        with RunningServer(environments.full_python(), tmp_path, "--spare", "no") as server:
            with open_client(server.url) as client:
                for name, id in known.items():
                    assert client.get(f"/v1/functions/{name}").json()["id"] == id
                for i in range(3):
                    function = function_of(
                        [f64(turn + 1)], lambda b, x, i=i: b.add("mul.Scalar", (x,), {"other": i})[0]
                    )
                    known[f"f{turn}_{i}"] = register(client, function, f"f{turn}_{i}")
            server.process.kill()
            server.process.wait()
    assert len(known) == 12


def test_a_second_server_on_the_same_folder_is_one_sentence(start_server):
    with start_server() as server:
        ran = subprocess.run(
            [sys.executable, "-m", "farfunc_server", "--port", "0", "--data-dir", str(server.data_dir)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ran.returncode == 1
    assert "another server uses the data folder" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_port_that_is_taken_is_one_sentence(server_url, tmp_path):
    port = str(urlsplit(server_url).port)
    ran = subprocess.run(
        [sys.executable, "-m", "farfunc_server", "serve", "--port", port, "--data-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_server_stops_with_the_process_that_started_it(tmp_path):
    command = [sys.executable, "-m", "farfunc_server", "--port", "0", "--data-dir", str(tmp_path), "--stop-with-stdin"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout.readline().startswith(b"farfunc: listening on http://127.0.0.1:")
        process.stdin.close()
        assert process.wait(15) == 0


@pytest.mark.parametrize("words", [["dance"], ["serve", "--nothing"]])
def test_commands_that_do_not_exist(words):
    ran = subprocess.run([sys.executable, "-m", "farfunc_server", *words], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 2
    assert words[-1] in ran.stderr
    assert "Traceback" not in ran.stderr
