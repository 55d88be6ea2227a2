"""Who waits for a job to change is woken when it does, if this server did it; others look now and then."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterator

__all__ = ["Changes"]


class Changes:
    """The waits for jobs of one server; used on its event loop only."""

    def __init__(self) -> None:
        self._waits: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @contextlib.contextmanager
    def of(self, job: str) -> Iterator[asyncio.Event]:
        """An event that is set by each change of a job, to be cleared by whoever waits."""
        changed = asyncio.Event()
        self._waits[job].add(changed)
        try:
            yield changed
        finally:
            self._waits[job].discard(changed)
            if not self._waits[job]:
                del self._waits[job]

    def tell(self, job: str) -> None:
        """A job has changed."""
        for changed in self._waits.get(job, ()):
            changed.set()

    def tell_all(self) -> None:
        """Wake everybody, since the server is about to end for example."""
        for waits in self._waits.values():
            for changed in waits:
                changed.set()
