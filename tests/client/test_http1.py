"""The reader of answers, held to h11: the same heads and bodies, however the bytes arrive, and the same refusals."""

import json

import h11
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from farfunc import _body
from farfunc._body import Plain
from farfunc._failures import Broken
from farfunc._http1 import SCRATCH_BYTES, AnswerReader, RequestHeads
from farfunc_protocol.arrays import Array
from farfunc_protocol.incoming import Incoming
from farfunc_protocol.messages import BINARY_MEDIA_TYPE
from farfunc_protocol.safetensors import decode, encode_bytes

OK = b"HTTP/1.1 200 OK\r\n"


def read(data, sizes=(1 << 30,), *, method="GET", ends=False, scratch=SCRATCH_BYTES):
    """Feed an answer in parts of these sizes, over and over; the reader, and how many bytes it did not want."""
    answer = AnswerReader(bytearray(scratch), method)
    position = turn = 0
    while position < len(data) and not answer.is_complete:
        room = answer.room()
        count = min(len(room), len(data) - position, sizes[turn % len(sizes)])
        room[:count] = data[position : position + count]
        answer.received(count)
        position, turn = position + count, turn + 1
    if ends and not answer.is_complete:
        answer.ended()
    return answer, len(data) - position


def told(answer):
    """Status, headers and body, as far as they have come."""
    body = answer.body.content() if isinstance(answer.body, Plain) else answer.body
    return answer.status, answer.headers, bytes(body)


