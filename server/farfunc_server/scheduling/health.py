"""When a device is not to be trusted, as plain data.

A request can cost a worker its life, and so can a device that is broken. Three signs tell them apart:

- the worker died with nothing to do, or what died with it was answered by another device: :meth:`Health.failed`;
- requests of different functions died, one after another, and none was answered in between: :meth:`Health.lost`;
- workers do not even start.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Hashable

__all__ = ["Health"]

_MOST = 3
_WINDOW_SECONDS = 120.0
_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 300.0


class Health:
    """How a device has fared of late.

    >>> health = Health()
    >>> for _ in range(3):
    ...     health.failed()
    >>> health.is_bad
    True

    Attributes
    ----------
    starts_failed:
        How many workers, one after another, did not start.
    pause:
        Seconds until it is to be tried again; longer each time.
    """

    def __init__(self) -> None:
        self.starts_failed = 0
        self.pause = _FIRST_PAUSE
        self._failures: deque[float] = deque(maxlen=_MOST)
        self._lost: set[Hashable] = set()

    def failed(self) -> None:
        """A worker died, and no request was the cause."""
        self._failures.append(time.monotonic())

    def lost(self, function: Hashable) -> None:
        """A worker died as it evaluated a function."""
        self._lost.add(function)

    def answered(self) -> None:
        """It has done what it was asked to."""
        if self._lost:
            self._lost.clear()

    @property
    def is_bad(self) -> bool:
        """Whether it is to be taken out of service."""
        failures = self._failures
        return (
            len(self._lost) >= _MOST
            or (len(failures) == _MOST and time.monotonic() - failures[0] < _WINDOW_SECONDS)
            or not self.can_start
        )

    @property
    def can_start(self) -> bool:
        """Whether its workers start."""
        return self.starts_failed < _MOST

    def forgive(self) -> None:
        """It is tried anew; if it fails again soon, it is out for longer."""
        self._failures.clear()
        self._lost.clear()
        self.pause = min(2 * self.pause, _LONGEST_PAUSE)

    def reset(self) -> None:
        """It is trusted as if nothing had been."""
        self.__init__()  # type: ignore[misc]
