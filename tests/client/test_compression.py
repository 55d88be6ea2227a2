"""Content-Encoding: zstd, in both directions, on request. The server is a stub that speaks it."""

import asyncio
import sys

import httpx
import numpy as np
import pytest

import farfunc
from farfunc._answers import response_of
from farfunc._body import Plain
from farfunc._compression import require_zstd
from farfunc_protocol.arrays import Array
from farfunc_protocol.document import function_from_bytes
from farfunc_protocol.messages import BINARY_MEDIA_TYPE, EvaluateResponse, decode_request, encode_response
from farfunc_protocol.safetensors import decode, encode_bytes
from support.raw_servers import raw_server, read_request, respond

X = np.zeros(30_000)


def test_without_the_package_it_says_what_to_install(monkeypatch):
    for name in ("compression", "compression.zstd", "backports", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    for make in (farfunc.Client, farfunc.AsyncClient):
        with pytest.raises(farfunc.InvalidRequest, match="needs the package") as caught:
            make("http://127.0.0.1:1", compress=True)
        assert "pip install 'farfunc[zstd]'" in caught.value.remedy
    farfunc.Client("http://127.0.0.1:1").close()


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd, gzip", "é"])
def test_a_coding_that_nobody_asked_for_is_an_error(coding):
    def answer(connection, number):
        read_request(connection)
        respond(connection, content_encoding=coding)

    with raw_server(answer) as url, pytest.raises(farfunc.ConnectionFailed, match="which was not asked for"):
        farfunc.connect(url)


def test_identity_is_no_coding():
    plain = raw_server(lambda c, _: read_request(c) and respond(c, content_encoding="Identity"))
    with plain as url, farfunc.Client(url) as client:
        client.greet()


class Stub:
    """Answers with the sine of what it was sent, and keeps the requests' heads."""

    def __init__(self):
        self.zstd = require_zstd()
        self.heads, self.known = [], False

    def __call__(self, connection, number):
        while request := read_request(connection):
            head, _, body = request.partition(b"\r\n\r\n")
            status, content, media_type, headers = self.answer(head.lower(), body)
            respond(connection, status, content, media_type, **headers)

    def answer(self, head, body):
        self.heads.append(head)
        if b"content-encoding: zstd" in head:
            body = self.zstd.decompress(body)
        if b"/v1/functions" in head:
            function_from_bytes(body)
            self.known = True
            content = b'{"id": "sha256:%s", "name": null, "version": null, "signature": ""}' % (b"0" * 64)
            return self.coded(head, 201, content, "application/json")
        if not self.known:
            content = b'{"code": "function_not_found", "detail": "no such function", "status": 404}'
            return self.coded(head, 404, content, "application/problem+json")
        arrays = (Array.from_numpy(np.sin(decode_request(body).arrays[0].data)),)
        return self.coded(head, 200, b"".join(encode_response(EvaluateResponse(arrays))), BINARY_MEDIA_TYPE)

    def coded(self, head, status, content, media_type):
        if b"accept-encoding: zstd" not in head:
            return status, content, media_type, {}
        return status, self.zstd.compress(content), media_type, {"content_encoding": "zstd"}


@pytest.fixture
def stub():
    return Stub()


def sync(url, transport=None, **options):
    with farfunc.Client(url, transport=transport, **options) as client:
        return client.jacfwd(np.sin)(X + 0.5)


def asynchronous(url, **options):
    async def main():
        async with farfunc.AsyncClient(url, **options) as client:
            return await client.jacfwd(np.sin)(X + 0.5)

    return asyncio.run(main())


@pytest.mark.parametrize("call", [sync, asynchronous])
def test_both_directions(stub, call, monkeypatch):
    with raw_server(stub) as url:
        result = call(url, compress=True)
    np.testing.assert_array_equal(result, np.sin(X + 0.5))
    assert result.flags.owndata
    assert result.flags.writeable
    lengths = [int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]) for head in stub.heads]
    assert all(b"accept-encoding: zstd" in head for head in stub.heads)
    assert lengths[-1] < X.nbytes / 10  # it holds one number, again and again


def test_not_unless_asked_for(stub):
    with raw_server(stub) as url:
        sync(url)
    assert all(b"accept-encoding: identity" in head and b"content-encoding" not in head for head in stub.heads)


def test_what_does_not_compress_is_sent_as_it_is(stub):
    noise = np.random.default_rng(0).integers(0, 256, 80_000, np.uint8).view(np.float64)
    noise = np.where(np.isfinite(noise), noise, 0.0)
    with raw_server(stub) as url, farfunc.Client(url, compress=True) as client:
        np.testing.assert_array_equal(client.vmap(np.sin)(noise), np.sin(noise))
        np.testing.assert_array_equal(client.vmap(np.sin)(noise[:3]), np.sin(noise[:3]))
    assert b"content-encoding" not in stub.heads[-1]


def test_through_httpx(stub):
    def handle(request):
        head = f"POST {request.url.path}\r\n".encode()
        head += b"".join(b"%s: %s\r\n" % (name.lower(), value) for name, value in request.headers.raw)
        status, content, media_type, headers = stub.answer(head, request.content)
        headers = {name.replace("_", "-"): value for name, value in headers.items()} | {"content-type": media_type}
        return httpx.Response(status, stream=httpx.ByteStream(content), headers=headers)

    result = sync("http://gpu", httpx.MockTransport(handle), compress=True)
    np.testing.assert_array_equal(result, np.sin(X + 0.5))


class TestDamage:
    FILE = encode_bytes({"0": Array.from_numpy(X)})

    def response(self, content, media_type=BINARY_MEDIA_TYPE):
        body = Plain(len(content))
        body.write(memoryview(content))
        return response_of(200, {"content-encoding": "zstd", "content-type": media_type}, body, "u")

    def compressed(self, content):
        return require_zstd().compress(content)

    def test_none(self):
        np.testing.assert_array_equal(decode(self.response(self.compressed(self.FILE)).file)[0]["0"].data, X)

    def test_no_zstd(self):
        with pytest.raises(farfunc.ProtocolError, match="cannot be decompressed"):
            self.response(b"not compressed at all")

    def test_a_part(self):
        with pytest.raises(farfunc.ProtocolError):
            decode(self.response(self.compressed(self.FILE)[:-40]).file)

    def test_more_than_the_file_says(self):
        """What follows is not even decompressed."""
        bomb = self.compressed(self.FILE + bytes(200_000_000))
        with pytest.raises(farfunc.ProtocolError, match="are there"):
            decode(self.response(bomb).file)

    def test_an_endless_text(self, monkeypatch):
        monkeypatch.setattr("farfunc._compression._MOST_TEXT_BYTES", 1 << 20)
        with pytest.raises(farfunc.ProtocolError, match="more than 1,048,576 bytes"):
            self.response(self.compressed(bytes(1 << 22)), "application/json")
