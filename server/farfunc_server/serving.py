"""The server's life: bind, announce, serve, and end in order."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import sys
import threading
from types import FrameType

import uvicorn

from farfunc_protocol.errors import FarfuncError

from .app import create_app
from .logs import event, start_logging
from .routes.context import Context
from .settings import Settings

__all__ = ["serve"]

_log = logging.getLogger("farfunc.server")


def serve(settings: Settings) -> int:
    """Serve until a signal ends it; returns the exit status."""
    start_logging(settings.log_level, quiet={"uvicorn.error": logging.WARNING, "asyncio": logging.WARNING})
    try:
        app = create_app(settings)
        listener = _bind(settings.host, settings.port)
    except FarfuncError as error:
        print(f"farfunc: {error}", file=sys.stderr)
        return 1
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=int(settings.shutdown_limit) + 1,
        server_header=False,
        ws="none",
    )
    server = _Server(config, app.state.context)
    server.run(sockets=[listener])
    if settings.temporary:
        shutil.rmtree(settings.data_dir, ignore_errors=True)
    return 0 if server.started else 1


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, since asyncio turns Nagle's algorithm off only where it is: 40 ms a request.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise FarfuncError(
            f"cannot listen on {host}:{port}: {error.strerror or error}", remedy="give another --host or --port"
        ) from None
    listener.listen(1024)
    return listener


class _Server(uvicorn.Server):
    """uvicorn, told what the first signal means: refuse new requests, finish those that run, then end."""

    def __init__(self, config: uvicorn.Config, context: Context) -> None:
        super().__init__(config)
        self._context = context
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets=sockets)
        if self.should_exit or not sockets:
            return
        host, port = sockets[0].getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"farfunc: listening on http://{shown}:{port}", flush=True)
        if self._context.settings.stop_with_stdin:
            threading.Thread(target=self._watch_stdin, name="stdin", daemon=True).start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._loop is None or self._context.is_closing:
            super().handle_exit(sig, frame)  # before the start, or the second signal: at once
            return
        self._loop.call_soon_threadsafe(self._begin_to_close, self._context.settings.shutdown_limit)

    def _begin_to_close(self, seconds: float) -> None:
        if not self._context.is_closing:
            self._context.is_closing = True
            self._closing = asyncio.ensure_future(self._close(seconds))

    async def _close(self, seconds: float) -> None:
        dispatcher = self._context.dispatcher
        event(_log, logging.INFO, "closing", unfinished=dispatcher.unfinished)
        dispatcher.close()
        deadline = asyncio.get_running_loop().time() + seconds
        while dispatcher.unfinished and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
        await dispatcher.stop()  # what is left is answered with ServerBusy
        self.should_exit = True

    def _watch_stdin(self) -> None:
        while os.read(0, 4096):
            pass
        if self._loop is not None and not self._loop.is_closed():
            # Whoever started us has gone; there is no one to finish anything for.
            self._loop.call_soon_threadsafe(self._begin_to_close, 0.0)
