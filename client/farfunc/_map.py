"""Many calls of one function: prepared in order, several on their way at once, answered in order.

A call is prepared in the thread that asks for the results, as any other; what overlaps is the transport and the
server's work, whose batches these calls fill. The first goes alone: with it the server learns the function.
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from farfunc_protocol.arrays import Array
from farfunc_protocol.errors import FarfuncError, InvalidRequest

from ._call import Call
from ._evaluator import Evaluator
from ._front_ends import local_transforms
from ._tracing import current_trace
from ._transformed import peel

if TYPE_CHECKING:
    import asyncio  # at run time by those alone who use it: it takes long to import

__all__ = ["DEFAULT_CONCURRENCY", "Later", "check_concurrency", "map_async", "map_calls"]

DEFAULT_CONCURRENCY = 32
"""Calls on their way at once."""

_MOST = 4096
_LONGEST_POLL = 2.0**31 - 1
"""Milliseconds; poll takes no more."""


class Later(Protocol):
    """An evaluation whose answer is read later."""

    def send(self, wait: bool) -> bool:
        """Send it; False, where no connection is free and it is not to wait for one."""
        ...

    def fileno(self) -> int | None:
        """What can be read from when the answer comes; None where nothing tells that."""
        ...

    @property
    def seconds(self) -> float | None:
        """How long there may be silence until it comes."""
        ...

    def receive(self) -> None:
        """Take the answer in, so that its connection is free; :meth:`result` tells it."""
        ...

    def expire(self) -> None:
        """There was silence for too long, which :meth:`result` tells."""
        ...

    def result(self) -> list[Array]:
        """Wait for the answer; raises what the evaluation would have raised."""
        ...

    def cancel(self) -> None:
        """Nobody wants it any more."""
        ...


def check_concurrency(given: Any) -> int:
    """Return ``given`` if so many calls can be made at once."""
    if isinstance(given, bool) or not isinstance(given, int | np.integer) or not 1 <= given <= _MOST:
        raise InvalidRequest(
            f"the concurrency is {given!r}", remedy=f"give how many calls may be on their way: 1 to {_MOST}"
        )
    return int(given)


def map_calls(
    func: Callable[..., Any],
    iterators: tuple[Iterator[Any], ...],
    begin: Callable[[Mapping[str, Any]], Later],
    concurrency: int,
) -> Iterator[Any]:
    """Yield ``func(*args)`` for each tuple of arguments, in their order.

    Parameters
    ----------
    func:
        Any callable that could be transformed; perhaps a transformed one.
    iterators:
        One for each argument; the shortest ends it.
    begin:
        From the arguments of :meth:`~farfunc._evaluator.Evaluator.evaluate` to an evaluation, not sent yet.
    concurrency:
        How many may be on their way at once.
    """
    if current_trace() is not None or local_transforms() is not None:  # part of a graph: there is nothing to send
        yield from map(func, *iterators)
        return
    items = _Items(func, iterators, None)
    sent: deque[_Item] = deque()
    following: _Item | None = None
    try:
        while True:
            while _has_room(sent, concurrency if items.is_known else 1):
                following = following or items.following()
                if following is None:
                    break
                if following.error is None and not following.begin(begin, wait=not sent):
                    break
                sent.append(following)
                following = None
            if not sent:
                return
            if sent[0].is_waiting and len(sent) > 1 and not _receive(sent):
                continue  # others came first: their connections are free
            yield items.finished(sent.popleft())
    finally:
        for item in sent:
            item.cancel()


def _has_room(sent: deque[_Item], concurrency: int) -> bool:
    """Whether another may be sent: of those that wait, and of those whose answers wait for their turn."""
    if not sent:
        return True
    if sent[-1].is_alone or len(sent) >= 2 * concurrency:
        return False
    return len(sent) < concurrency or sum([item.is_waiting for item in sent]) < concurrency


def _receive(sent: deque[_Item]) -> bool:
    """Wait until an answer comes, and take in all that have; whether it is the turn of one of them."""
    waiting = {number: item for item in sent if (number := item.fileno()) is not None}
    first = sent[0]
    if first.fileno() is None:
        return True  # nothing tells when it comes
    poll = select.poll()
    for number in waiting:
        poll.register(number, select.POLLIN)
    come = [waiting[number] for number, _ in poll.poll(first.milliseconds)]
    for item in come:
        if item is not first:
            item.receive()
    if not come:
        first.expire()
    return not come or first in come


async def map_async(
    func: Callable[..., Any], iterators: tuple[Iterator[Any], ...], evaluator: Evaluator, concurrency: int
) -> AsyncIterator[Any]:
    """:func:`map_calls` for asyncio: the evaluator's answers are awaitable."""
    import asyncio  # they have it who come here

    items = _Items(func, iterators, evaluator)
    sent: deque[tuple[_Item, asyncio.Future[Any]]] = deque()
    waiting: set[asyncio.Future[Any]] = set()
    try:
        while True:
            most = concurrency if items.is_known else 1
            while not sent or (len(waiting) < most and len(sent) < 2 * most and not sent[-1][0].is_alone):
                item = items.following()
                if item is None:
                    break
                sent.append((item, item.asked()))
                waiting.add(sent[-1][1])
            if not sent:
                return
            item, answer = sent[0]
            if answer in waiting:
                _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if answer in waiting:
                    continue  # others came first: their connections are free
            sent.popleft()
            yield await _awaited(items, item, answer)
    finally:
        for _, answer in sent:
            answer.cancel()
        await asyncio.gather(*(answer for _, answer in sent), return_exceptions=True)


