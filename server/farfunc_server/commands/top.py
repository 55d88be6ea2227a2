"""``farfunc top``: a running server, in a terminal.

It asks a server over HTTP, as any client does, and needs nothing but the standard library: it runs where the thin
client is installed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import socket
import ssl
import sys
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from farfunc_protocol.errors import ConnectionFailed, FarfuncError, from_problem

from .figures import Figures, read_figures
from .top_view import Frame, draw

__all__ = ["main"]

_DEFAULT = "http://127.0.0.1:8017"
_SECONDS = 10.0
_CLEAR, _HOME, _REST = "\x1b[2J", "\x1b[H", "\x1b[J"
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="farfunc top", description="Watch a running server.")
    parser.add_argument(
        "url", nargs="?", help=f"http://host:port or unix:///path; default: FARFUNC_URL, else {_DEFAULT}"
    )
    parser.add_argument("--once", action="store_true", help="print one frame, over a second, and end")
    parser.add_argument("--interval", type=_interval, default=1.0, metavar="SECONDS", help="between two frames [1]")
    options = parser.parse_args(arguments)
    server = _Server(options.url or os.environ.get("FARFUNC_URL") or _DEFAULT, os.environ.get("FARFUNC_TOKEN"))
    try:
        return _once(server, options.interval) if options.once else _watch(server, options.interval)
    except KeyboardInterrupt:
        return 0
    except FarfuncError as error:
        print(f"farfunc: {error}", file=sys.stderr)
        return 1


def _interval(text: str) -> float:
    if not 0.1 <= (seconds := float(text)) <= 3600:
        raise argparse.ArgumentTypeError("give 0.1 to 3600 seconds")
    return seconds


def _once(server: _Server, interval: float) -> int:
    before = server.figures()
    time.sleep(interval)  # rates are between two moments
    print("\n".join(draw(server.frame(before), shutil.get_terminal_size((100, 40)).columns, is_colored=False)))
    return 0


def _watch(server: _Server, interval: float) -> int:
    before = server.figures()
    is_terminal = sys.stdout.isatty()
    if is_terminal:
        print(_HIDE_CURSOR + _CLEAR, end="")
    try:
        while True:
            time.sleep(interval)
            size = shutil.get_terminal_size((100, 40))
            try:
                frame = server.frame(before)
                before = frame.now
                lines = draw(frame, size.columns, is_colored=is_terminal and "NO_COLOR" not in os.environ)
            except ConnectionFailed as error:  # it may be on its way back
                lines = [str(error)]
            if is_terminal:
                # What was there is written over, line by line: nothing flickers.
                print(_HOME + "\n".join(f"{line}\x1b[K" for line in lines[: size.lines - 1]) + _REST, flush=True)
            else:
                print("\n".join(lines), end="\n\n", flush=True)
    finally:
        if is_terminal:
            print(_SHOW_CURSOR)


class _Server:
    """What is asked, and how."""

    def __init__(self, url: str, token: str | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https", "unix") or not (parts.hostname or parts.path):
            raise ConnectionFailed(f"{url!r} is no address of a server", remedy="give http://host:port")
        self._url, self._parts = url, parts
        self._headers = {"authorization": f"Bearer {token}"} if token else {}

    def figures(self) -> Figures:
        """What ``/metrics`` tells now."""
        return read_figures(self._get("/metrics").decode(), time.monotonic())

    def frame(self, before: Figures) -> Frame:
        """All that is shown, with rates since an earlier moment."""
        devices = json.loads(self._get("/v1/devices"))["devices"]
        plans = json.loads(self._get("/v1/plans"))["plans"]
        return Frame(self._url, before, self.figures(), devices, plans)

    def _get(self, path: str) -> bytes:
        connection = self._connection()
        try:
            connection.request(
                "GET", self._parts.path.rstrip("/") * (self._parts.scheme != "unix") + path, headers=self._headers
            )
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionFailed(
                f"no farfunc server answers at {self._url} ({error or type(error).__name__})",
                remedy="give its address: farfunc top http://host:port, or FARFUNC_URL",
            ) from None
        finally:
            connection.close()
        if response.status == 200:
            return body
        try:
            problem: Any = json.loads(body)
        except ValueError:
            problem = {}
        if isinstance(problem, dict) and "code" in problem:
            raise from_problem(problem)
        raise ConnectionFailed(f"{self._url}{path} answers {response.status}", remedy="is it a farfunc server?")

    def _connection(self) -> http.client.HTTPConnection:
        parts = self._parts
        if parts.scheme == "https":
            context = ssl.create_default_context()  # SSL_CERT_FILE names a certificate of one's own
            return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=_SECONDS, context=context)
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_SECONDS)
        return _UnixConnection(parts.path)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("farfunc", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(self._path)
