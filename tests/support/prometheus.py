"""A real Prometheus, with the configuration of ``deploy/`` and other addresses."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from support.paths import ROOT
from support.services import free_port, wait_until

__all__ = ["Prometheus", "prometheus_program"]


def prometheus_program() -> str | None:
    """Where Prometheus is, or None."""
    return shutil.which("prometheus")


class Prometheus:
    """Scrapes servers as ``deploy/prometheus`` says, but each second, and by their addresses.

    Attributes
    ----------
    url:
        Where it answers.
    """

    def __init__(self, program: str, folder: Path, targets: Sequence[str], token: str) -> None:
        self._program, self._folder = program, folder
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "token").write_text(token)
        deployed = ROOT / "deploy" / "prometheus"
        shutil.copy(deployed / "alerts.yml", folder)
        configuration = yaml.safe_load((deployed / "prometheus.yml").read_text())
        configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        farfunc = configuration["scrape_configs"][0]
        assert farfunc.pop("dns_sd_configs")  # there is no name server here
        farfunc["static_configs"] = [{"targets": list(targets)}]
        farfunc["authorization"]["credentials_file"] = str(folder / "token")
        configuration["scrape_configs"] = [farfunc]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))

    def __enter__(self) -> Prometheus:
        log = self._folder / "prometheus.log"
        with open(log, "wb") as output:
            self._process = subprocess.Popen(
                [
                    self._program,
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_until(self._is_ready, self._process, log)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def get(self, path: str, **query: str) -> Any:
        """What its HTTP API tells."""
        words = urllib.parse.urlencode(query)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{words}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> dict[tuple[str, ...], float]:
        """The values of an expression now, by their labels' values but the server's."""
        return {
            tuple(
                value for name, value in sorted(found["metric"].items()) if name not in ("instance", "job", "__name__")
            ): (float(found["value"][1]))
            for found in self.get("query", query=expression)["result"]
        }

    def wait_for(self, expression: str, seconds: float = 60.0) -> dict[tuple[str, ...], float]:
        """Wait until an expression has a value that is not 0."""
        found: dict[tuple[str, ...], float] = {}

        def has_come() -> bool:
            nonlocal found
            found = self.query(expression)
            return any(found.values())

        wait_until(has_come, self._process, self._folder / "prometheus.log", seconds)
        return found

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False
