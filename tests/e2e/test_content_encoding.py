"""Bodies and answers that are compressed with zstd."""

import sys

import numpy as np
import pytest

from farfunc_protocol.errors import LimitExceeded
from farfunc_protocol.graph import Equation, Graph
from farfunc_server.routes.encoding import decompressed
from support.graphs import array, f64, wrapped
from support.http import BINARY, evaluation, open_client, register, results
from support.in_process import InProcessServer

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

N = 100_000
SIN = wrapped(Graph((f64(N),), (), (Equation("sin", (0,), {}, (1,)),), (1,)))
ZSTD = {**BINARY, "content-encoding": "zstd"}


@pytest.fixture(scope="module")
def client(server_url):
    with open_client(server_url) as client:
        del client.headers["accept-encoding"]
        yield client


@pytest.fixture(scope="module")
def body(client):
    return evaluation(register(client, SIN), [array(np.zeros(N))])


def problem(response, status, code):
    assert response.status_code == status, response.text
    assert response.json()["code"] == code
    return response.json()


@pytest.mark.parametrize("frames", [1, 3])
def test_a_compressed_body(client, body, frames):
    size = len(body) // frames + 1
    sent = b"".join(zstd.compress(body[start : start + size]) for start in range(0, len(body), size))
    assert len(sent) < len(body) / 100
    [sines] = results(client.post("/v1/evaluate", content=sent, headers=ZSTD))
    assert not sines.to_numpy().any()
    assert client.post("/v1/evaluate", content=body, headers={**BINARY, "content-encoding": "identity"}).is_success


def test_functions_and_json_too(client):
    text = zstd.compress(b'{"args": [[%s]]}' % b",".join([b"0"] * N))
    headers = {"content-type": "application/json", "content-encoding": "zstd", "accept-encoding": "zstd"}
    response = client.post(f"/v1/functions/{register(client, SIN)}/apply", content=text, headers=headers)
    assert response.status_code == 200
    assert response.headers["content-encoding"] == "zstd"


@pytest.mark.parametrize("accepted", ["zstd", "gzip, zstd;q=0.5", "ZSTD ; q=1"])
def test_a_compressed_answer(client, body, accepted):
    headers = {**BINARY, "accept-encoding": accepted}
    with client.stream("POST", "/v1/evaluate", content=body, headers=headers) as response:
        raw = b"".join(response.iter_raw())
    assert response.headers["content-encoding"] == "zstd"
    assert response.headers["vary"] == "accept-encoding"
    assert int(response.headers["content-length"]) == len(raw) < N / 100
    assert zstd.decompress(raw) == client.post("/v1/evaluate", content=body, headers=BINARY).content


@pytest.mark.parametrize("accepted", ["gzip, br", "zstd;q=0", "zstd; q=0.000", "*", "identity", ""])
def test_an_answer_that_is_not_to_be_compressed(client, body, accepted):
    response = client.post("/v1/evaluate", content=body, headers={**BINARY, "accept-encoding": accepted})
    assert "content-encoding" not in response.headers


def test_small_answers_are_left_as_they_are(client):
    headers = {"accept-encoding": "zstd"}
    response = client.get("/healthz", headers=headers)
    assert "content-encoding" not in response.headers
    assert response.json() == {"status": "ok"}
    name = client.post(
        "/v1/functions?name=encoded",
        content=client.get(f"/v1/functions/{register(client, SIN)}/graph?format=safetensors").content,
        headers=BINARY,
    ).json()["name"]
    assert client.delete(f"/v1/functions/{name}", headers=headers).status_code == 204


def test_encodings_that_are_not_known(client, body):
    for given in ("gzip", "zstd, gzip", "zstd, zstd"):
        response = client.post("/v1/evaluate", content=body, headers={**BINARY, "content-encoding": given})
        assert problem(response, 415, "unsupported_content_encoding")["where"] == "header.content-encoding"
        assert response.headers["accept-encoding"] == "zstd"


@pytest.mark.parametrize("fault", ["cut", "nonsense", "behind", "window", "frames"])
def test_what_is_not_what_it_says(client, body, fault):
    sent = zstd.compress(body)
    if fault == "cut":
        sent = sent[:-3]
    elif fault == "nonsense":
        sent = body
    elif fault == "behind":
        sent += b"more"
    elif fault == "frames":
        sent = zstd.compress(b"") * 200_000 + sent
    else:
        options = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.content_size_flag: 0}
        compressor = zstd.ZstdCompressor(options=options)
        sent = compressor.compress(body) + compressor.flush()
    assert problem(client.post("/v1/evaluate", content=sent, headers=ZSTD), 400, "bad_content_encoding")["remedy"]


@pytest.mark.parametrize("level", [-5, 3])
@pytest.mark.parametrize("sizes", [(0, 1), (300_000, 0, 0, 5), (131_072,), (1_000_000, 131_071, 131_073)])
def test_frames_of_any_size(level, sizes):
    chance = np.random.default_rng(0)
    parts = [chance.bytes(size // 2) + bytes(size - size // 2) for size in sizes]
    sent = b"".join(zstd.compress(part, level) for part in parts)
    assert decompressed(sent, sum(sizes)) == b"".join(parts)
    with pytest.raises(LimitExceeded):
        decompressed(sent, sum(sizes) - 1)


def test_a_bomb_is_stopped_at_the_limit(tmp_path):
    sent = zstd.compress(bytes(1 << 30), 19)
    assert len(sent) < 1 << 20
    with InProcessServer(tmp_path, body_limit=1 << 20, spare=False, compile_plans=False) as server:
        response = server.request("POST", "/v1/evaluate", sent, ZSTD)
        assert "1,048,576 are allowed" in problem(response, 413, "limit_exceeded")["detail"]