async def _awaited(items: _Items, item: _Item, answer: Awaitable[Any]) -> Any:
    try:
        result = item.finished(await answer)
    except Exception as error:
        items.tell(error, item.number)
        raise
    items.is_known = True
    return result


class _Item:
    """One call.

    Attributes
    ----------
    number:
        Its place, from 0.
    call:
        Prepared; None where that failed, or where its arguments could not be had.
    error:
        What failed; raised when it is this call's turn.
    is_alone:
        Whether what it writes to may be what a later call reads.
    is_waiting:
        Whether it was sent, and its answer has not come.
    """

    def __init__(self, number: int, call: Call | None, error: BaseException | None) -> None:
        self.number, self.call, self.error = number, call, error
        self.is_alone = error is not None or (call is not None and bool(call.entry.payload.writes))
        self.is_waiting = False
        self._later: Later | None = None

    def begin(self, begin: Callable[[Mapping[str, Any]], Later], wait: bool) -> bool:
        """Send it, if there is a connection for it."""
        assert self.call is not None
        try:
            if self._later is None:
                self._later = begin(self.call.question())
            self.is_waiting = self._later.send(wait)
            return self.is_waiting
        except Exception as error:  # noqa: BLE001 - raised in its turn
            self.error, self.is_alone = error, True
            return True

    def fileno(self) -> int | None:
        """What its answer comes from; None where there is none to come, or nothing that tells."""
        return self._later.fileno() if self.is_waiting and self._later is not None else None

    @property
    def milliseconds(self) -> float | None:
        """How long to wait for it."""
        assert self._later is not None
        seconds = self._later.seconds
        return None if seconds is None else min(max(1.0, 1000.0 * seconds), _LONGEST_POLL)

    def expire(self) -> None:
        """It has not come for too long."""
        assert self._later is not None
        self._later.expire()
        self.is_waiting = False

    def receive(self) -> None:
        """Take its answer in before its turn."""
        assert self._later is not None
        self._later.receive()
        self.is_waiting = False

    def result(self) -> Any:
        """Its result, in its turn."""
        if self.error is not None:
            raise self.error
        assert self.call is not None
        assert self._later is not None
        later, self._later = self._later, None
        return self.call.finish(later.result())

    def asked(self) -> asyncio.Future[Any]:
        """Its answer, of an evaluator whose answers are awaitable.

        It is asked at once: a later item may be the very same array with other values.
        """
        import asyncio

        answer: Any = None
        if self.error is None:
            assert self.call is not None
            try:
                answer = self.call.evaluate()
            except Exception as error:  # noqa: BLE001 - raised in its turn
                self.error, self.is_alone = error, True
            else:
                if isinstance(answer, Awaitable):
                    return asyncio.ensure_future(answer)
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        done.set_result(answer)
        return done

    def finished(self, answer: list[Array]) -> Any:
        """Its result, of that answer."""
        if self.error is not None:
            raise self.error
        assert self.call is not None
        return self.call.finish(answer)

    def cancel(self) -> None:
        if self._later is not None:
            self._later.cancel()


class _Items:
    """The calls, in their order.

    Attributes
    ----------
    is_known:
        Whether one was answered: the server has the function.
    """

    def __init__(
        self, func: Callable[..., Any], iterators: tuple[Iterator[Any], ...], evaluator: Evaluator | None
    ) -> None:
        self._chain, self._func, _ = peel(func)
        self._arguments = enumerate(zip(*iterators, strict=False))
        self._evaluator = evaluator
        self._is_over = False
        self.is_known = False

    def following(self) -> _Item | None:
        """The next one, prepared; None at the end, which a failure is, too."""
        if self._is_over:
            return None
        try:
            number, args = next(self._arguments)
        except StopIteration:
            self._is_over = True
            return None
        except Exception as error:  # noqa: BLE001 - the iterable's own, raised in its turn
            self._is_over = True
            return _Item(-1, None, error)
        try:
            return _Item(number, Call.prepare(self._chain, self._func, args, {}, self._evaluator), None)
        except Exception as error:  # noqa: BLE001 - raised in its turn
            self._is_over = True
            return _Item(number, None, error)

    def finished(self, item: _Item) -> Any:
        """The result of a call that was sent."""
        try:
            result = item.result()
        except Exception as error:
            self.tell(error, item.number)
            raise
        self.is_known = True
        return result

    def tell(self, error: BaseException, number: int) -> None:
        """Say of an error which call it belongs to."""
        if number < 0:
            return
        if isinstance(error, FarfuncError):
            error.where = f"items[{number}]" + (f": {error.where}" if error.where else "")
        else:
            error.add_note(f"in items[{number}] of map")
