"""A job as its JSON document."""

from __future__ import annotations

import json
import time
from typing import Any

from ..storage import Storage
from ..storage.jobs import Job

__all__ = ["job_document"]


def job_document(storage: Storage, job: Job, *, with_secret: bool = False) -> dict[str, Any]:
    """All that its owner may know of a job; reads the database.

    Parameters
    ----------
    with_secret:
        Whether to tell the key of the webhook's signature, as to whoever has just submitted the job.
    """
    return {
        "id": job.id,
        "state": job.state,
        "function": job.function,
        "transforms": json.loads(job.transforms),
        "label": job.label,
        "priority": job.priority,
        "created": job.created,
        "started": job.started,
        "finished": job.finished,
        "expires": job.expires,
        "queue_position": storage.jobs.position(job) if job.state == "queued" else None,
        "progress": {
            "rows_done": job.rows_done,
            "rows_total": job.rows_total,
            "fraction": _fraction(job),
            "seconds_left": _seconds_left(job),
        },
        "seconds": job.seconds,
        "result": None
        if job.state != "succeeded"
        else {
            "bytes": job.result_bytes,
            "types": json.loads(job.outputs or "[]"),
            "path": f"/v1/jobs/{job.id}/result",
        },
        "problem": None if job.problem is None else json.loads(job.problem),
        "webhook": None if job.webhook is None else _webhook(storage, job, json.loads(job.webhook), with_secret),
    }


def _fraction(job: Job) -> float:
    if job.state == "succeeded":
        return 1.0
    return round(job.rows_done / job.rows_total, 6) if job.rows_total else 0.0


def _seconds_left(job: Job) -> float | None:
    """As long as the rows that are left take at the pace of those since the job was claimed."""
    done = job.rows_done - job.claimed_rows
    if job.state != "running" or job.claimed is None or not job.rows_total or done <= 0:
        return None
    elapsed = max(time.time() - job.claimed, 0.0)
    return round(elapsed * (job.rows_total - job.rows_done) / done, 3)


def _webhook(storage: Storage, job: Job, webhook: dict[str, str], with_secret: bool) -> dict[str, Any]:
    last = storage.deliveries.of_job(job.id)[-1:]
    return {
        "url": webhook["url"],
        **({"secret": webhook["secret"]} if with_secret else {}),
        "attempts": last[0].attempts if last else 0,
        "delivered": last[0].delivered if last else None,
        "error": last[0].error if last else None,
    }
