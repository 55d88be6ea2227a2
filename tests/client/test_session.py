"""The conversation with a server, fed by hand: what is asked in which order, and what is made of each answer."""

import gc
import json
from dataclasses import replace

import numpy as np
import pytest

import farfunc
from farfunc._answers import HttpResponse
from farfunc._session import _GRACE_SECONDS, FunctionInfo, Session, _identities, _identity_of
from farfunc_protocol import errors
from farfunc_protocol.document import function_from_bytes, function_to_bytes, identity
from farfunc_protocol.graph import Equation, Graph
from farfunc_protocol.messages import BINARY_MEDIA_TYPE, EvaluateResponse, decode_request, encode_response
from farfunc_protocol.transforms import FlatTransform
from support.graphs import array, f64, wrapped

JACREV = FlatTransform("jacrev", {"argnums": (0,)})
INFO = {
    "id": "sha256:" + "0" * 64,
    "name": "arm",
    "version": 3,
    "signature": "(float64[2]) -> float64[2]",
    "outputs": ["float64[2]"],
}


def sin():
    return wrapped(Graph((f64(2),), (), (Equation("sin", (0,), {}, (1,)),), (1,)))


def ok(*values):
    content = b"".join(encode_response(EvaluateResponse(tuple(array(value) for value in values))))
    return HttpResponse(200, {"content-type": BINARY_MEDIA_TYPE}, content)


def as_json(document, status=200):
    return HttpResponse(status, {"content-type": "application/json; charset=utf-8"}, json.dumps(document).encode())


def problem(error):
    content = json.dumps(error.to_problem()).encode()
    return HttpResponse(error.status, {"content-type": "application/problem+json"}, content)


def converse(exchange, *responses):
    """Run a conversation with these answers; its requests and its result."""
    requests = [next(exchange)]
    for response in responses:
        try:
            requests.append(exchange.send(response))
        except StopIteration as finished:
            return requests, finished.value
    raise AssertionError(f"it asks for more: {requests[-1]}")


