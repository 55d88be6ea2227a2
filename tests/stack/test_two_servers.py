"""Two servers on one PostgreSQL and one bucket, behind nginx with TLS: the suite that one server passes."""

import os
import re
import ssl
import subprocess
import sys

import httpx
import pytest

from farfunc_server.storage.database import Database, database_url
from farfunc_server.storage.upgrading import migrate
from support import environments
from support.paths import ROOT
from support.proxies import Nginx, nginx_program
from support.serving import RunningServer

_SUITE = ["test_server_http", "test_registered_functions", "test_clients", "test_reference_page", "test_randomness"]
_SUITE += ["test_symbolic_dimensions", "test_content_encoding"]


@pytest.fixture(scope="module")
def pool(postgres, object_store, tmp_path_factory):
    """The address of nginx, and what a client's environment needs."""
    program = nginx_program()
    if program is None:
        pytest.skip("nginx is not installed (Debian: nginx-light)")
    folder = tmp_path_factory.mktemp("pool")
    shared = {
        "FARFUNC_DATABASE": postgres.new_database(),
        "FARFUNC_OBJECT_STORE": object_store.new_bucket(),
        **object_store.environment,
    }
    python = environments.full_python()
    database = Database(database_url(shared["FARFUNC_DATABASE"], folder))
    migrate(database)
    database.close()
    options = ("--devices", "cpu", "--threads", "1")
    with (
        RunningServer(python, folder / "one", *options, environment=shared) as one,
        RunningServer(python, folder / "two", *options, environment=shared) as two,
        Nginx(program, folder, [server.url.partition("://")[2] for server in (one, two)]) as nginx,
    ):
        yield nginx, (one, two)


@pytest.mark.timeout(900)
def test_what_one_server_passes(pool):
    nginx, servers = pool
    files = [str(ROOT / "tests" / "e2e" / f"{name}.py") for name in _SUITE]
    environment = {**os.environ, "FARFUNC_TEST_URL": nginx.plain_url}
    chosen = ["-k", "not what_is_not_http"]  # nginx judges that itself
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen, *files],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    for server in servers:  # both have had their part
        metrics = httpx.get(f"{server.url}/metrics").text
        answered = sum(map(float, re.findall(r"^farfunc_http_requests_total\{.*\} ([\d.e+]+)$", metrics, re.MULTILINE)))
        assert answered > 100


def test_the_certificate_is_checked(pool):
    nginx, _ = pool
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{nginx.url}/healthz")
    context = ssl.create_default_context(cafile=str(nginx.certificate))
    assert httpx.get(f"{nginx.url}/healthz", verify=context).status_code == 200
