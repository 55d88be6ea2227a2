"""Jobs as their owners see them: submitted, found, listed, cancelled, retried, deleted, expired.

How servers share them is in :mod:`.leases`. Every change of a state is conditional on the state before it, in the
same statement, so that of two that come at once one wins and the other hears of it: a job ends exactly once.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from farfunc_protocol.errors import IdempotencyConflict, InvalidRequest, JobConflict, JobNotFound, ServerError

from .contents import ABANDONED_SECONDS, Contents
from .database import Database, now_of
from .deliveries import announce
from .objects import Objects
from .schema import job_blocks, jobs, webhook_deliveries

__all__ = ["ENDED", "STATES", "Job", "JobStore", "NewJob"]

_log = logging.getLogger("farfunc.storage")

STATES = ("queued", "running", "succeeded", "failed", "cancelled")
ENDED = ("succeeded", "failed", "cancelled")

_MOST_EXPIRED = 100
"""Jobs that are removed in one transaction."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """What is asked.

    Attributes
    ----------
    function:
        The identity of the function.
    transforms:
        The chain, as JSON; for people.
    label:
        The caller's own word for it.
    priority:
        Of two jobs of a tenant the one with the higher priority comes first.
    keep_seconds:
        How long the job and its result are kept once it has ended.
    time_limit:
        Seconds that it may take from its start; None for as many as it needs.
    idempotency_key:
        Another submission with this key is this very job.
    asked:
        The digest of all that was asked.
    webhook:
        Where to tell of its end: ``{"url", "secret"}``.
    token:
        The id of the token that was borne.
    """

    function: str
    transforms: list[Any]
    keep_seconds: float
    asked: str
    label: str | None = None
    priority: int = 0
    time_limit: float | None = None
    idempotency_key: str | None = None
    webhook: dict[str, str] | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A row of ``jobs``: see :mod:`.schema`."""

    id: str
    tenant: str
    token: str | None
    state: str
    revision: int
    function: str
    request: str
    transforms: str
    label: str | None
    priority: int
    keep_seconds: float
    time_limit: float | None
    idempotency_key: str | None
    asked: str
    webhook: str | None
    annotation: str | None
    created: float
    started: float | None
    finished: float | None
    expires: float | None
    owner: str | None
    claim: int
    lease_until: float | None
    claimed: float | None
    claimed_rows: int
    attempts: int
    deaths: int
    cursor: str | None
    rows_done: int
    rows_total: int | None
    seconds: float
    outputs: str | None
    is_in_order: bool | None
    result_bytes: int | None
    problem: str | None

    @classmethod
    def of(cls, row: sa.Row[Any]) -> Job:
        """Take one from the answer of a query for all columns."""
        return cls(**{field.name: row._mapping[field.name] for field in fields(cls)})

    @property
    def has_ended(self) -> bool:
        """Whether it will not change any more, unless it is retried."""
        return self.state in ENDED

    @property
    def is_computed(self) -> bool:
        """Whether all its rows are in blocks."""
        return self.rows_total is not None and self.rows_done >= self.rows_total