class TestEvaluate:
    def test_the_identity_comes_first_and_is_all_where_the_server_knows_the_function(self):
        function = sin()
        requests, results = converse(Session().evaluate(function, [JACREV], [array([1.0, 2.0])], 7), ok([[3.0]]))
        assert [(request.method, request.path) for request in requests] == [("POST", "/v1/evaluate")]
        sent = decode_request(b"".join(requests[0].content))
        assert sent.function == identity(function_to_bytes(function))
        assert (sent.transforms, sent.seed) == ((JACREV,), 7)
        assert [result.to_numpy().tolist() for result in results] == [[[3.0]]]

    def test_a_function_that_the_server_lacks_is_sent_and_asked_for_again(self):
        function = sin()
        missing = problem(errors.FunctionNotFound("no such function"))
        exchange = Session().evaluate(function, [], [array([1.0, 2.0])])
        requests, results = converse(exchange, missing, as_json(INFO, 201), ok([1.0]))
        assert [request.path for request in requests] == ["/v1/evaluate", "/v1/functions", "/v1/evaluate"]
        assert function_from_bytes(b"".join(requests[1].content)) == function
        assert b"".join(requests[2].content) == b"".join(requests[0].content)
        assert len(results) == 1

    def test_a_function_that_is_lost_again_at_once_is_the_servers_error(self):
        missing = problem(errors.FunctionNotFound("no such function", request_id="f00"))
        with pytest.raises(farfunc.FunctionNotFound, match="f00"):
            converse(Session().evaluate(sin(), [], []), missing, as_json(INFO, 201), missing)

    def test_the_line_of_the_equation_at_fault_is_named(self):
        function = replace(sin(), sources=("arm.py:12, in forward",))
        refusal = problem(errors.ForwardModeUnsupported("no", where="equations[0] (sin)"))
        with pytest.raises(errors.ForwardModeUnsupported) as caught:
            converse(Session().evaluate(function, [JACREV], [array([1.0, 2.0])]), refusal)
        assert caught.value.where == "arm.py:12, in forward: equations[0] (sin)"

    def test_the_line_is_named_when_the_function_is_refused_as_it_comes(self):
        function = replace(sin(), sources=("arm.py:12, in forward",))
        refusal = problem(errors.InvalidGraph("mixed", where="body.graph.equations[0].in[1]", rule="G6"))
        missing = problem(errors.FunctionNotFound("no such function"))
        for exchange, answers in (
            (Session().evaluate(function, [JACREV], [array([1.0, 2.0])]), (missing, refusal)),
            (Session().upload(function, "sine"), (refusal,)),
        ):
            with pytest.raises(errors.InvalidGraph) as caught:
                converse(exchange, *answers)
            assert caught.value.where == "arm.py:12, in forward: body.graph.equations[0].in[1]"

    def test_captures_travel_with_the_call(self):
        requests, _ = converse(Session().evaluate(sin(), [], [], None, {1: array([4.0])}), ok())
        assert decode_request(b"".join(requests[0].content)).captures[1].to_numpy().tolist() == [4.0]

    def test_the_time_limit_is_told_and_waited_for(self):
        (request,), _ = converse(Session(timeout=2.5).evaluate(sin(), [], []), ok())
        assert request.headers["x-timeout"] == "2.5"
        assert request.seconds == 2.5 + _GRACE_SECONDS

    def test_without_a_time_limit_the_server_may_be_silent_for_as_long_as_it_likes(self):
        (request,), _ = converse(Session().evaluate(sin(), [], []), ok())
        assert "x-timeout" not in request.headers
        assert request.seconds is None

    @pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), float("inf"), 1e12, 1e300, "5", True, 1j, [5]])
    def test_a_time_limit_is_positive(self, timeout):
        with pytest.raises(farfunc.InvalidRequest, match="the timeout is") as caught:
            Session(timeout=timeout)
        assert "positive" in caught.value.remedy

    @pytest.mark.parametrize("timeout", [5, np.float32(5), np.int64(5)])
    def test_a_time_limit_is_any_number(self, timeout):
        (request,), _ = converse(Session(timeout=timeout).evaluate(sin(), [], []), ok())
        assert request.headers["x-timeout"] == "5"

    def test_identities_are_remembered_as_long_as_their_functions(self):
        function = sin()
        assert _identity_of(function) == _identity_of(function) == identity(function_to_bytes(function))
        key = id(function)
        assert key in _identities
        del function
        gc.collect()
        assert key not in _identities


def _classes(root):
    return [root, *(found for child in root.__subclasses__() for found in _classes(child))]


@pytest.mark.parametrize("error_class", [c for c in _classes(farfunc.FarfuncError) if c.__module__ == errors.__name__])
def test_a_problem_is_raised_as_the_class_that_it_was(error_class):
    given = error_class("what", where="args[0]", remedy="how", retry_after=2.0, rule="R7", request_id="abc")
    with pytest.raises(farfunc.FarfuncError) as caught:
        converse(Session().describe("arm"), problem(given))
    assert type(caught.value) is error_class
    assert vars(caught.value) == vars(given)


def test_a_problem_of_a_newer_server_keeps_its_words():
    response = as_json({"code": "quota", "detail": "no more today", "remedy": "wait"}, 429)
    response.headers["content-type"] = "application/problem+json"
    with pytest.raises(farfunc.FarfuncError, match="no more today"):
        converse(Session().evaluate(sin(), [], []), response)