def by_h11(data, method="GET"):
    """The same by h11; raises h11.RemoteProtocolError."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=SCRATCH_BYTES)
    connection.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    status, headers, body = 0, {}, b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(b"")
        elif isinstance(event, h11.Response):
            status = event.status_code
            for name, value in event.headers:
                key, text = name.decode(), value.decode("latin-1")
                headers[key] = f"{headers[key]}, {text}" if key in headers else text
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return status, headers, body
        elif isinstance(event, h11.ConnectionClosed):
            raise h11.RemoteProtocolError("closed")


def chunked(*parts, extension=b"", trailer=b""):
    return b"".join(b"%X%s\r\n%s\r\n" % (len(part), extension, part) for part in parts) + b"0\r\n" + trailer + b"\r\n"


ANSWERS = {
    "a length": OK + b"content-length: 5\r\n\r\nhello",
    "a length of nothing": OK + b"content-length: 0\r\n\r\n",
    "to the end": OK + b"\r\nhello",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
    "no reason": b"HTTP/1.1 200 \r\ncontent-length: 1\r\n\r\nx",
    "no reason and no space": b"HTTP/1.1 200\r\ncontent-length: 1\r\n\r\nx",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n",
    "chunks": OK + b"Transfer-Encoding: Chunked\r\n\r\n" + chunked(b"hello", b"!", b"x" * 600),
    "chunks with extensions": OK + b"transfer-encoding: chunked\r\n\r\n" + chunked(b"hello", extension=b";a=b"),
    "chunks with a trailer": OK + b"transfer-encoding: chunked\r\n\r\n" + chunked(b"a", trailer=b"x-sum: 1\r\n"),
    "no chunks": OK + b"transfer-encoding: chunked\r\n\r\n" + chunked(),
    "1xx before": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: a\r\n\r\n"
    + OK
    + b"content-length: 1\r\n\r\nx",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
    "a name twice": OK + b"a: 1\r\ncontent-length: 0\r\nA: 2\r\n\r\n",
    "spaces around a value": OK + b"a: \t 1 2\t \r\ncontent-length:0\r\n\r\n",
    "an empty value": OK + b"a:\r\nb: \r\ncontent-length: 0\r\n\r\n",
    "a folded value": OK + b"a: 1\r\n  2\r\ncontent-length: 0\r\n\r\n",
    "a length twice": OK + b"content-length: 2, 2\r\n\r\nhi",
    "latin-1": OK + b"a: \xe9\r\ncontent-length: 0\r\n\r\n",
}


@pytest.mark.parametrize("data", ANSWERS.values(), ids=ANSWERS.keys())
@pytest.mark.parametrize("sizes", [(1 << 30,), (1,), (2, 3), (7,)])
def test_reads_what_h11_reads(data, sizes):
    answer, left = read(data, sizes, ends=True)
    status, headers, body = by_h11(data)
    assert left == 0
    ours = told(answer)
    if b"2, 2" in data:  # h11 tells it once
        headers["content-length"] = "2, 2"
    if "transfer-encoding" in ours[1]:  # h11 tells it in small letters
        ours[1]["transfer-encoding"] = ours[1]["transfer-encoding"].lower()
    assert ours == (status, headers, body)


@pytest.mark.parametrize(
    ("name", "kept"),
    [("a length", True), ("to the end", False), ("HTTP/1.0", False), ("204", True), ("304", True), ("chunks", True)],
)
def test_when_the_connection_is_kept(name, kept):
    assert read(ANSWERS[name], ends=True)[0].keeps_alive is kept


@pytest.mark.parametrize("value", ["close", "Close", "x, close", "close ,x"])
def test_a_connection_that_the_server_closes_is_not_kept(value):
    data = OK + f"connection: {value}\r\ncontent-length: 0\r\n\r\n".encode()
    assert not read(data)[0].keeps_alive


def test_what_comes_after_an_answer_spoils_the_connection():
    assert not read(ANSWERS["a length"] + b"H")[0].keeps_alive
    assert not read(ANSWERS["chunks"] + b"H")[0].keeps_alive
    assert not read(ANSWERS["204"] + b"H")[0].keeps_alive


def test_a_length_beside_chunks_spoils_the_connection():
    answer, _ = read(OK + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(b"hello"))
    assert told(answer)[2] == b"hello"
    assert not answer.keeps_alive


def test_what_precedes_an_answer_comes_to_an_end():
    with pytest.raises(Broken, match="no answer follows"):
        read(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)


def test_an_answer_that_is_no_file_comes_to_an_end(monkeypatch):
    monkeypatch.setattr(_body, "_MOST_BYTES", 1_000_000)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    read(head + bytes(1_000_000))
    with pytest.raises(Broken, match="more than 1,000,000 bytes"):
        read(head + bytes(1_000_001))


def test_an_answer_to_head_has_no_body():
    answer, left = read(OK + b"content-length: 5\r\n\r\n", method="HEAD")
    assert (answer.is_complete, left, told(answer)[2]) == (True, 0, b"")


BAD = {
    "ssh": (b"SSH-2.0-OpenSSH_9.6\r\n", "does not speak HTTP"),
    "tls": (b"\x15\x03\x01\x00\x02\x02\x46", "does not speak HTTP"),
    "one other letter": (b"I", "does not speak HTTP"),
    "HTTP/2": (b"HTTP/2.0 200 OK\r\n", "does not speak HTTP"),
    "ICY": (b"ICY 200 OK\r\n\r\n", "does not speak HTTP"),
    "a status of letters": (b"HTTP/1.1 abc OK\r\n\r\n", "does not speak HTTP"),
    "a status of four digits": (b"HTTP/1.1 2000 OK\r\n\r\n", "does not speak HTTP"),
    "a status of nothing": (b"HTTP/1.1 099 OK\r\n\r\n", "does not speak HTTP"),
    "101": (b"HTTP/1.1 101 Switching\r\n\r\n", "another protocol"),
    "a space before the colon": (OK + b"a : 1\r\n\r\n", "header that is none"),
    "no colon": (OK + b"content-length 5\r\n\r\n", "header that is none"),
    "no name": (OK + b": 5\r\n\r\n", "header that is none"),
    "a null": (OK + b"a: \x00\r\n\r\n", "header that is none"),
    "a lone carriage return": (OK + b"a: 1\rb: 2\r\n\r\n", "header that is none"),
    "two lengths": (OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\n", "length is"),
    "a negative length": (OK + b"content-length: -5\r\n\r\n", "length is"),
    "a length with a sign": (OK + b"content-length: +5\r\n\r\n", "length is"),
    "a hexadecimal length": (OK + b"content-length: 0x5\r\n\r\n", "length is"),
    "a length of other digits": (OK + "content-length: ٥\r\n\r\n".encode(), "length is"),
    "an endless length": (OK + b"content-length: " + b"9" * 30 + b"\r\n\r\n", "length is"),
    "gzip as a transfer coding": (OK + b"transfer-encoding: gzip, chunked\r\n\r\n", "transfer coding"),
    "chunked twice": (OK + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n", "transfer coding"),
    "a chunk of letters": (OK + b"transfer-encoding: chunked\r\n\r\nxyz\r\n", "chunk's size"),
    "a negative chunk": (OK + b"transfer-encoding: chunked\r\n\r\n-5\r\nhello", "chunk's size"),
    "a chunk of no size": (OK + b"transfer-encoding: chunked\r\n\r\n;a\r\n", "chunk's size"),
    "a chunk that is longer": (OK + b"transfer-encoding: chunked\r\n\r\n2\r\nhello\r\n", "longer than it says"),
    "a chunk's endless line": (OK + b"transfer-encoding: chunked\r\n\r\n5;" + b"a" * 5000, "does not end"),
    "an endless head": (OK + b"a: " + b"x" * SCRATCH_BYTES, "more than 65,536 bytes"),
    "an endless first line": (b"HTTP/1.1 200 " + b"x" * 5000, "does not speak HTTP"),
    "an endless trailer": (
        OK + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 12000,
        "trailer does not end",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("data", "words"), BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("sizes", [(1 << 30,), (1,)])
def test_what_is_no_http_is_refused_at_once(data, words, sizes):
    with pytest.raises(Broken, match=words):
        read(data, sizes)


@pytest.mark.parametrize("name", [name for name in ANSWERS if name not in ("to the end",)])
def test_an_answer_that_ends_early_is_not_whole(name):
    data = ANSWERS[name]
    for end in range(len(data)):
        with pytest.raises(Broken, match="ended the connection"):
            read(data[:end], ends=True)


PIECES = [b"HTTP/1.1 200 OK", b"HTTP/1.0 204 No", b"\r\n", b"\n", b"\r\n\r\n", b"content-length: 3", b"abc", b"3", b"0"]
PIECES += [b"transfer-encoding: chunked", b"connection: close", b"a: b", b" folded", b":", b"\x00", b"HTTP/1.1 100 C"]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join), st.lists(st.integers(1, 9), min_size=1))
@example(OK + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", [1])
@example(b"HTTP/1.1 200 OK\r\n\r\n", [3])
def test_never_reads_what_h11_would_read_otherwise(data, sizes):
    try:
        expected = by_h11(data)
    except h11.RemoteProtocolError:
        expected = None
    try:
        answer, _ = read(data, sizes, ends=True)
    except Broken:
        return  # it may be stricter
    assert expected is not None
    status, headers, body = told(answer)
    assert (status, body) == (expected[0], expected[2])
    assert headers.keys() == expected[1].keys() or "transfer-encoding" in headers


FILE = encode_bytes({"0": Array.from_numpy(np.arange(30000.0)), "1": Array.from_numpy(np.eye(3)[::-1])}, {"k": "v"})
BINARY = f"content-type: {BINARY_MEDIA_TYPE}\r\n".encode()


@pytest.mark.parametrize("sizes", [(1 << 30,), (999,), (70000, 1, 8)])
@pytest.mark.parametrize("step", [None, 77, 65536, 100000, 1 << 20])
def test_a_large_file_goes_to_its_arrays(sizes, step):
    if step is None:
        data = OK + BINARY + b"content-length: %d\r\n\r\n" % len(FILE) + FILE
    else:
        parts = [FILE[start : start + step] for start in range(0, len(FILE), step)]
        data = OK + BINARY + b"transfer-encoding: chunked\r\n\r\n" + chunked(*parts)
    answer, left = read(data, sizes)
    assert (left, answer.is_complete, answer.keeps_alive) == (0, True, True)
    assert isinstance(answer.body, Incoming)
    tensors, metadata = decode(answer.body)
    expected, expected_metadata = decode(FILE)
    assert (tensors, metadata) == (expected, expected_metadata)
    assert tensors["0"].data.flags.owndata
    assert all(tensor.data.flags.writeable and tensor.data.flags.aligned for tensor in tensors.values())
    assert not np.shares_memory(tensors["0"].data, tensors["1"].data)


def test_a_length_that_is_only_a_number_takes_no_memory():
    answer, _ = read(OK + b"content-type: text/plain\r\ncontent-length: %d\r\n\r\nab" % 10**17)
    assert len(told(answer)[2]) == 2


@pytest.mark.parametrize("name", ["a\r\nx", "a\nx", "a\0"])
def test_a_header_cannot_be_smuggled_in(name):
    heads = RequestHeads("gpu")
    with pytest.raises(ValueError, match="line break"):
        heads.of("GET", "/", {name: "b"}, 0)
    with pytest.raises(ValueError, match="line break"):
        heads.of("GET", "/", {"b": name}, 0)


def test_a_target_cannot_hold_a_request():
    head = RequestHeads("gpu").of("GET", "/v1/functions?after=x HTTP/1.1\r\nHost: evil\r\n\r\né", {}, 0)
    assert head.split(b"\r\n")[0] == (
        b"GET /v1/functions?after=x%20HTTP/1.1%0D%0AHost:%20evil%0D%0A%0D%0A%C3%A9 HTTP/1.1"
    )


def test_heads_differ_where_their_requests_do():
    heads = RequestHeads("gpu", "/team", {"authorization": "Bearer t"})
    headers = {"accept": "a"}
    first = heads.of("POST", "/x", headers, 3)
    assert first == heads.of("POST", "/x", headers, 3)
    assert first.endswith(b"accept: a\r\ncontent-length: 3\r\n\r\n")
    headers["accept"] = "b"
    assert b"accept: b\r\n" in heads.of("POST", "/x", headers, 3)
    assert b"content-length" not in heads.of("GET", "/x", headers, 0)
    assert b"content-length: 0" in heads.of("POST", "/x", headers, 0)
    assert heads.of("GET", "/y", headers, 0).startswith(b"GET /team/y HTTP/1.1\r\nhost: gpu\r\n")


def test_json_still_reads():
    answer, _ = read(OK + b"content-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
    assert json.loads(told(answer)[2]) == {}
