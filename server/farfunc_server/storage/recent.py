"""What was looked up a moment ago, and need not be looked up again."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

__all__ = ["Recent"]

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")

_MOST = 10_000

SECONDS = 1.0
"""So long a server may go by what it has looked up, where another may have changed it since."""

_MARGIN = 0.05


class Recent(Generic[_Key, _Value]):
    """Answers of a database, each good for a second where other servers share it, and until it is forgotten here.

    Whoever takes something away calls :meth:`forget`, which returns when no server goes by it any more: so a token
    that was revoked, or a function that was deleted, is out of use everywhere when its deletion is answered.

    Parameters
    ----------
    is_shared:
        Whether other servers go by the same database, each with answers of its own.
    changes:
        A number that is another one once somebody has written to the database, where that can be told for less than
        an answer: it is looked at once a second, and answers are good as long as it stays.

    >>> recent = Recent(is_shared=False)
    >>> with recent.learning("a") as learn:
    ...     learn(1)
    >>> recent.get("a")
    1
    """

    def __init__(
        self,
        *,
        is_shared: bool,
        changes: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._is_shared = is_shared
        self._clock = clock
        self._version_of = changes
        self._version: int | None = None
        self._looked = float("-inf")
        self._found: dict[_Key, tuple[_Value, float]] = {}
        self._changes = 0
        self._lock = threading.Lock()

    def get(self, key: _Key) -> _Value | None:
        """What was found, if that is still good."""
        self._look()
        found = self._found.get(key)
        if found is None or (self._is_shared and self._clock() - found[1] > SECONDS):
            return None
        return found[0]

    def _look(self) -> None:
        """See whether the database has been written to, once a second."""
        if self._version_of is None or (now := self._clock()) - self._looked <= SECONDS:
            return
        version = self._version_of()
        with self._lock:
            if version != self._version:
                self._changes += 1  # what is being looked up just now may be from before
                self._found.clear()
            self._version, self._looked = version, now

    @contextlib.contextmanager
    def learning(self, key: _Key) -> Iterator[Callable[[_Value], None]]:
        """Look something up in the block, and call what is given with the answer.

        It is good from before it was looked up, and is not kept if something was forgotten meanwhile.
        """
        self._look()
        asked, changes = self._clock(), self._changes

        def learn(value: _Value) -> None:
            with self._lock:
                if changes != self._changes:
                    return
                if len(self._found) >= _MOST:
                    self._found.clear()
                self._found[key] = (value, asked)

        yield learn

    def forget(self) -> None:
        """Something has been taken away: return when no server goes by it."""
        with self._lock:
            self._changes += 1
            self._found.clear()
        if self._is_shared:
            time.sleep(SECONDS + _MARGIN)
