"""A private server for a user who has the server extra and has configured nothing.

It listens on a free port of 127.0.0.1, lets nobody in without a token that only we know, keeps its
data in a temporary folder, and ends when nobody holds the other end of its standard input any more:
however this process and those that it has forked may end, their ends of the pipe go with them.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import secrets
import select
import shutil
import subprocess
import sys
import tempfile
import threading

from farfunc_protocol.errors import ConnectionFailed

from ._address import Address

__all__ = ["LocalServer", "can_start", "private_server"]

_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_LISTENING = "farfunc: listening on "


def can_start() -> bool:
    """Whether the server and what it needs are installed."""
    return all(importlib.util.find_spec(name) for name in ("farfunc_server", "torch", "fastapi", "uvicorn"))


class LocalServer:
    """A running private server.

    Attributes
    ----------
    address:
        Where it listens, and its token.

    Raises
    ------
    ConnectionFailed
        It does not start; the message ends with its log.
    """

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._folder = tempfile.mkdtemp(prefix="farfunc-")
        self._log = os.path.join(self._folder, "server.log")
        token = secrets.token_urlsafe()
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "farfunc_server"),  # -P: the user's folder may hold a queue.py
                    *("--host", "127.0.0.1", "--port", "0", "--data-dir", self._folder, "--temporary"),
                    *("--stop-with-stdin", "--shutdown-limit", "0.1"),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "FARFUNC_TOKEN": token},  # FARFUNC_DEVICES and the like hold here, too
                start_new_session=True,  # a Ctrl-C in the user's terminal is the user's, not the server's
            )
        atexit.register(self.stop)
        try:
            self.address = Address.parse(self._announced(), token)
        except BaseException:
            self.stop()
            raise

    def _announced(self) -> str:
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
        """Whether the server reads our pipe; in a forked process, too, to which it is no child."""
        if self._process.stdin is None or self._process.stdin.closed:
            return False
        poll = select.poll()
        poll.register(self._process.stdin.fileno(), 0)  # POLLERR, which needs no asking for: no reader is left
        return not poll.poll(0)

    def stop(self) -> None:
        """Stop the server and remove its data; does nothing the second time, and in a forked process."""
        if os.getpid() != self._owner:
            return
        atexit.unregister(self.stop)
        if self._process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.terminate()  # a forked process may hold the pipe still
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)


_lock = threading.Lock()
_server: LocalServer | None = None


def private_server() -> LocalServer:
    """The private server of this process and those that it forks: started when it is first asked for.

    Raises
    ------
    ConnectionFailed
        What it needs is not installed, or it does not start.
    """
    global _server
    with _lock:
        if _server is not None and _server.is_running:
            return _server
        if not can_start():
            raise ConnectionFailed(
                "there is no farfunc server to compute on: no farfunc.connect(url) is in force, FARFUNC_URL is not "
                "set, and the server extra is not installed here",
                remedy="set FARFUNC_URL=http://host:port to a server that runs (`farfunc serve` starts one), or "
                "`pip install 'farfunc[server]'` to compute here",
            )
        if _server is not None:
            _server.stop()
        _server = LocalServer()
        return _server


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()  # a thread of the parent may have held it


os.register_at_fork(after_in_child=_renew_lock)
