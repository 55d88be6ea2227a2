"""Threads for what waits until no server goes by something that was taken away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["taken_away"]

Result = TypeVar("Result")

_threads = ThreadPoolExecutor(64, thread_name_prefix="taking away")


async def taken_away(work: Callable[..., Result], *arguments: Any) -> Result:
    """Do what ends with :meth:`~farfunc_server.storage.recent.Recent.forget`.

    That sleeps for a second where servers share a storage. In the threads of all other work a few deletions at the same
    time would have everybody wait.
    """
    return await asyncio.get_running_loop().run_in_executor(_threads, work, *arguments)
