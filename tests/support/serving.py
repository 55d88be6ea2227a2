"""A real server in a process of its own, for tests and for the demo."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

__all__ = ["RunningServer"]

_LISTENING = re.compile(r"^farfunc: listening on ((?:http|unix)://\S+)$", re.MULTILINE)


class RunningServer:
    """``python -m farfunc_server --port 0`` from ``with`` to the end of the block.

    Its output goes to a file, so that a full pipe can never stop it. It runs in a process group
    of its own: what it started ends with it, whatever became of it.

    Attributes
    ----------
    url:
        Where it listens.
    process:
        The web process, for tests that send it signals.
    data_dir:
        Its data folder; a second server may be started on it.
    log:
        The file that holds its output.
    """

    url: str
    process: subprocess.Popen[bytes]

    def __init__(
        self,
        python: Path,
        folder: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
        start_seconds: float = 90.0,
    ) -> None:
        self.data_dir = folder / "data"
        self.log = folder / "server.log"
        self._command = [str(python), "-m", "farfunc_server", "--port", "0", "--data-dir", str(self.data_dir), *options]
        own = {name: value for name, value in os.environ.items() if not name.startswith("FARFUNC_")}
        # Compilers in the background would slow down all tests; what is about them turns them on.
        defaults = {"PYTHONUNBUFFERED": "1", "FARFUNC_COMPILE_PLANS": "false"}
        self._environment = {**own, **defaults, **(environment or {})}
        self._start_seconds = start_seconds

    def __enter__(self) -> RunningServer:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self, seconds: float = 15.0) -> int:
        """Ask it to end, insist after ``seconds``, and return its exit status."""
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.returncode

    def output(self) -> str:
        """All that it has printed so far."""
        return self.log.read_text(errors="replace")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self._start_seconds
        while not (match := _LISTENING.search(self.output())):
            self._check_alive(deadline, "to say where it listens")
        self.url = match[1]
        while not self._answers_ready():
            self._check_alive(deadline, f"to be ready at {self.url}")

    def _answers_ready(self) -> bool:
        kind, _, place = self.url.partition("://")
        connection = http.client.HTTPConnection("farfunc" if kind == "unix" else place, timeout=5)
        try:
            if kind == "unix":
                connection.sock = socket.socket(socket.AF_UNIX)
                connection.sock.connect(place)
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def _check_alive(self, deadline: float, awaited: str) -> None:
        if (status := self.process.poll()) is not None:
            raise RuntimeError(
                f"the server ended with status {status} while we waited for it {awaited}:\n{self._tail()}"
            )
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {self._start_seconds:g} s for the server {awaited}:\n{self._tail()}")
        time.sleep(0.05)  # between two looks, bounded by the deadline

    def _tail(self) -> str:
        return "\n".join(self.output().splitlines()[-40:])
