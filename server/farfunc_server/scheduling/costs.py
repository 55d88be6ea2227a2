"""What requests take, learnt from those before them."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field

__all__ = ["Costs"]

_FIRST_GUESS_SECONDS = 0.05
_SMOOTHING = 0.1
_SMOOTHING_OF_A_KIND = 0.25
"""Plans become faster as they are flattened and compiled: what they took at first is soon forgotten."""

_ENOUGH = 5
_FRESH_SECONDS = 30.0
_MOST = 4096


@dataclass(slots=True)
class _Cost:
    count: int = 0
    seconds: float = 0.0
    at: float = 0.0
    latest: deque[float] = field(default_factory=lambda: deque(maxlen=_ENOUGH))


class Costs:
    """Moving averages of device seconds, by cost key: of a request's own part, where several were evaluated together.

    >>> costs = Costs()
    >>> for _ in range(5):
    ...     costs.learn("a", 2.0)
    >>> costs.estimate("a"), costs.measured("a"), costs.measured("b")
    (2.0, 2.0, None)

    Attributes
    ----------
    mean_seconds:
        Of all requests.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, _Cost] = OrderedDict()
        self.mean_seconds = _FIRST_GUESS_SECONDS

    def learn(self, key: Hashable, seconds: float) -> None:
        """A request took so long."""
        self.mean_seconds += _SMOOTHING * (seconds - self.mean_seconds)
        if key is None:
            return
        cost = self._known.get(key)
        if cost is None:
            cost = self._known[key] = _Cost()
            if len(self._known) > _MOST:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        cost.count += 1
        cost.seconds += max(1 / cost.count, _SMOOTHING_OF_A_KIND) * (seconds - cost.seconds)
        cost.latest.append(seconds)
        cost.at = time.monotonic()

    def estimate(self, key: Hashable) -> float:
        """What one is charged as it begins: a guess, if none like it was seen."""
        cost = self._known.get(key)
        return self.mean_seconds if cost is None else cost.seconds

    def in_company(self, key: Hashable) -> float:
        """What one adds to an evaluation of several: what was never measured is to be, by itself."""
        if key is None:
            return 0.0
        cost = self._known.get(key)
        return float("inf") if cost is None else cost.seconds

    def measured(self, key: Hashable) -> float | None:
        """What one will take at least, if that can be relied on: the fastest of the latest five, and those are fresh.

        The fastest, because the first calls of a plan make it. Fresh, because what is refused for its measure is not
        measured again, and may have become faster.
        """
        cost = self._known.get(key)
        if cost is None or cost.count < _ENOUGH or time.monotonic() - cost.at > _FRESH_SECONDS:
            return None
        return min(cost.latest)
