"""The conversation about jobs, without any I/O: see :mod:`farfunc._session`."""

from __future__ import annotations

import builtins
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from farfunc_protocol.arrays import Array
from farfunc_protocol.errors import FarfuncError, FunctionNotFound, InvalidRequest, ProtocolError, from_problem
from farfunc_protocol.messages import BINARY_MEDIA_TYPE, decode_response

from ._answers import JSON_MEDIA_TYPE, read_binary, read_json
from ._session import Exchange, HttpRequest, Session, name_the_line

__all__ = ["JobInfo", "JobOptions", "JobSession"]

_ENDED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What stands beside a job's evaluation; see :meth:`farfunc.Client.submit`."""

    label: str | None = None
    priority: int = 0
    keep: float | None = None
    limit: float | None = None
    key: str | None = None
    webhook: str | None = None
    webhook_secret: str | None = None

    def query(self) -> str:
        """The part that stands in the URL."""
        given = {"label": self.label, "priority": self.priority or None, "keep": self.keep}
        found = {name: value for name, value in given.items() if value is not None}
        return f"?{urlencode(found)}" if found else ""

    def headers(self) -> dict[str, str]:
        """The part that stands in headers. Without a key one is drawn, so that sending twice is submitting once."""
        given = {
            "idempotency-key": self.key or secrets.token_urlsafe(18),
            "x-timeout": None if self.limit is None else f"{self.limit:g}",
            "x-webhook-url": self.webhook,
            "x-webhook-secret": self.webhook_secret,
        }
        found = {name: value for name, value in given.items() if value is not None}
        for name, value in found.items():
            if not (value.isascii() and value.isprintable()):
                raise InvalidRequest(f"{value!r} is no value of the header {name}", remedy="use printable ASCII")
        return found


