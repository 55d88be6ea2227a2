"""A server on the GPU, and an engine in this process; both as exact as a server is that nobody told otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support import environments
from support.serving import RunningServer


@pytest.fixture(scope="session")
def gpu_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server whose one device is the GPU."""
    from support.gpu import DEVICE  # needs torch

    folder = tmp_path_factory.mktemp("gpu-server")
    with RunningServer(environments.full_python(), folder, "--devices", DEVICE, start_seconds=180.0) as running:
        yield running.url


@pytest.fixture(autouse=True)
def rounding() -> None:
    """As a worker sets it."""
    from farfunc_server.workers.handler import set_rounding  # needs torch

    set_rounding(tf32=False)
