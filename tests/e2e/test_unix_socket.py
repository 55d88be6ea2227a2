"""A server on a Unix domain socket."""

import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import pytest

from farfunc_protocol.graph import Equation, Graph
from farfunc_protocol.transforms import FlatTransform
from support.graphs import array, f64, wrapped
from support.http import BINARY, evaluation, register, results

SIN = wrapped(Graph((f64(2),), (), (Equation("sin", (0,), {}, (1,)),), (1,)))


@pytest.fixture
def place():
    """A folder whose name is short: a socket's path has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="ff") as folder:
        yield Path(folder) / "s.sock"


def open_client(place, **headers):
    transport = httpx.HTTPTransport(uds=str(place))
    return httpx.Client(transport=transport, base_url="http://farfunc", timeout=60.0, headers=headers)


def refused(place, folder):
    command = [sys.executable, "-m", "farfunc_server", "--uds", str(place), "--data-dir", str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
    return ran.stderr


def test_it_evaluates_as_over_tcp_and_leaves_nothing_behind(place, tmp_path, start_server):
    with start_server("--uds", str(place), FARFUNC_TOKEN="open") as server:
        assert server.url == f"unix://{place}"
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        with open_client(place) as client:
            assert client.get("/v1/devices").status_code == 401
        with open_client(place, authorization="Bearer open") as client:
            body = evaluation(register(client, SIN), [array([0.0, 1.0])], FlatTransform("jacfwd", {"argnums": (0,)}))
            for _ in range(3):
                [jacobian] = results(client.post("/v1/evaluate", content=body, headers=BINARY))
            assert jacobian.to_numpy()[0, 0] == 1.0
        # One that lives is not driven out; nor does the one that is refused remove its file.
        assert f"cannot listen on {place}: another server listens there" in refused(place, tmp_path / "other")
        assert place.exists()
    assert not place.exists()


def test_what_a_dead_server_has_left_is_replaced(place, start_server):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place))
    with start_server(FARFUNC_UDS=str(place)), open_client(place) as client:
        assert client.get("/healthz").status_code == 200


def test_what_is_no_socket_is_left_alone(place, tmp_path):
    place.write_text("mine")
    assert "there is a file that is no socket" in refused(place, tmp_path)
    assert place.read_text() == "mine"


@pytest.mark.parametrize("path", ["/nowhere/s.sock", "/tmp/" + "long" * 40])
def test_where_no_socket_can_be(path, tmp_path):
    assert f"farfunc: cannot listen on {path}: " in refused(path, tmp_path)
