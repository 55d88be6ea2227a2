"""Real services for tests: PostgreSQL from the system's package, and an object store that speaks S3.

Each runs in a folder and on a port of its own, and ends with the session. Where PostgreSQL is not installed the tests
that need it are skipped, and say so.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import sqlalchemy as sa

__all__ = ["ObjectStore", "Postgres", "free_port", "postgres_folder", "wait_until"]


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def postgres_folder() -> Path | None:
    """Where PostgreSQL's programs are, or None."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None)


class Postgres:
    """A PostgreSQL server with an empty cluster. It refuses root, and then runs as ``nobody``.

    Its folder is none of pytest's, which every run of pytest closes to others again.

    Attributes
    ----------
    port:
        Of 127.0.0.1, where the user ``farfunc`` needs no password.
    """

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._place = tempfile.TemporaryDirectory(prefix="farfunc-postgres-")
        self._folder = Path(self._place.name)
        self._data = self._folder / "data"
        self.port = free_port()
        self._number = 0

    def __enter__(self) -> Postgres:
        self._user: str | None = None
        if os.geteuid() == 0:
            self._user = "nobody"
            os.chown(self._folder, pwd.getpwnam(self._user).pw_uid, -1)
        self._run(
            [self._programs / "initdb", "-D", self._data, "-U", "farfunc", "-A", "trust", "-E", "UTF8", "--no-sync"]
        )
        options = ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-k", "", "-p", str(self.port)]
        with open(self._folder / "log", "wb") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                user=self._user,
                start_new_session=True,
            )
        try:
            wait_until(self._answers, self._process, self._folder / "log")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._place.cleanup()

    def new_database(self) -> str:
        """The address of a database that is empty."""
        self._number += 1
        name = f"test_{os.getpid()}_{self._number}"
        engine = sa.create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        engine.dispose()
        return f"postgresql://farfunc@127.0.0.1:{self.port}/{name}"

    def _url(self, name: str) -> str:
        return f"postgresql+psycopg://farfunc@127.0.0.1:{self.port}/{name}"

    def _answers(self) -> bool:
        engine = sa.create_engine(self._url("postgres"), connect_args={"connect_timeout": 2})
        try:
            with engine.connect():
                return True
        except sa.exc.OperationalError:
            return False
        finally:
            engine.dispose()

    def _run(self, command: list[str | Path]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, user=self._user, check=False, cwd="/")
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed:\n{done.stdout}\n{done.stderr}")


class ObjectStore:
    """moto's S3 server, with one bucket for each that asks.

    Attributes
    ----------
    environment:
        What its clients are told by their environment.
    """

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self._log = folder / "object-store.log"
        self._number = 0
        self.environment = {
            "AWS_ENDPOINT": f"http://127.0.0.1:{self._port}",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "farfunc",
            "AWS_SECRET_ACCESS_KEY": "farfunc",
        }

    def __enter__(self) -> ObjectStore:
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_until(self._answers, self._process, self._log)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def new_bucket(self) -> str:
        """The address of a bucket that is empty."""
        self._number += 1
        name = f"test-{self._number}"
        request = urllib.request.Request(f"{self.environment['AWS_ENDPOINT']}/{name}", method="PUT")
        with urllib.request.urlopen(request, timeout=10):
            pass
        return f"s3://{name}"

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.environment["AWS_ENDPOINT"], timeout=2):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False


def wait_until(
    is_ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, seconds: float = 60.0
) -> None:
    """Wait for what was started; raises with the end of its log if it ends or takes too long."""
    deadline = time.monotonic() + seconds
    while not is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"it does not answer; its log ends so:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)  # between two looks, bounded by the deadline
