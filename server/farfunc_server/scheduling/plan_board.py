"""What is known of the plans of all devices: what their workers last told, and how their machine code is."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from ..workers.messages import Result
from .compilations import Compilation, Compilations

__all__ = ["PlanBoard"]

_MOST = 4096


class PlanBoard:
    """The plans of this server.

    Parameters
    ----------
    compilations:
        Where hot plans are sent; None where nothing is compiled.

    Attributes
    ----------
    hits, misses, evictions:
        Evaluations that found their plan, plans that were made for one, and plans that were forgotten to make room;
        as workers have told so far.
    """

    def __init__(self, compilations: Compilations | None) -> None:
        self._compilations = compilations
        self._told: OrderedDict[tuple[str, str], dict[str, Any]] = OrderedDict()
        self._calls: dict[tuple[str, str], int] = {}
        self.hits = self.misses = self.evictions = 0

    def heard(self, device: str, result: Result) -> None:
        """Take in what a worker tells beside a result."""
        for item in result.news:
            key = (device, item["id"])
            if item.get("forgotten"):
                self._told.pop(key, None)
                self._calls.pop(key, None)
                self.evictions += 1
                continue
            self._count(key, sum(stage["calls"] for stage in item["stages"].values()))
            self._told[key] = item
            self._told.move_to_end(key)
            if len(self._told) > _MOST:
                oldest, _ = self._told.popitem(last=False)
                self._calls.pop(oldest, None)
        if self._compilations is not None:
            for item in result.hot:
                self._compilations.add(item["id"], item["plan"]["function"], item["plan"])

    def lost(self, device: str) -> None:
        """A device's worker has died, and its plans with it."""
        for key in [key for key in self._told if key[0] == device]:
            del self._told[key]
            self._calls.pop(key, None)

    def _count(self, key: tuple[str, str], calls: int) -> None:
        before = self._calls.get(key)
        self._calls[key] = calls
        if before is None:
            self.misses += 1
            self.hits += max(calls - 1, 0)
        else:
            self.hits += max(calls - before, 0)

    def count(self, stage: str) -> int:
        """How many plans are in a stage."""
        return sum(item["stage"] == stage for item in self._told.values())

    @property
    def bytes(self) -> int:
        """The memory that plans take."""
        return sum(item["bytes"] for item in self._told.values())

    def plans(self) -> Sequence[dict[str, Any]]:
        """Every plan, most recently used first; as of its worker's last word, at most a second ago if it is in use."""
        return [
            {"device": device, **item, "compilation": self._compilation(id)}
            for (device, id), item in reversed(self._told.items())
        ]

    def _compilation(self, id: str) -> dict[str, Any] | None:
        found: Compilation | None = None if self._compilations is None else self._compilations[id]
        return found and {"state": found.state, "seconds": found.seconds, "reason": found.reason}
