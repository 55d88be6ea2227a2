"""The processes of a run: drivers that make calls, servers that answer them. All end with the run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["DriverFailed", "DriverProcess", "FarfuncServer", "Server", "free_port", "peer_servers"]

HERE = Path(__file__).resolve().parent
_LISTENING = re.compile(r"^farfunc: listening on (http://\S+)$", re.MULTILINE)
_START_SECONDS = 120.0

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy stands before this machine


class DriverFailed(Exception):
    """A driver's command went wrong; its text says how."""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _environment(threads: int, cache: Path) -> dict[str, str]:
    # Programs that an earlier run has compiled would hide what compiling takes.
    return {
        "OMP_NUM_THREADS": str(threads),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(cache),
    }


def _end(process: subprocess.Popen[Any], seconds: float = 15.0) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what it started ends with it
    process.wait()


class DriverProcess:
    """``driver.py`` in one environment.

    Parameters
    ----------
    python:
        The environment's interpreter.
    environment:
        ``local``, ``torch``, ``thin`` or ``peers``.
    log:
        Where its standard error goes.
    """

    def __init__(self, python: Path, environment: str, threads: int, log: Path) -> None:
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                [python, HERE / "driver.py", environment, str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env={**os.environ, **_environment(threads, log.parent / "inductor")},
                start_new_session=True,
            )
        self._received = b""

    def send(self, do: str, **arguments: Any) -> None:
        """Give it a command."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        self.process.stdin.flush()

    def answer(self, seconds: float = 300.0) -> Any:
        """Wait for the answer of the oldest command that is not answered.

        Raises
        ------
        DriverFailed
            With what went wrong there. After the time limit the process is ended: every later command fails.
        """
        assert self.process.stdout
        deadline = time.monotonic() + seconds
        while b"\n" not in self._received:
            ready, _, _ = select.select([self.process.stdout], [], [], max(deadline - time.monotonic(), 0.0))
            if not ready:
                self.close()
                raise DriverFailed(f"no answer within {seconds:.0f} s")
            part = os.read(self.process.stdout.fileno(), 1 << 20)
            if not part:
                raise DriverFailed("the process has ended")
            self._received += part
        line, _, self._received = self._received.partition(b"\n")
        answer = json.loads(line)
        if "error" in answer:
            raise DriverFailed(answer["error"])
        return answer["ok"]

    def run(self, do: str, *, limit: float = 300.0, **arguments: Any) -> Any:
        """Give it a command and wait for the answer."""
        try:
            self.send(do, **arguments)
        except (BrokenPipeError, ValueError):
            raise DriverFailed("the process has ended") from None
        return self.answer(limit)

    def close(self) -> None:
        """End the process."""
        _end(self.process)


class Server:
    """A server process for the length of a ``with`` block.

    Parameters
    ----------
    ready:
        What answers 200 once it serves: a path below ``url``.
    """

    def __init__(
        self,
        name: str,
        command: list[Any],
        url: str,
        ready: str,
        folder: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.command, self.url, self.ready = name, [str(part) for part in command], url, ready
        self.log = folder / f"{name}.log"
        self.environment = dict(environment or {})

    def __enter__(self) -> Server:
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.environment},
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not self._is_ready():
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{self.name} did not start:\n{self.log.read_text(errors='replace')[-3000:]}")
                time.sleep(0.05)
        except BaseException:
            _end(self.process)
            raise
        return self

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError), _opener.open(self.url + self.ready, timeout=5) as answer:
            return answer.status == 200
        return False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _end(self.process)

    def json(self, path: str) -> Any:
        """What GET of a path answers; None where there is no such path."""
        with contextlib.suppress(OSError), _opener.open(self.url + path, timeout=10) as answer:
            return json.load(answer)
        return None


class FarfuncServer(Server):
    """``farfunc serve`` on a free port, with an empty data folder."""

    def __init__(self, name: str, python: Path, folder: Path, threads: int, options: list[str]) -> None:
        command = [python.with_name("farfunc"), "serve", "--port", "0", "--data-dir", folder / f"{name}-data"]
        # A cache of compiled programs from an earlier run would hide what compiling takes.
        environment = {"TORCHINDUCTOR_CACHE_DIR": str(folder / f"{name}-inductor"), "FARFUNC_LOG_LEVEL": "warning"}
        super().__init__(name, [*command, "--threads", threads, *options], "", "/readyz", folder, environment)

    def _is_ready(self) -> bool:
        found = _LISTENING.search(self.log.read_text(errors="replace"))
        if found:
            self.url = found[1]
        return bool(found) and super()._is_ready()

    def stages(self, functions: list[str]) -> list[str] | None:
        """The stage of each plan of some functions, with why it goes no further; None where plans are not told."""
        told = self.json("/v1/plans")
        if told is None:
            return None
        found = []
        for plan in told["plans"]:
            if plan["function"] in functions:
                found.append(_stage(plan))
        return found

    def processes(self) -> dict[str, int]:
        """The web process and each device's worker, by name."""
        devices = (self.json("/v1/devices") or {"devices": []})["devices"]
        return {"web": self.process.pid, **{f"worker {each['name']}": each["pid"] for each in devices}}


def _stage(plan: Mapping[str, Any]) -> str:
    if plan["stage"] == "compiled":
        return "compiled"
    compilation = plan.get("compilation") or {}
    note = compilation.get("reason") or (plan["stages"].get("compiled") or {}).get("note")
    if compilation.get("state") == "failed" or note:
        return f"{plan['stage']}, for good: {note or 'compiling failed'}"
    return f"{plan['stage']}, being compiled" if compilation.get("state") in ("waiting", "compiling") else plan["stage"]


@contextlib.contextmanager
def peer_servers(
    python: Path, folder: Path, case: str, threads: int, umbridge: bool
) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Tesseract's and UM-Bridge's servers of one case: their addresses, and what did not start and why."""
    files = folder / f"tesseract-{case}"
    files.mkdir(exist_ok=True)
    port, other = free_port(), free_port()
    environment = {
        "TESSERACT_API_PATH": str(HERE / "peers" / "tesseract_api.py"),
        "TESSERACT_OUTPUT_PATH": str(files),
        "FARFUNC_BENCHMARK_CASE": case,
        "FARFUNC_BENCHMARK_THREADS": str(threads),
        "OMP_NUM_THREADS": str(threads),
    }
    runtime = python.with_name("tesseract-runtime")
    servers = [
        Server(
            "tesseract",
            [runtime, "serve", "--host", "127.0.0.1", "--port", port],
            f"http://127.0.0.1:{port}",
            "/health",
            folder,
            environment,
        )
    ]
    if umbridge:
        command = [python, HERE / "peers" / "umbridge_server.py", case, other, threads]
        servers.append(Server("umbridge", command, f"http://127.0.0.1:{other}", "/Info", folder, environment))
    addresses, failures = {"tesseract_files": str(files)}, {}
    with contextlib.ExitStack() as stack:
        for server in servers:
            try:
                stack.enter_context(server)
                addresses[server.name] = server.url
            except RuntimeError as error:
                failures[server.name] = str(error)
        yield addresses, failures
