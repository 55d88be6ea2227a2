"""The server's application in this very process: no socket, and an error of its own is seen whole."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from farfunc_server.app import create_app
from farfunc_server.settings import Settings

__all__ = ["InProcessServer"]


class InProcessServer:
    """An application with its workers, on an event loop in a thread, from ``with`` to the end of the block.

    Parameters
    ----------
    folder:
        For its data.
    settings:
        What differs from the defaults.
    """

    def __init__(self, folder: Path, **settings: object) -> None:
        self._app = create_app(Settings(data_dir=folder, **settings))  # type: ignore[arg-type]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="in-process server", daemon=True)

    def __enter__(self) -> InProcessServer:
        self._thread.start()
        self._run(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def request(
        self, method: str, path: str, content: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Send a request; raises TimeoutError if there is no answer within a minute."""
        return self._run(self._client.request(method, path, content=content, headers=headers))

    async def _open(self) -> None:
        self._lifespan = self._app.router.lifespan_context(self._app)
        await self._lifespan.__aenter__()
        transport = httpx.ASGITransport(self._app)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://in-process", timeout=None)

    async def _close(self) -> None:
        await self._client.aclose()
        await self._lifespan.__aexit__(None, None, None)

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60.0)