HTML = b"<html>\n<body>It works!</body></html>"


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (HttpResponse(200, {"content-type": "text/html"}, HTML), "answers with text/html.*It works!"),
        (HttpResponse(200, {}, b""), "answers with no content type"),
        (HttpResponse(200, {"content-type": "application/json"}, b"{}"), "answers with application/json"),
        (HttpResponse(404, {"content-type": "text/html"}, HTML), "HTTP 404 and no farfunc error.*It works!"),
        (HttpResponse(502, {"content-type": "text/html"}, b"\xff" * 1000), "HTTP 502 and no farfunc error"),
        (HttpResponse(401, {}, b""), "HTTP 401 and no farfunc error"),
        (HttpResponse(400, {"content-type": "application/problem+json"}, b"[]"), "HTTP 400 and no farfunc error"),
        (HttpResponse(307, {"location": "https://other/v1/evaluate"}, b""), "redirects to 'https://other/v1/evaluate'"),
        (HttpResponse(304, {}, b""), "HTTP 304 and no farfunc error"),
    ],
)
def test_what_is_no_answer_of_farfunc_is_a_failed_connection(response, words):
    with pytest.raises(farfunc.ConnectionFailed, match=words) as caught:
        converse(Session().evaluate(sin(), [], []), response)
    assert "URL" in caught.value.remedy
    assert len(caught.value.detail) < 300


def test_a_url_with_a_path_too_many_is_a_failed_connection():
    missing = as_json({"code": "not_found", "detail": "there is nothing at '/v1/v1/devices'"}, 404)
    missing.headers["content-type"] = "application/problem+json"
    with pytest.raises(farfunc.ConnectionFailed, match="nothing at '/v1/v1/devices'") as caught:
        converse(Session().greet(), missing)
    assert "URL" in caught.value.remedy


@pytest.mark.parametrize("kept", [0, 7, 30, -1])
def test_a_damaged_result_is_a_protocol_error(kept):
    whole = ok([1.0, 2.0])
    with pytest.raises(farfunc.ProtocolError, match=r"^the server's answer cannot be read: "):
        converse(
            Session().evaluate(sin(), [], []), HttpResponse(200, whole.headers, (whole.content + b"x" * 8)[: kept or 0])
        )


def test_a_result_of_a_later_format_says_so():
    later = ok([1.0]).content.replace(b'\\"format\\":1', b'\\"format\\":9')
    with pytest.raises(farfunc.UnsupportedVersion):
        converse(Session().evaluate(sin(), [], []), HttpResponse(200, {"content-type": BINARY_MEDIA_TYPE}, later))


@pytest.mark.parametrize(
    "document",
    [[], {}, None, "text", {**INFO, "outputs": 3}, {**INFO, "outputs": ["float65[2]"]}, {"id": 1, "name": None}],
)
def test_a_description_with_members_missing_is_a_protocol_error(document):
    with pytest.raises(farfunc.ProtocolError, match="answer cannot be read"):
        converse(Session().describe("arm"), as_json(document))


def test_a_description_is_no_json():
    with pytest.raises(farfunc.ProtocolError, match="it is JSON and is not"):
        converse(Session().describe("arm"), HttpResponse(200, {"content-type": "application/json"}, b"<html>"))


def test_some_other_json_service_is_not_greeted():
    with pytest.raises(farfunc.ProtocolError, match="devices"):
        converse(Session().greet(), as_json({"message": "Hello"}))


