"""What is to be told of the ends of jobs, and how far that has come: see https://www.standardwebhooks.com."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from .database import Database, now_of
from .schema import webhook_deliveries

if TYPE_CHECKING:
    from .jobs import Job

__all__ = ["RETRY_SECONDS", "Delivery", "DeliveryStore", "announce"]

RETRY_SECONDS = (1.0, 5.0, 30.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0)
"""After each failure, how long until it is tried again: two days in all."""

_SENDING_SECONDS = 60.0
"""So long nobody else tries what one server is about to send."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One thing to be told.

    Attributes
    ----------
    id:
        The same for each attempt, so that the receiver knows it again.
    url, secret:
        Where, and the key of the signature.
    payload:
        The body.
    attempts:
        How often it was tried, this time included.
    delivered:
        When it was taken.
    error:
        What became of the last attempt.
    """

    id: str
    url: str
    secret: str
    payload: str
    attempts: int
    next_at: float | None
    delivered: float | None
    error: str | None


_COLUMNS = [webhook_deliveries.c[name] for name in Delivery.__dataclass_fields__]


def announce(connection: sa.Connection, job: Job, webhook: dict[str, str]) -> None:
    """Have the end of a job told, in the transaction that ends it."""
    now = now_of(connection)
    payload = {
        "type": f"job.{job.state}",
        "timestamp": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
        "data": {
            "id": job.id,
            "state": job.state,
            "label": job.label,
            "function": job.function,
            "created": job.created,
            "started": job.started,
            "finished": job.finished,
            "expires": job.expires,
            "seconds": job.seconds,
            "result_bytes": job.result_bytes,
            "problem": None if job.problem is None else json.loads(job.problem),
        },
    }
    connection.execute(
        webhook_deliveries.insert().values(
            id=f"msg_{secrets.token_hex(12)}",
            job=job.id,
            url=webhook["url"],
            secret=webhook["secret"],
            payload=json.dumps(payload),
            created=now,
            attempts=0,
            next_at=now,
        )
    )


class DeliveryStore:
    """The deliveries of all jobs. Safe to be used from several threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_job(self, job: str) -> list[Delivery]:
        """What is told of a job, oldest first."""
        query = sa.select(*_COLUMNS).where(webhook_deliveries.c.job == job).order_by(webhook_deliveries.c.created)
        with self._database.read() as connection:
            return [Delivery(*row) for row in connection.execute(query)]

    def due(self) -> Delivery | None:
        """Take the delivery that has been due for longest; no other server tries it for a while."""
        with self._database.write() as connection:
            now = now_of(connection)
            item = webhook_deliveries.alias()
            first = sa.select(item.c.id).where(item.c.next_at <= now).order_by(item.c.next_at).limit(1)
            first = first.with_for_update(skip_locked=True)
            change = webhook_deliveries.update().where(webhook_deliveries.c.id == first.scalar_subquery())
            change = change.values(attempts=webhook_deliveries.c.attempts + 1, next_at=now + _SENDING_SECONDS)
            row = connection.execute(change.returning(*_COLUMNS)).one_or_none()
        return None if row is None else Delivery(*row)

    def wait(self) -> float | None:
        """The seconds until one is due; None if none will be."""
        with self._database.read() as connection:
            first = connection.scalar(sa.select(sa.func.min(webhook_deliveries.c.next_at)))
            return None if first is None else max(first - now_of(connection), 0.0)

    def succeeded(self, delivery: Delivery) -> None:
        """It was taken."""
        with self._database.write() as connection:
            chosen = webhook_deliveries.update().where(webhook_deliveries.c.id == delivery.id)
            connection.execute(chosen.values(next_at=None, delivered=now_of(connection), error=None))

    def failed(self, delivery: Delivery, error: str, *, is_final: bool = False) -> None:
        """It was not, and is tried again later, unless that is pointless."""
        left = RETRY_SECONDS[delivery.attempts - 1 :]
        with self._database.write() as connection:
            next_at = None if is_final or not left else now_of(connection) + left[0]
            chosen = webhook_deliveries.update().where(webhook_deliveries.c.id == delivery.id)
            connection.execute(chosen.values(next_at=next_at, error=error))
