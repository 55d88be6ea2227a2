"""Jobs as servers share them: each is claimed by one for as long as it renews its lease.

A claim has a number. Whatever a server writes of a job is conditional on the number under which it holds it, so one
that was thought dead, and wakes up after another has taken its place, changes nothing. A block of rows is in the object
store before its row is in the database, and the row comes with the cursor behind it in one transaction: a death at any
moment costs what was computed since the last block, and no more.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from .database import Database, now_of
from .jobs import Job, end
from .objects import Objects
from .schema import job_blocks, jobs

__all__ = ["Block", "JobLeases", "Lost", "blocks_of"]


class Lost(Exception):
    """The job is another's, was cancelled or deleted: there is nothing more to be done for it here."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a result.

    Attributes
    ----------
    key, bytes:
        Where they are.
    places:
        The fields of a ``BlockPlace`` for each part of them; empty where they come in order.
    """

    number: int
    key: str
    bytes: int
    places: list[Any]


class JobLeases:
    """The claims of one server.

    Parameters
    ----------
    database, objects:
        Opened and closed by the caller.
    seconds:
        How long a claim holds without being renewed.
    owner:
        The server's name, which no other has; without it one is drawn.
    """

    def __init__(self, database: Database, objects: Objects, seconds: float, owner: str | None = None) -> None:
        self._database = database
        self._objects = objects
        self._seconds = seconds
        self.owner = owner or f"server_{secrets.token_hex(8)}"

    def take_over(self) -> None:
        """Whoever had claims is gone: no other server uses this database, and this one has just started."""
        with self._database.write() as connection:
            change = jobs.update().where(jobs.c.state == "running")
            connection.execute(change.values(lease_until=0.0))

    def claim(self) -> Job | None:
        """Take the next job: of the tenant that has fewest running, the one of the highest priority, the oldest."""
        with self._database.write() as connection:
            now = now_of(connection)
            item, other = jobs.alias(), jobs.alias()
            is_free = sa.or_(item.c.state == "queued", sa.and_(item.c.state == "running", item.c.lease_until < now))
            running = (
                sa.select(sa.func.count())
                .select_from(other)
                .where(other.c.state == "running", other.c.lease_until >= now, other.c.tenant == item.c.tenant)
                .scalar_subquery()
            )
            # One that ran before goes on first: it holds blocks, and its owner has waited.
            order = (running, item.c.state.desc(), item.c.priority.desc(), item.c.created, item.c.id)
            first = sa.select(item.c.id).where(is_free).order_by(*order).limit(1)
            change = jobs.update().where(
                jobs.c.id == first.with_for_update(skip_locked=True, of=item).scalar_subquery()
            )
            change = change.values(
                state="running",
                revision=jobs.c.revision + 1,
                owner=self.owner,
                claim=jobs.c.claim + 1,
                lease_until=now + self._seconds,
                started=sa.func.coalesce(jobs.c.started, now),
                claimed=now,
                claimed_rows=jobs.c.rows_done,
                attempts=jobs.c.attempts + 1,
            )
            row = connection.execute(change.returning(jobs)).one_or_none()
        return None if row is None else Job.of(row)

    def renew(self, held: Iterable[Job]) -> set[str]:
        """Hold on to claims; returns the ids of those that are this server's no more."""
        lost = set()
        with self._database.write() as connection:
            until = now_of(connection) + self._seconds
            for job in held:
                change = jobs.update().where(*self._held(job)).values(lease_until=until)
                if not connection.execute(change).rowcount:
                    lost.add(job.id)
        return lost

    def lost(self, held: Sequence[Job]) -> set[str]:
        """The ids of those that are this server's no more; quicker than to renew."""
        query = sa.select(jobs.c.id, jobs.c.claim).where(
            jobs.c.id.in_([job.id for job in held]), jobs.c.state == "running"
        )
        with self._database.read() as connection:
            ours = {(row.id, row.claim) for row in connection.execute(query)}
        return {job.id for job in held if (job.id, job.claim) not in ours}

    def give_back(self, job: Job) -> None:
        """Let another server go on with a job, at once; it was no attempt."""
        change = jobs.update().where(*self._held(job))
        change = change.values(
            state="queued",
            revision=jobs.c.revision + 1,
            owner=None,
            lease_until=None,
            attempts=sa.case((jobs.c.attempts > 0, jobs.c.attempts - 1), else_=0),
        )
        with self._database.write() as connection:
            connection.execute(change)

    def current(self, job: Job) -> Job:
        """A job as it is now; raises Lost if it is another's."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(jobs).where(*self._held(job))).one_or_none()
        if row is None:
            raise Lost
        return Job.of(row)

    def worker_died(self, job: Job) -> int:
        """Count a death of a worker; returns how many there were since the last block."""
        change = jobs.update().where(*self._held(job)).values(deaths=jobs.c.deaths + 1)
        with self._database.write() as connection:
            deaths = connection.scalar(change.returning(jobs.c.deaths))
        if deaths is None:
            raise Lost
        return deaths

    def blocks(self, id: str) -> list[Block]:
        """What has been computed of a job."""
        return blocks_of(self._database, id)

    def write(self, job: Job, number: int, content: bytes | memoryview) -> str:
        """Put a block in the object store; nobody knows of it before :meth:`keep` or :meth:`succeed`."""
        # A key is never used twice: whoever held the job before may still be writing.
        key = f"results/{job.id}.{job.claim}.{number}"
        self._objects.write(key, content)
        return key

    def keep(
        self, job: Job, block: Block, *, cursor: list[int] | None, rows_done: int, seconds: float,
        rows_total: int, outputs: Sequence[str], is_in_order: bool, is_last: bool = False,
    ) -> Job:  # fmt: skip
        """Add a block and move the cursor behind it; with the last block the job has succeeded.

        Raises
        ------
        Lost
            The block is removed again.
        """
        known = {
            "rows_done": sa.case((jobs.c.rows_done > rows_done, jobs.c.rows_done), else_=rows_done),
            "rows_total": rows_total,
            "cursor": None if cursor is None else json.dumps(cursor),
            "seconds": jobs.c.seconds + seconds,
            "outputs": json.dumps(list(outputs)),
            "is_in_order": is_in_order,
            "attempts": 0,
            "deaths": 0,
        }
        with self._database.write() as connection:
            if is_last:
                earlier = sa.select(sa.func.coalesce(sa.func.sum(job_blocks.c.bytes), 0)).where(
                    job_blocks.c.job == job.id
                )
                size = int(connection.scalar(earlier) or 0) + block.bytes
                changed = end(connection, self._held(job), "succeeded", result_bytes=size, **known)
            else:
                change = jobs.update().where(*self._held(job)).values(revision=jobs.c.revision + 1, **known)
                row = connection.execute(change.returning(jobs)).one_or_none()
                changed = None if row is None else Job.of(row)
            if changed is not None:
                _add(connection, job, block, rows_done, seconds)
        if changed is None:
            self._objects.delete(block.key)
            raise Lost
        return changed

    def succeed(self, job: Job, block: Block, *, seconds: float, outputs: Sequence[str]) -> None:
        """End a job whose whole result is one block, which takes the place of all that it had before.

        Raises
        ------
        Lost
            The block is removed again.
        """
        with self._database.write() as connection:
            ended = end(
                connection,
                self._held(job),
                "succeeded",
                seconds=jobs.c.seconds + seconds,
                outputs=json.dumps(list(outputs)),
                is_in_order=True,
                result_bytes=block.bytes,
                rows_done=sa.func.coalesce(jobs.c.rows_total, jobs.c.rows_done),
            )
            keys: list[str] = []
            if ended is not None:
                removed = job_blocks.delete().where(job_blocks.c.job == job.id)
                keys = list(connection.scalars(removed.returning(job_blocks.c.key)))
                _add(connection, job, block, ended.rows_done, seconds)
        for key in keys:
            self._objects.delete(key)
        if ended is None:
            self._objects.delete(block.key)
            raise Lost

    def fail(self, job: Job, problem: dict[str, Any]) -> None:
        """End a job with its problem; raises Lost as all."""
        with self._database.write() as connection:
            ended = end(connection, self._held(job), "failed", problem=json.dumps(problem))
        if ended is None:
            raise Lost

    def _held(self, job: Job) -> list[sa.ColumnElement[bool]]:
        return [jobs.c.id == job.id, jobs.c.state == "running", jobs.c.claim == job.claim]


def _add(connection: sa.Connection, job: Job, block: Block, rows: int, seconds: float) -> None:
    connection.execute(
        job_blocks.insert().values(
            job=job.id,
            number=block.number,
            key=block.key,
            bytes=block.bytes,
            places=json.dumps(block.places),
            rows=rows,
            seconds=seconds,
        )
    )


def blocks_of(database: Database, job: str) -> list[Block]:
    """What has been computed of a job, in order."""
    query = sa.select(job_blocks).where(job_blocks.c.job == job).order_by(job_blocks.c.number)
    with database.read() as connection:
        return [Block(row.number, row.key, row.bytes, json.loads(row.places)) for row in connection.execute(query)]