class JobStore:
    """The jobs of all tenants. Safe to be used from several threads.

    Parameters
    ----------
    database, objects, contents:
        Where rows, blocks and requests are; opened and closed by the caller.
    """

    def __init__(self, database: Database, objects: Objects, contents: Contents) -> None:
        self._database = database
        self._objects = objects
        self._contents = contents

    def add(self, tenant: str, new: NewJob, request: bytes | memoryview) -> tuple[Job, bool]:
        """Accept a job: it is durable when this returns.

        Returns
        -------
        tuple[Job, bool]
            The job, and whether it is a new one: its idempotency key may have been given before.

        Raises
        ------
        IdempotencyConflict
            It was given with another request.
        """
        known = self.known(tenant, new.idempotency_key, new.asked)
        if known is not None:
            return known, False

        def refer(connection: sa.Connection, digest: str) -> Job | None:
            # Another submission with the key may have come first since: the constraint decides.
            with connection.begin_nested() as savepoint:
                try:
                    return _insert(connection, tenant, new, digest)
                except exc.IntegrityError:
                    if new.idempotency_key is None:
                        raise
                    savepoint.rollback()
            return None

        while True:
            added = self._contents.keep(request, "requests", refer)
            if added is not None:
                return added, True
            known = self.known(tenant, new.idempotency_key, new.asked)
            if known is not None:  # and not deleted since
                return known, False

    def known(self, tenant: str, key: str | None, asked: str) -> Job | None:
        """The job of an idempotency key, if there is one; raises as :meth:`add`."""
        if key is None:
            return None
        query = sa.select(jobs).where(jobs.c.tenant == tenant, jobs.c.idempotency_key == key)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        found = Job.of(row)
        if found.asked != asked:
            raise IdempotencyConflict(
                f"the key {key[:100]!r} was given with another request: it is that of {found.id}",
                where="header.idempotency-key",
                remedy="give each request a key of its own, and the same key to its repetitions only",
            )
        return found

    def find(self, tenant: str, id: str) -> Job:
        """A tenant's job.

        Raises
        ------
        JobNotFound
        """
        with self._database.read() as connection:
            return _found(connection, tenant, id)

    def page(self, tenant: str, limit: int, state: str | None = None, after: str | None = None) -> list[Job]:
        """A tenant's jobs, newest first: at most ``limit`` that stand behind the job ``after``."""
        query = sa.select(jobs).where(jobs.c.tenant == tenant)
        if state is not None:
            query = query.where(jobs.c.state == state)
        with self._database.read() as connection:
            if after is not None:
                chosen = sa.select(jobs.c.created).where(jobs.c.tenant == tenant, jobs.c.id == after)
                created = connection.scalar(chosen)
                if created is None:
                    raise InvalidRequest(
                        f"there is no job {after[:100]!r}", where="query.after", remedy="begin with the first page"
                    )
                query = query.where(sa.tuple_(jobs.c.created, jobs.c.id) < sa.tuple_(created, after))
            ordered = query.order_by(jobs.c.created.desc(), jobs.c.id.desc()).limit(limit)
            return [Job.of(row) for row in connection.execute(ordered)]

    def position(self, job: Job) -> int:
        """How many of its tenant's jobs are to be run before one that is queued."""
        before = sa.or_(
            jobs.c.priority > job.priority,
            sa.and_(
                jobs.c.priority == job.priority,
                sa.tuple_(jobs.c.created, jobs.c.id) < sa.tuple_(job.created, job.id),
            ),
        )
        query = sa.select(sa.func.count()).where(jobs.c.tenant == job.tenant, jobs.c.state == "queued", before)
        with self._database.read() as connection:
            return connection.scalar(query) or 0

    def request(self, job: Job) -> bytes:
        """The evaluation that a job is.

        Raises
        ------
        ServerError
            It is damaged.
        """
        content = self._contents.read(job.request)
        if content is None:
            _log.error("the request of %s is damaged or gone", job.id)
            raise ServerError("the stored request is damaged", remedy="submit the job again")
        return content

    def cancel(self, tenant: str, id: str) -> Job:
        """Have a job end; one that was cancelled already stays as it is.

        Raises
        ------
        JobNotFound
        JobConflict
            It has ended otherwise.
        """
        with self._database.write() as connection:
            found = _found(connection, tenant, id, for_update=True)
            if found.state == "cancelled":
                return found
            if found.has_ended:
                raise JobConflict(f"the job has {found.state}", where="id", remedy="there is nothing to cancel")
            ended = end(connection, [jobs.c.id == id], "cancelled")
            assert ended is not None
            return ended

    def annotate(self, tenant: str, id: str, annotation: str) -> None:
        """Keep a document of the client's own beside a job; raises JobNotFound."""
        change = jobs.update().where(jobs.c.tenant == tenant, jobs.c.id == id).values(annotation=annotation)
        with self._database.write() as connection:
            _found(connection, tenant, id)
            connection.execute(change)

    def retry(self, tenant: str, id: str) -> Job:
        """Queue a job again that has failed or was cancelled: it goes on from the blocks that it has.

        Raises
        ------
        JobNotFound
        JobConflict
            It waits, runs, or has succeeded.
        """
        with self._database.write() as connection:
            found = _found(connection, tenant, id, for_update=True)
            if found.state not in ("failed", "cancelled"):
                raise JobConflict(
                    f"the job is {found.state}" if not found.has_ended else "the job has succeeded",
                    where="id",
                    remedy="a job that has failed, or was cancelled, may be retried; others are to be submitted anew",
                )
            fresh = {"started": None, "finished": None, "expires": None, "problem": None, "attempts": 0, "deaths": 0}
            change = jobs.update().where(jobs.c.id == id)
            change = change.values(state="queued", revision=jobs.c.revision + 1, **fresh)
            return Job.of(connection.execute(change.returning(jobs)).one())

    def delete(self, tenant: str, id: str) -> None:
        """Forget a job and all that it has computed; one that runs is stopped.

        Raises
        ------
        JobNotFound
        """
        with self._database.write() as connection:
            _found(connection, tenant, id, for_update=True)
            keys = _remove(connection, [id])
        self._delete_objects(keys)
        self._contents.collect()

    def expire(self) -> int:
        """Forget what has been kept long enough; returns how many jobs that were."""
        count = 0
        while True:
            with self._database.write() as connection:
                over = sa.select(jobs.c.id).where(jobs.c.state.in_(ENDED), jobs.c.expires <= now_of(connection))
                over = over.limit(_MOST_EXPIRED).with_for_update(skip_locked=True)
                ids = list(connection.scalars(over))
                keys = _remove(connection, ids)
            self._delete_objects(keys)
            count += len(ids)
            if len(ids) < _MOST_EXPIRED:
                break
        if count:
            self._contents.collect()
        return count

    def sweep(self) -> None:
        """Remove blocks that a death has left between their writing and their row."""
        for key, age in list(self._objects.keys("results")):
            if age < ABANDONED_SECONDS and self._database.is_shared:
                continue  # another server is about to speak of it
            with self._database.read() as connection:
                is_known = connection.scalar(sa.select(job_blocks.c.number).where(job_blocks.c.key == key)) is not None
            if not is_known:
                self._objects.delete(key)

    def _delete_objects(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._objects.delete(key)


def _insert(connection: sa.Connection, tenant: str, new: NewJob, request: str) -> Job:
    values = {
        "id": f"job_{secrets.token_hex(12)}",
        "tenant": tenant,
        "token": new.token,
        "state": "queued",
        "revision": 1,
        "function": new.function,
        "request": request,
        "transforms": json.dumps(new.transforms),
        "label": new.label,
        "priority": new.priority,
        "keep_seconds": new.keep_seconds,
        "time_limit": new.time_limit,
        "idempotency_key": new.idempotency_key,
        "asked": new.asked,
        "webhook": None if new.webhook is None else json.dumps(new.webhook),
        "created": now_of(connection),
        "claim": 0,
        "claimed_rows": 0,
        "attempts": 0,
        "deaths": 0,
        "rows_done": 0,
        "seconds": 0.0,
    }
    return Job.of(connection.execute(jobs.insert().values(**values).returning(jobs)).one())


def _found(connection: sa.Connection, tenant: str, id: str, *, for_update: bool = False) -> Job:
    query = sa.select(jobs).where(jobs.c.tenant == tenant, jobs.c.id == id)
    row = connection.execute(query.with_for_update() if for_update else query).one_or_none()
    if row is None:
        raise JobNotFound(
            f"this server has no job {id[:100]!r}",
            where="id",
            remedy="check the id; a job is deleted some time after its end, which its `expires` says",
        )
    return Job.of(row)


def end(connection: sa.Connection, chosen: Sequence[sa.ColumnElement[bool]], state: str, **values: Any) -> Job | None:
    """End the job that fulfils all conditions, if there is one, and announce it to whoever wants to be told."""
    now = now_of(connection)
    change = jobs.update().where(jobs.c.state.in_(("queued", "running")), *chosen)
    change = change.values(
        state=state,
        revision=jobs.c.revision + 1,
        finished=now,
        expires=now + jobs.c.keep_seconds,
        owner=None,
        lease_until=None,
        **values,
    )
    row = connection.execute(change.returning(jobs)).one_or_none()
    if row is None:
        return None
    ended = Job.of(row)
    if ended.webhook is not None:
        announce(connection, ended, json.loads(ended.webhook))
    return ended


def _remove(connection: sa.Connection, ids: Sequence[str]) -> list[str]:
    """Delete jobs and what belongs to them; returns the keys of their blocks, which are to be deleted next."""
    if not ids:
        return []
    # The row goes before its object does: what a death leaves in between is an object that nobody knows, and is swept.
    blocks = job_blocks.delete().where(job_blocks.c.job.in_(ids)).returning(job_blocks.c.key)
    keys = list(connection.scalars(blocks))
    connection.execute(webhook_deliveries.delete().where(webhook_deliveries.c.job.in_(ids)))
    connection.execute(jobs.delete().where(jobs.c.id.in_(ids)))
    return keys
