"""A private server for a user who has the server extra and has configured nothing.

It listens on a free port of 127.0.0.1, keeps its data in a temporary folder, and stops with this
process, however that ends: it reads our end of a pipe as its standard input and leaves at its end.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import threading

from farfunc_protocol.errors import ConnectionFailed

__all__ = ["LocalServer", "can_start"]

_START_SECONDS = 60.0
_LISTENING = "farfunc: listening on "


def can_start() -> bool:
    """Whether the server and what it needs are installed."""
    return all(importlib.util.find_spec(name) for name in ("farfunc_server", "torch", "fastapi", "uvicorn"))


class LocalServer:
    """A running private server.

    Attributes
    ----------
    url:
        Its address.
    """

    @classmethod
    def start(cls) -> LocalServer:
        """Start one, if what it needs is installed.

        Raises
        ------
        ConnectionFailed
            Says what was looked for and how to get a server.
        """
        if not can_start():
            raise ConnectionFailed(
                "there is no farfunc server to compute on: FARFUNC_URL is not set, farfunc.connect was not called, "
                "and the server extra is not installed here",
                remedy="set FARFUNC_URL=http://host:port, or `pip install 'farfunc[server]'` and `farfunc serve`",
            )
        return cls()

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._folder = tempfile.mkdtemp(prefix="farfunc-")
        self._log = os.path.join(self._folder, "server.log")
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "farfunc_server", "--host", "127.0.0.1", "--port", "0"),
                    *("--data-dir", os.path.join(self._folder, "data"), "--stop-with-stdin"),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={name: value for name, value in os.environ.items() if not name.startswith("FARFUNC_")},
                start_new_session=True,  # a Ctrl-C in the user's terminal is the user's, not the server's
            )
        atexit.register(self.stop)
        try:
            self.url = self._address()
        except BaseException:
            self.stop()
            raise

    def _address(self) -> str:
        timer = threading.Timer(_START_SECONDS, self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            for line in self._process.stdout or ():
                text = line.decode("utf-8", "replace").strip()
                if text.startswith(_LISTENING):
                    return text.removeprefix(_LISTENING)
        finally:
            timer.cancel()
        with open(self._log, encoding="utf-8", errors="replace") as log:
            tail = log.read()[-2000:].strip()
        raise ConnectionFailed(
            f"a private server was started and ended before it listened; its log ends with:\n{tail}",
            remedy="run `farfunc serve` in a terminal and set FARFUNC_URL to the address that it prints",
        )

    @property
    def is_running(self) -> bool:
        """Whether the process is alive."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Stop the server and remove its data; does nothing the second time."""
        atexit.unregister(self.stop)
        if os.getpid() != self._owner:
            return  # a forked child: the server is its parent's
        if self._process.stdin and not self._process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)
