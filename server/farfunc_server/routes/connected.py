"""Work for a client is given up when the client goes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

__all__ = ["while_connected"]

Result = TypeVar("Result")

_PATIENCE = 0.05  # seconds before a wait is worth a look at whether the client is still there


async def while_connected(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """Wait for work, and give it up when the client goes: what still waits leaves the queue."""
    waiting = asyncio.current_task()
    assert waiting is not None
    loop = asyncio.get_running_loop()
    watch: asyncio.Task[None] | None = None
    is_gone = False

    def look() -> None:
        nonlocal watch
        watch = loop.create_task(_disconnected(receive))
        watch.add_done_callback(leave)

    def leave(watch: asyncio.Task[None]) -> None:
        nonlocal is_gone
        if not watch.cancelled():
            is_gone = True
            waiting.cancel()

    timer = loop.call_later(_PATIENCE, look)
    try:
        return await work
    except asyncio.CancelledError:
        if is_gone and waiting.uncancel() == 0:
            raise ClientDisconnect from None
        raise
    finally:
        timer.cancel()
        if watch is not None:
            watch.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