class TestFunctions:
    def test_describe(self):
        (request,), info = converse(Session().describe("arm@3"), as_json({**INFO, "later_member": 1}))
        assert (request.method, request.path) == ("GET", "/v1/functions/arm@3")
        assert info == FunctionInfo(INFO["id"], "arm", 3, INFO["signature"], (f64(2),))
        assert info.reference == "arm@3"

    def test_describe_tells_all_that_the_server_does(self):
        more = {"bytes": 312, "created": 1.5e9, "names": ["arm@3"], "versions": [1, 3], "operations": 8.0}
        _, info = converse(Session().describe("arm"), as_json({**INFO, **more, "operators": {"sin": 2}}))
        assert (info.nbytes, info.created, info.names, info.versions) == (312, 1.5e9, ("arm@3",), (1, 3))
        assert (info.operators, info.operations) == ({"sin": 2}, 8.0)

    def test_types_that_no_worker_could_tell_are_unknown(self):
        _, info = converse(Session().describe("arm"), as_json({**INFO, "outputs": ["float64[2]", None]}))
        assert info.outputs is None

    def test_a_function_without_a_name_goes_by_its_identity(self):
        info = FunctionInfo.from_json({**INFO, "name": None, "version": None})
        assert info.reference == INFO["id"]

    @pytest.mark.parametrize(
        "reference", ["", "a b", "../devices", "arm@0", "arm@latest", "sha256:12", "ärm", "arm?x=1", None, 3]
    )
    def test_what_names_no_function_is_refused_here(self, reference):
        for exchange in (Session().describe(reference), Session().delete(reference), Session().fetch(reference)):
            with pytest.raises(farfunc.InvalidRequest, match="does not name a function"):
                next(exchange)

    def test_an_identity_is_a_path_of_its_own(self):
        request = next(Session().download(INFO["id"]))
        assert request.path == f"/v1/functions/{INFO['id']}/graph?format=safetensors"

    def test_fetch_reads_the_function_that_was_described(self):
        # The name may have a new version in between.
        file = HttpResponse(200, {"content-type": BINARY_MEDIA_TYPE}, function_to_bytes(sin()))
        requests, (info, function) = converse(Session().fetch("arm"), as_json(INFO), file)
        assert [request.path.partition("?")[0] for request in requests] == [
            "/v1/functions/arm",
            f"/v1/functions/{INFO['id']}/graph",
        ]
        assert (info.version, function) == (3, sin())

    def test_upload_quotes_the_name(self):
        (request,), _ = converse(Session().upload(sin(), "a b&c"), as_json(INFO, 201))
        assert request.path == "/v1/functions?name=a+b%26c"

    def test_delete_is_not_sent_twice(self):
        (request,), result = converse(Session().delete("arm"), HttpResponse(204, {}, b""))
        assert (request.method, request.path, request.repeatable) == ("DELETE", "/v1/functions/arm", False)
        assert result is None

    def test_delete_hears_what_the_server_says(self):
        with pytest.raises(farfunc.FunctionNotFound):
            converse(Session().delete("arm"), problem(errors.FunctionNotFound("none")))
        with pytest.raises(farfunc.ConnectionFailed):
            converse(Session().delete("arm"), HttpResponse(200, {"content-type": "text/html"}, HTML))


class TestList:
    def test_pages(self):
        second = "/v1/functions?after=arm@3&limit=100"
        pages = [{"functions": [INFO], "next": second}, {"functions": [{**INFO, "version": 4}], "next": None}]
        requests, infos = converse(Session().list(), *map(as_json, pages))
        assert [request.path for request in requests] == ["/v1/functions", second]
        assert [info.version for info in infos] == [3, 4]

    @pytest.mark.parametrize("following", ["https://elsewhere/v1/functions?x", "//elsewhere/v1/functions", 7])
    def test_the_token_goes_nowhere_else(self, following):
        with pytest.raises(farfunc.ProtocolError):
            converse(Session().list(), as_json({"functions": [], "next": following}))

    def test_a_circle_ends(self):
        page = as_json({"functions": [INFO], "next": "/v1/functions?after=arm@3"})
        with pytest.raises(farfunc.ProtocolError, match="leads back"):
            converse(Session().list(), page, page)


def test_arrays_are_those_of_the_call():
    x = np.arange(3.0)[::-1]
    (request,), _ = converse(Session().evaluate(sin(), [], [array(x)]), ok())
    assert decode_request(b"".join(request.content)).arrays[0].to_numpy().tolist() == [2.0, 1.0, 0.0]


def test_constants_of_a_downloaded_function_cannot_be_written_to():
    """Its identity is that of its bytes."""
    graph = Graph((f64(2),), (f64(2),), (Equation("add.Tensor", (0, 1), {}, (2,)),), (2,))
    function = wrapped(graph, [array([1.0, 2.0])])
    content = bytearray(function_to_bytes(function))
    response = HttpResponse(200, {"content-type": BINARY_MEDIA_TYPE}, content)
    _, found = converse(Session().download(INFO["id"]), response)
    assert found.constants[0].data.tolist() == [1.0, 2.0]
    assert not found.constants[0].data.flags.writeable