@dataclass(frozen=True, slots=True)
class JobInfo:
    """What a server tells of a job. Times are seconds since 1970.

    Attributes
    ----------
    id:
        Its name: what :func:`farfunc.job` takes.
    state:
        ``queued``, ``running``, ``succeeded``, ``failed`` or ``cancelled``.
    label, priority:
        As they were given.
    created, started, finished, expires:
        None for what has not come.
    queue_position:
        How many of one's own jobs come before it, while it is queued.
    rows_done, rows_total:
        Rows of the result that are safe, and how many there are; the latter is known once it runs in slices.
    fraction:
        From 0 to 1. It never goes backwards.
    seconds_left:
        An estimate, while it runs.
    seconds:
        What it has taken on the device.
    nbytes:
        The size of its result.
    error:
        Why it has failed.
    """

    id: str
    state: str
    label: str | None
    priority: int
    created: float
    started: float | None
    finished: float | None
    expires: float | None
    queue_position: int | None
    rows_done: int
    rows_total: int | None
    fraction: float
    seconds_left: float | None
    seconds: float
    nbytes: int | None
    error: FarfuncError | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has ended, one way or another."""
        return self.state in _ENDED

    @classmethod
    def from_json(cls, document: Any) -> JobInfo:
        """Read one from a response; members that a newer server adds are passed over."""
        progress, result, problem = document["progress"], document["result"], document["problem"]
        return cls(
            id=document["id"],
            state=document["state"],
            label=document["label"],
            priority=document["priority"],
            created=document["created"],
            started=document["started"],
            finished=document["finished"],
            expires=document["expires"],
            queue_position=document["queue_position"],
            rows_done=progress["rows_done"],
            rows_total=progress["rows_total"],
            fraction=progress["fraction"],
            seconds_left=progress["seconds_left"],
            seconds=document["seconds"],
            nbytes=None if result is None else result["bytes"],
            error=None if problem is None else from_problem(problem),
        )

    def __str__(self) -> str:
        told = self.state
        if self.state == "queued" and self.queue_position is not None:
            told += f", {self.queue_position} before it"
        if self.state == "running":
            told += f", {100 * self.fraction:.0f} %"
            if self.seconds_left is not None:
                told += f", {duration(self.seconds_left)} left"
        return told


def duration(seconds: float) -> str:
    """Seconds for people.

    >>> duration(5.2), duration(61), duration(7322)
    ('5 s', '1 min 01 s', '2 h 02 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


class JobSession:
    """The conversation with one server about jobs.

    Parameters
    ----------
    session:
        The conversation about everything else.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def submit(self, question: Mapping[str, Any], options: JobOptions, annotation: Any) -> Exchange[JobInfo]:
        """Have the server evaluate something by and by.

        Parameters
        ----------
        question:
            The arguments of :meth:`farfunc.Client.evaluate`.
        annotation:
            A document that the server keeps for whoever attaches to the job.
        """
        headers = {"content-type": BINARY_MEDIA_TYPE, "accept": JSON_MEDIA_TYPE, **options.headers()}
        request = self._session.post(f"/v1/jobs{options.query()}", self._session.encoded(**question), headers)
        function = question["function"]
        try:
            try:
                info = read_json((yield request), JobInfo.from_json)
            except FunctionNotFound:
                yield from self._session.upload(function)
                info = read_json((yield request), JobInfo.from_json)
        except FarfuncError as error:
            name_the_line(error, function)
            raise
        content = [json.dumps(annotation, separators=(",", ":")).encode()]
        headers = {"content-type": JSON_MEDIA_TYPE, "accept": JSON_MEDIA_TYPE}
        answer = yield HttpRequest("PUT", f"{_path(info.id)}/annotation", content, headers)
        if answer.status != 204:
            read_json(answer, lambda _: None)
        return info

    def describe(self, id: str) -> Exchange[JobInfo]:
        """How a job gets on."""
        return read_json((yield _get(_path(id))), JobInfo.from_json)

    def annotation(self, id: str) -> Exchange[Any]:
        """What was kept for whoever attaches to the job; None where nothing was."""
        return read_json((yield _get(f"{_path(id)}/annotation")), lambda document: document)

    def list(self, state: str | None) -> Exchange[builtins.list[JobInfo]]:
        """All jobs, newest first."""
        found: builtins.list[JobInfo] = []
        path: str | None = "/v1/jobs" + (f"?{urlencode({'state': state})}" if state is not None else "")
        seen: set[str] = set()
        while path is not None:
            if path in seen:
                raise ProtocolError(f"the server's list of jobs leads back to {path!r}")
            seen.add(path)
            page, path = read_json((yield _get(path)), _page)
            found.extend(page)
        return found

    def change(self, id: str, what: str) -> Exchange[JobInfo]:
        """``cancel`` or ``retry`` a job."""
        headers = {"accept": JSON_MEDIA_TYPE}
        return read_json((yield HttpRequest("POST", f"{_path(id)}/{what}", (), headers)), JobInfo.from_json)

    def delete(self, id: str) -> Exchange[None]:
        """Delete a job, and its result."""
        response = yield HttpRequest("DELETE", _path(id), repeatable=False)
        if response.status != 204:  # the one success that has no content type
            read_json(response, lambda _: None)

    def result(self, id: str, rows: tuple[int, int] | None) -> Exchange[Sequence[Array]]:
        """The result leaves, or some rows of each."""
        query = "" if rows is None else f"?rows={rows[0]}:{rows[1]}"
        request = HttpRequest("GET", f"{_path(id)}/result{query}", (), {"accept": BINARY_MEDIA_TYPE}, None)
        response = read_binary((yield request), decode_response)
        return [*response.arrays, *([] if response.generator is None else [response.generator])]


def _get(path: str) -> HttpRequest:
    return HttpRequest("GET", path, headers={"accept": JSON_MEDIA_TYPE})


def _path(id: str) -> str:
    return f"/v1/jobs/{quote(id, safe='')}"


def _page(document: Any) -> tuple[list[JobInfo], str | None]:
    following = document["next"]
    if following is not None and not following.startswith("/v1/jobs?"):
        raise ProtocolError(f"the next page is {following!r}", where="next")  # the token is for this server alone
    return [JobInfo.from_json(item) for item in document["jobs"]], following
