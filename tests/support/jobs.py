"""Jobs over HTTP, as any program could speak of them."""

from __future__ import annotations

import time
from typing import Any

import httpx

from support.http import BINARY

__all__ = ["ended", "following", "submit"]


def submit(client: httpx.Client, body: bytes, *, headers: dict[str, str] | None = None, **query: Any) -> dict[str, Any]:
    """Submit an evaluation, and return the job's document."""
    response = client.post("/v1/jobs", content=body, headers={**BINARY, **(headers or {})}, params=query)
    assert response.status_code == 201, response.text
    document = response.json()
    assert response.headers["location"] == f"/v1/jobs/{document['id']}"
    return document


def ended(client: httpx.Client, id: str, seconds: float = 60.0) -> dict[str, Any]:
    """Wait for a job's end, and return its document."""
    deadline = time.monotonic() + seconds
    while True:
        document = client.get(f"/v1/jobs/{id}").json()
        if document["state"] in ("succeeded", "failed", "cancelled"):
            return document
        assert time.monotonic() < deadline, document
        time.sleep(0.02)  # between two looks, bounded by the deadline


def following(client: httpx.Client, id: str, last: str | None = None) -> Any:
    """The events of a job, each its id and its document, until it has ended."""
    import json

    headers = {} if last is None else {"last-event-id": last}
    with client.stream("GET", f"/v1/jobs/{id}/events", headers=headers) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in response.iter_lines():
            name, _, value = line.partition(": ")
            if line and name:
                fields[name] = value
            elif fields.get("event") == "job":
                yield fields["id"], json.loads(fields["data"])
                fields = {}
