"""Requests that arrive in parts: interrupted, resumed, checked, and made into jobs."""

import hashlib
import socket
import time

import numpy as np
import pytest

from farfunc_protocol.messages import decode_response
from farfunc_protocol.transforms import FlatTransform
from support.graphs import array, f64, function_of
from support.http import evaluation, open_client, register
from support.jobs import ended

VMAP = FlatTransform("vmap", {"in_dims": (0,), "out_dims": (0,)})
SIN = function_of([f64(3)], lambda b, x: b.add("sin", (x,))[0])
SAMPLES = np.random.default_rng(0).random((50_000, 3))


@pytest.fixture
def client(server):
    with open_client(server.url) as client:
        yield client


def digest_of(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def begin(client, size, **members):
    response = client.post("/v1/uploads", json={"bytes": size, **members})
    assert response.status_code == 201, response.text
    assert response.headers["upload-offset"] == "0"
    return response.headers["location"]


def patch(client, path, start, part, **headers):
    return client.patch(path, content=part, headers={"upload-offset": str(start), **headers})


def test_a_job_of_what_was_uploaded_in_parts(client):
    body = evaluation(register(client, SIN), [array(SAMPLES)], VMAP)
    path = begin(client, len(body), digest=digest_of(body))
    step = len(body) // 3 + 1
    for start in range(0, len(body), step):
        head = client.head(path)
        assert (head.headers["upload-offset"], head.headers["upload-length"]) == (str(start), str(len(body)))
        response = patch(client, path, start, body[start : start + step])
        assert response.status_code == 200, response.text
    assert response.json()["content"] == digest_of(body)
    for _ in range(2):  # it is kept for others
        job = client.post("/v1/jobs", json={"input": digest_of(body)}).json()
        done = ended(client, job["id"])
        (found,) = decode_response(client.get(done["result"]["path"]).content).arrays
        np.testing.assert_allclose(found.data, np.sin(SAMPLES), rtol=1e-15)
    assert client.delete(path).status_code == 204
    assert client.get(path).json()["code"] == "upload_not_found"
    refused = client.post("/v1/jobs", json={"input": digest_of(body)})
    assert (refused.status_code, refused.json()["code"]) == (404, "upload_not_found")
    (found,) = decode_response(client.get(done["result"]["path"]).content).arrays
    assert found.data.shape == SAMPLES.shape


def test_what_has_arrived_of_a_broken_connection_is_kept(client, server):
    content = bytes(range(256)) * 200_000  # 51 MB
    path = begin(client, len(content), digest=digest_of(content))
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"PATCH {path} HTTP/1.1\r\nhost: x\r\nupload-offset: 0\r\ncontent-length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content[: 20 << 20])
    deadline = time.monotonic() + 20
    while (received := int(client.head(path).headers["upload-offset"])) < 16 << 20:
        assert time.monotonic() < deadline, received
        time.sleep(0.05)  # between two looks, bounded by the deadline
    while True:  # until what was on its way has arrived
        time.sleep(0.2)
        if (now := int(client.head(path).headers["upload-offset"])) == received:
            break
        received = now
    assert received <= 20 << 20
    response = patch(client, path, received, content[received:])
    assert response.json()["content"] == digest_of(content)


def test_a_part_that_does_not_follow_is_refused_and_told_where_to_go_on(client):
    path = begin(client, 10)
    assert patch(client, path, 0, b"abcd").status_code == 200
    for start in (0, 2, 5, 10):
        response = patch(client, path, start, b"ef")
        assert (response.status_code, response.json()["code"]) == (409, "upload_conflict")
        assert response.headers["upload-offset"] == "4"
    assert patch(client, path, 4, b"efghij").json()["content"] == digest_of(b"abcdefghij")
    # The answer may have been lost: an empty part at the end asks again.
    assert patch(client, path, 10, b"").json()["content"] == digest_of(b"abcdefghij")


def test_another_content_than_was_announced(client):
    path = begin(client, 3, digest=digest_of(b"abc"))
    response = patch(client, path, 0, b"abd")
    assert (response.status_code, response.json()["code"]) == (422, "digest_mismatch")
    assert client.get(path).status_code == 404


def test_more_than_was_announced(client):
    path = begin(client, 3)
    response = patch(client, path, 0, b"abcd")
    assert (response.status_code, response.json()["code"]) == (413, "limit_exceeded")
    assert patch(client, path, 0, b"abc").status_code == 200


@pytest.mark.parametrize(
    "document",
    [{}, [], {"bytes": 0}, {"bytes": True}, {"bytes": "1"}, {"bytes": 1, "digest": "x"}, {"bytes": 1, "y": 1}],
)
def test_what_cannot_be_begun(client, document):
    response = client.post("/v1/uploads", json=document)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert client.post("/v1/uploads", json={"bytes": 1 << 60}).status_code == 413


def test_what_is_no_part(client):
    path = begin(client, 3)
    for headers, status in (
        ({}, 422), ({"upload-offset": "x"}, 422), ({"upload-offset": "-1"}, 422),
        ({"upload-offset": "0", "content-encoding": "zstd"}, 415), ({"upload-offset": "9" * 30}, 422),
    ):  # fmt: skip
        assert client.patch(path, content=b"abc", headers=headers).status_code == status
    assert client.head("/v1/uploads/upload_x").status_code == 404
    refused = client.post("/v1/jobs", json={"input": digest_of(b"not there")})
    assert refused.status_code == 404


def test_an_upload_that_is_no_request_is_no_job(client):
    path = begin(client, 4)
    content = patch(client, path, 0, b"abcd").json()["content"]
    response = client.post("/v1/jobs", json={"input": content})
    assert (response.status_code, response.json()["code"]) == (422, "protocol"), response.text
