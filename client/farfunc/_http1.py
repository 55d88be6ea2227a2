"""HTTP/1.1 from the client's side, without any I/O: a request's head, and an answer as it arrives.

Of RFC 9112 this is what a client needs that asks one thing at a time: a status line, header fields, and a
body that is framed by ``Content-Length``, by chunks, or by the end of the connection. Bytes are received
where they stay (:meth:`AnswerReader.room`); what is smaller than the scratch memory is copied once. The tests
hold the reader to h11, byte by byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from farfunc_protocol._version import __version__

from ._body import NO_BODY, Body, body_for
from ._failures import Broken, CutOff

__all__ = ["SCRATCH_BYTES", "AnswerReader", "RequestHeads"]

SCRATCH_BYTES = 1 << 16
"""What one connection receives heads, chunk sizes and small bodies into. No head may be longer."""

_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [\t -~\x80-\xff]*)?")
_FIELD = rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t ]*((?:[!-~\x80-\xff]+(?:[\t ]+[!-~\x80-\xff]+)*)?)[\t ]*\r?\n"
_FIELDS = re.compile(rb"(?:%s)*" % _FIELD)
_ONE_FIELD = re.compile(_FIELD)
_FOLD = re.compile(rb"\r?\n[\t ]+")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t -~\x80-\xff]*)?[\t ]*\r\n")
_LENGTH = re.compile(r"[0-9]{1,18}")
_NO_TARGET = re.compile(r"[^!-~]")
_LINE_BREAK = re.compile(r"[\r\n\0]")
_LONGEST_LINE = 4096
_MOST_INTERIM = 100

_SWITCHING_PROTOCOLS = 101


class RequestHeads:
    r"""The heads of requests to one server.

    Parameters
    ----------
    host:
        As the server is called, with its port.
    path:
        What stands before every route.
    headers:
        What is sent with every request.

    >>> RequestHeads("gpu:8017").of("GET", "/v1/devices?x=\r\n", {"accept": "a"}, 0).split(b"\r\n")[:2]
    [b'GET /v1/devices?x=%0D%0A HTTP/1.1', b'host: gpu:8017']
    """

    def __init__(self, host: str, path: str = "", headers: Mapping[str, str] | None = None) -> None:
        self._host, self._path, self._headers = host, path, dict(headers or {})
        self._last: tuple[object, bytes] = (None, b"")

    def of(self, method: str, target: str, headers: Mapping[str, str], length: int) -> bytes:
        """The head of a request with a body of ``length`` bytes."""
        key = (method, target, headers)
        last, beginning = self._last
        if key != last:  # calls alike differ in their length alone
            beginning = self._beginning(method, target, headers)
            self._last = ((method, target, dict(headers)), beginning)
        return beginning + (b"content-length: %d\r\n\r\n" % length if length or method == "POST" else b"\r\n")

    def _beginning(self, method: str, target: str, headers: Mapping[str, str]) -> bytes:
        target = _NO_TARGET.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), target)
        fields = {"host": self._host, "user-agent": f"farfunc/{__version__}", **self._headers, **headers}
        for name, value in fields.items():
            if _LINE_BREAK.search(name + value):
                raise ValueError(f"the header {name!r} holds a line break")
        lines = [f"{method} {self._path}{target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), ""]
        return "\r\n".join(lines).encode("latin-1")


class AnswerReader:
    """One answer, as it arrives.

    Whoever drives it puts bytes into :meth:`room` and calls :meth:`received`, until :attr:`is_complete`; where
    the connection ends before that, :meth:`ended`. All three raise :class:`~farfunc._failures.Broken` for what
    is no HTTP or not whole.

    Attributes
    ----------
    status, headers, body:
        The answer; the names of headers are in small letters, and several fields of one name are one,
        separated by commas.
    is_complete:
        Whether all of it has come.
    keeps_alive:
        Whether another request may be sent on the connection; of a complete answer.
    """

    __slots__ = (
        "_begin",
        "_end",
        "_interim",
        "_is_chunked",
        "_is_direct",
        "_is_head",
        "_left",
        "_next",
        "_scratch",
        "_searched",
        "_trailers",
        "body",
        "headers",
        "is_complete",
        "keeps_alive",
        "status",
    )

    def __init__(self, scratch: bytearray, method: str = "GET") -> None:
        self._scratch = memoryview(scratch)
        self._begin = self._end = 0  # what of the scratch memory is not read yet
        self._next: Callable[[AnswerReader], bool] = AnswerReader._read_head  # not bound: no cycle holds a large body
        self._is_head = method == "HEAD"
        self._is_chunked = self._is_direct = False
        self._left: int | None = 0  # bytes of the body, or of this chunk, that are still to come
        self._searched = 0  # bytes of the head in which its end is not
        self._trailers = self._interim = 0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body: Body = NO_BODY
        self.is_complete = False
        self.keeps_alive = False

    def room(self) -> memoryview:
        """Where the next bytes go."""
        left = self._left
        # What is left of a chunk may be less than the next lines: those are better received with it.
        if left is None or (left and self._begin == self._end and not (self._is_chunked and left < len(self._scratch))):
            self._is_direct = True
            room = self.body.room()
            return room if left is None else room[:left]
        self._is_direct = False
        if self._begin:
            held = bytes(self._scratch[self._begin : self._end])
            self._begin, self._end = 0, len(held)
            self._scratch[: self._end] = held
        return self._scratch[self._end :]

    def received(self, count: int) -> None:
        """So many bytes were put into :meth:`room`."""
        if not self._is_direct:
            self._end += count
            while not self.is_complete and self._next(self):
                pass
        elif self._left is None:
            self.body.filled(count)
        else:
            self.body.filled(count)
            self._took(count)

    def ended(self) -> None:
        """No more bytes come."""
        if self._left is None:
            self._complete()
            return
        if self._next is AnswerReader._read_head:
            where = "in the middle of the head" if self._end > self._begin else "without an answer"
        else:
            where = "in the middle of the body"
        raise self.broken(f"the server ended the connection {where}")

    def broken(self, reason: str) -> Broken:
        """How an answer fails whose connection is broken."""
        if self._next is AnswerReader._read_head:
            return Broken(reason)
        return CutOff(reason, self.headers.get("x-request-id", ""))

    def _complete(self) -> None:
        self.is_complete = True
        self.keeps_alive &= self._begin == self._end  # nobody has asked for more

    # Each of these reads what it can of the scratch memory, and tells whether there may be more to read.

    def _read_head(self) -> bool:
        if self._begin == self._end:
            return False
        held = self._end - self._begin
        found = _END_OF_HEAD.search(self._scratch, self._begin + max(self._searched - 3, 0), self._end)
        if found is None:
            if self._searched < _LONGEST_LINE:
                _check_beginning(bytes(self._scratch[self._begin : self._begin + min(held, _LONGEST_LINE)]))
            if held == len(self._scratch):
                raise Broken(f"the head of the answer has more than {held:,} bytes")
            self._searched = held
            return False
        minor, self.status, self.headers = _parsed_head(bytes(self._scratch[self._begin : found.end()]))
        self._begin, self._searched = found.end(), 0
        if self.status == _SWITCHING_PROTOCOLS:
            raise Broken("the server switches to another protocol")
        if self.status >= 200:
            self._frame(minor)
            return True
        self._interim += 1  # it precedes the answer
        if self._interim > _MOST_INTERIM:
            raise Broken(f"no answer follows {_MOST_INTERIM} interim answers")
        return True

    def _frame(self, minor: int) -> None:
        """How long the body is: RFC 9112, 6.3."""
        options = [option.strip() for option in self.headers.get("connection", "").lower().split(",")]
        self.keeps_alive = minor == 1 and "close" not in options
        coding, given = self.headers.get("transfer-encoding"), self.headers.get("content-length")
        length = None if given is None else _length_of(given)
        if coding is not None and coding.lower() != "chunked":
            raise Broken(f"the answer comes in an unknown transfer coding, {coding[:40]!r}")
        self._next = AnswerReader._read_data
        if self._is_head or self.status in (204, 304):
            self._left = 0
        elif coding is not None:
            self._is_chunked, self._left, self._next = True, 0, AnswerReader._read_chunk_size
            self.keeps_alive &= given is None  # who sends both may mean either
        else:
            self._left = length
            self.keeps_alive &= length is not None
        self.body = body_for(self.status, self.headers, None if self._is_chunked else self._left)
        if self._left == 0 and not self._is_chunked:
            self._complete()

    def _read_data(self) -> bool:
        held = self._end - self._begin
        count = held if self._left is None else min(held, self._left)
        if not count:
            return False
        self.body.write(self._scratch[self._begin : self._begin + count])
        self._begin += count
        if self._left is not None:
            self._took(count)
        return self._is_chunked

    def _took(self, count: int) -> None:
        """The body has grown by so many bytes."""
        assert self._left is not None
        self._left -= count
        if self._left:
            return
        if self._is_chunked:
            self._next = AnswerReader._read_chunk_end
        else:
            self._complete()

    def _read_chunk_size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        found = _CHUNK_SIZE.fullmatch(line)
        if found is None:
            raise Broken(f"a chunk's size is {line[:40]!r}")
        self._left = int(found[1], 16)
        self._next = AnswerReader._read_data if self._left else AnswerReader._read_trailer
        return True

    def _read_chunk_end(self) -> bool:
        line = self._line()
        if line is None:
            return False
        if line != b"\r\n":
            raise Broken("a chunk is longer than it says")
        self._next = AnswerReader._read_chunk_size
        return True

    def _read_trailer(self) -> bool:
        """A field after the last chunk, which nobody needs, or the empty line at the end."""
        line = self._line()
        if line is None:
            return False
        self._trailers += len(line)
        if not line.strip(b"\r\n"):
            self._complete()
        elif self._trailers > len(self._scratch):
            raise Broken("the answer's trailer does not end")
        return True

    def _line(self) -> bytes | None:
        """The next line, if all of it is there."""
        text = bytes(self._scratch[self._begin : min(self._end, self._begin + _LONGEST_LINE)])
        line, end, _ = text.partition(b"\n")
        if not end:
            if len(text) == _LONGEST_LINE:
                raise Broken("a line between chunks does not end")
            return None
        self._begin += len(line) + 1
        return line + end


def _length_of(text: str) -> int:
    lengths = {length.strip(" \t") for length in text.split(",")}
    if len(lengths) != 1 or not _LENGTH.fullmatch(length := lengths.pop()):
        raise Broken(f"the answer's length is {text[:40]!r}")
    return int(length)


def _check_beginning(text: bytes) -> None:
    """Tell what is no HTTP as soon as that can be seen."""
    line, ends, _ = text.partition(b"\n")
    is_good = _STATUS_LINE.fullmatch(line.removesuffix(b"\r")) if ends else (line[:7] == b"HTTP/1."[: len(line)])
    if not is_good or len(line) == _LONGEST_LINE:
        raise Broken(f"the server does not speak HTTP: it begins with {line[:40]!r}")


def _parsed_head(text: bytes) -> tuple[int, int, dict[str, str]]:
    """The minor version, the status and the header fields."""
    line, _, rest = text.partition(b"\n")
    found = _STATUS_LINE.fullmatch(line.removesuffix(b"\r"))
    if found is None:
        raise Broken(f"the server does not speak HTTP: it begins with {line[:40]!r}")
    rest = rest[:-2] if rest.endswith(b"\r\n") else rest[:-1]  # the empty line
    fields = _FOLD.sub(b" ", rest) if _FOLD.search(rest) else rest  # obsolete, and still to be understood
    if not _FIELDS.fullmatch(fields):
        raise Broken("the answer has a header that is none")
    headers: dict[str, str] = {}
    for name, value in _ONE_FIELD.findall(fields):
        key, text_of = name.decode().lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text_of}" if key in headers else text_of
    return int(found[1]), int(found[2]), headers
