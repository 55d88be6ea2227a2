"""The private server: started on demand, once, for us alone; and gone with us, however we go."""

import contextlib
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

_ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("FARFUNC_")},
    "FARFUNC_SPARE": "false",  # a second worker process would only take time here
}

_START = """
import sys, os, threading, signal
import numpy as np
import farfunc
from farfunc import _local_server

def call(client=farfunc):
    np.testing.assert_allclose(client.jacfwd(np.sin)(np.zeros(2)), np.eye(2))

def announce():
    server = _local_server._server
    print("server", server._process.pid, server._folder, flush=True)
"""


def start(script, **options):
    """A Python process that runs ``script`` after the definitions above."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _START + script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **{"env": _ENVIRONMENT, **options},
    )


def finish(process, written=None):
    """Its status, the rest of its output and its error output."""
    output, errors = process.communicate(written, timeout=150)
    return process.returncode, output, errors


class Watched:
    """A server with its workers, watched until they have ended."""

    def __init__(self, announcement):
        word, pid, folder = announcement.split()
        assert word == "server"
        self.pid, self.folder = int(pid), Path(folder)
        self._handles = []
        for process in [self.pid, *_children(self.pid)]:
            with contextlib.suppress(ProcessLookupError):
                self._handles.append(os.pidfd_open(process))

    def has_ended(self, seconds=60):
        """Wait until every process has ended."""
        try:
            return all(select.select([handle], [], [], seconds)[0] for handle in self._handles)
        finally:
            for handle in self._handles:
                os.close(handle)


def _children(pid):
    """The processes that a process, or a thread of it, has started."""
    found = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, file.read_text().split())
    return found


def test_threads_and_forked_processes_share_one_that_is_for_us_alone(tmp_path):
    (tmp_path / "queue.py").write_text("raise SystemExit('a file of the user was imported')")
    process = start(
        """
threads = [threading.Thread(target=call) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
url = farfunc.current_client().url
assert farfunc.Client().url == url
with farfunc.Client() as client:
    call(client)

child = os.fork()
if child == 0:
    status = 1
    try:
        call()
        assert farfunc.current_client().url == url
        status = 0
    finally:
        os._exit(status)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
call()

try:
    farfunc.Client(url, token="").functions()
except farfunc.Unauthorized:
    announce()
input()
""",
        cwd=tmp_path,
        stdin=subprocess.PIPE,
    )
    announced = process.stdout.readline()
    try:
        assert announced, process.stderr.read()
        assert len(_children(process.pid)) == 1
        watched = Watched(announced)
        assert watched.folder.is_dir()
        status, _, errors = finish(process, "\n")
        assert (status, errors) == (0, "")
        assert watched.has_ended()
        assert not watched.folder.exists()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("ending", "status", "errors"),
    [
        ("raise ValueError('mine')", 1, "ValueError: mine"),
        ("sys.exit(3)", 3, ""),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, ""),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, ""),
        ("os._exit(4)", 4, ""),
    ],
)
def test_it_ends_with_us(ending, status, errors):
    process = start(f"farfunc.current_client()\nannounce()\n{ending}")
    watched = Watched(process.stdout.readline())
    found, _, said = finish(process)
    assert found == status
    assert errors in said
    if not errors:
        assert said == ""
    assert watched.has_ended()
    assert not watched.folder.exists()


def test_one_that_died_is_replaced():
    process = start(
        """
call()
announce()
first = _local_server._server
os.kill(first._process.pid, signal.SIGKILL)
os.waitid(os.P_PID, first._process.pid, os.WEXITED | os.WNOWAIT)
call()
assert _local_server._server is not first
announce()
"""
    )
    watched = [Watched(process.stdout.readline()) for _ in range(2)]
    status, _, errors = finish(process)
    assert (status, errors) == (0, "")
    for server in watched:
        assert server.has_ended()
        assert not server.folder.exists()


def test_one_that_does_not_start_says_why():
    process = start("farfunc.current_client()", env={**_ENVIRONMENT, "FARFUNC_DEVICES": "abacus"})
    status, _, errors = finish(process)
    assert status == 1
    assert "FARFUNC_DEVICES must be a list such as cpu" in errors
    assert "remedy: run `farfunc serve` in a terminal" in errors


def test_without_the_server_extra_there_is_none(thin_python):
    script = "import numpy as np, farfunc; farfunc.jacfwd(np.sin)(np.zeros(2))"
    ran = subprocess.run([thin_python, "-c", script], capture_output=True, text=True, env=_ENVIRONMENT, timeout=60)
    assert ran.returncode == 1
    assert "ConnectionFailed: there is no farfunc server to compute on" in ran.stderr
    assert "pip install 'farfunc[server]'" in ran.stderr
