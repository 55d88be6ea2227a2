"""nginx, as ``deploy/`` sets it up, in front of servers of a test."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from support.paths import ROOT
from support.services import free_port, wait_until

__all__ = ["Nginx", "nginx_program"]


def nginx_program() -> str | None:
    """Where nginx is, or None."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


class Nginx:
    """``deploy/nginx/nginx.conf`` with other addresses, and a certificate of its own.

    Attributes
    ----------
    url:
        Where it listens, by TLS.
    plain_url:
        Where it listens without, for tests alone.
    certificate:
        What a client is to trust.
    """

    def __init__(self, program: str, folder: Path, upstreams: Sequence[str]) -> None:
        self._program = program
        self._folder = folder
        self._upstreams = upstreams
        self._port, self._plain_port = free_port(), free_port()
        self.url = f"https://localhost:{self._port}"
        self.plain_url = f"http://127.0.0.1:{self._plain_port}"
        self.certificate = folder / "tls.crt"

    def __enter__(self) -> Nginx:
        make_certificate(self._folder)
        text = (ROOT / "deploy" / "nginx" / "nginx.conf").read_text()
        servers = "\n".join(f"server {address} max_fails=1 fail_timeout=2s;" for address in self._upstreams)
        for pattern, replacement in (
            (r"server server:8017 [^;]*;", servers),
            (r"listen 8443 ssl;", f"listen 127.0.0.1:{self._port} ssl; listen 127.0.0.1:{self._plain_port};"),
            (r"/etc/farfunc/tls/", f"{self._folder}/"),
            (r"/tmp/nginx", f"{self._folder}/nginx"),
            (r"worker_processes auto;", "worker_processes 1; daemon off; user root;"),
        ):
            text, count = re.subn(pattern, replacement, text)
            assert count, pattern
        path = self._folder / "nginx.conf"
        path.write_text(text)
        log = self._folder / "nginx.log"
        with open(log, "wb") as output:
            self._process = subprocess.Popen(
                [self._program, "-c", str(path), "-e", str(self._folder / "start.log")],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_until(self._answers, self._process, log)
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

    def _answers(self) -> bool:
        done = subprocess.run(
            ["curl", "-s", "--cacert", str(self.certificate), f"{self.url}/healthz"], capture_output=True, check=False
        )
        return done.returncode == 0


def make_certificate(folder: Path) -> None:
    """Make ``tls.key`` and ``tls.crt`` for localhost."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")),
        ],
        check=True,
        capture_output=True,
    )
