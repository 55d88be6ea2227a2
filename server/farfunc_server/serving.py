"""The server's life: bind, announce, serve, and end in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import os
import shutil
import socket
import sys
import threading
import time
from types import FrameType

import uvicorn

from farfunc_protocol.errors import FarfuncError

from .access.exposure import check_exposure
from .app import create_app
from .connections import Connection
from .listening import Listener
from .logs import event, start_logging
from .routes.context import Context
from .settings import Settings

__all__ = ["serve"]

_log = logging.getLogger("farfunc.server")


def serve(settings: Settings) -> int:
    """Serve until a signal ends it; returns the exit status."""
    quiet = dict.fromkeys(("uvicorn.error", "asyncio", "alembic"), logging.WARNING)
    start_logging(settings.log_level, settings.log_format, quiet=quiet)
    logging.captureWarnings(True)
    try:
        check_exposure(settings)
        app = create_app(settings)
        on_file, host, port = settings.uds, settings.host, settings.port
        listener = Listener.on_file(on_file) if on_file is not None else Listener.on_network(host, port)
    except FarfuncError as error:
        print(f"farfunc: {error}", file=sys.stderr)
        return 1
    config = uvicorn.Config(
        app,
        http=Connection,
        loop="uvloop",
        proxy_headers=False,  # nothing here depends on what a proxy says of the client
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=int(settings.shutdown_limit) + 1,
        server_header=False,
        ws="none",
    )
    server = _Server(config, app.state.context, listener)
    try:
        server.run(sockets=[])
    finally:
        listener.remove()
    if settings.temporary:
        shutil.rmtree(settings.data_dir, ignore_errors=True)
    return 0 if server.started else 1


class _Server(uvicorn.Server):
    """uvicorn, told what signals mean: first refuse new requests, finish those that run, and end; then end at once."""

    def __init__(self, config: uvicorn.Config, context: Context, listener: Listener) -> None:
        super().__init__(config)
        self._context = context
        self._listener = listener
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deadline = math.inf  # of what is still to be finished, on time.monotonic

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets=sockets)
        if self.should_exit:
            return
        listening = self._listener.socket
        is_file = listening.family == socket.AF_UNIX
        create = self._loop.create_unix_server if is_file else self._loop.create_server
        self.servers.append(await create(self._connection, sock=listening, backlog=self.config.backlog))
        gc.collect()
        gc.freeze()  # modules and routes stay; a full collection that looks at them all would stop everything for 0.1 s
        print(f"farfunc: listening on {self._listener.address}", flush=True)
        if self._context.settings.stop_with_stdin:
            threading.Thread(target=self._watch_stdin, name="stdin", daemon=True).start()

    def _connection(self) -> Connection:
        return Connection(self.config, self.server_state, self.lifespan.state)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # In place of uvicorn's, which has the signal raised again in the end: it would end this process before the
        # socket's file and a temporary data folder are removed.
        if self._loop is None or self.should_exit:
            self.force_exit = self.should_exit  # nothing is left to be finished but to send what clients do not take
            self.should_exit = True
            return
        seconds = 0.0 if self._context.is_closing else self._context.settings.shutdown_limit
        self._loop.call_soon_threadsafe(self._begin_to_close, seconds)

    def _begin_to_close(self, seconds: float) -> None:
        self._deadline = min(self._deadline, time.monotonic() + seconds)
        if not self._context.is_closing:
            self._context.is_closing = True
            self._closing = asyncio.ensure_future(self._close())

    async def _close(self) -> None:
        dispatcher = self._context.dispatcher
        event(_log, logging.INFO, "closing", unfinished=dispatcher.unfinished)
        await self._context.jobs.stop()  # another server, or this one when it is started again, goes on with them
        dispatcher.close()
        while dispatcher.unfinished and time.monotonic() < self._deadline:
            await asyncio.sleep(0.02)
        await dispatcher.stop()  # what is left is answered with ServerBusy
        self.should_exit = True

    def _watch_stdin(self) -> None:
        while os.read(0, 4096):
            pass
        if self._loop is not None and not self._loop.is_closed():
            # Whoever started us has gone; there is no one to finish anything for.
            self._loop.call_soon_threadsafe(self._begin_to_close, 0.0)
