"""Fixtures of all tests. They are foldered by the layer they test and marked by what they need.

A test file marked ``pytestmark = pytest.mark.thin`` needs the client alone. It runs with all others, and a
second time in the environment without torch (``tests/e2e/test_thin_environment.py``), where no
other file is collected.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support import environments
from support.serving import RunningServer

if TYPE_CHECKING:
    from support.services import ObjectStore, Postgres

with contextlib.suppress(ImportError):  # the thin environment has none
    import hypothesis

    # Time is not what these tests are about, and a machine under load is slow.
    hypothesis.settings.register_profile("farfunc", deadline=None)
    hypothesis.settings.load_profile("farfunc")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    if environments.in_thin_environment() and collection_path.name.startswith("test_"):
        return not environments.is_marked_thin(collection_path)
    return None


@pytest.fixture(scope="session")
def thin_python() -> Path:
    """The interpreter of an environment that has the client and no torch."""
    return environments.thin_python()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for the whole session; tests that stop or kill one use :func:`start_server`."""
    with RunningServer(environments.full_python(), tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def server_url(request: pytest.FixtureRequest) -> str:
    """The address of the session's server, or of the one that ``FARFUNC_TEST_URL`` names."""
    return os.environ.get("FARFUNC_TEST_URL") or request.getfixturevalue("server").url


@pytest.fixture
def start_server(tmp_path: Path) -> Callable[..., RunningServer]:
    """``with start_server("--option", folder=...) as server:`` a server of the test's own."""

    def start(*options: str, folder: Path = tmp_path, **settings: str) -> RunningServer:
        return RunningServer(environments.full_python(), folder, *options, environment=settings)

    return start


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server for the whole session; each test makes a database of its own."""
    from support.services import Postgres, postgres_folder

    programs = postgres_folder()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    with Postgres(programs) as running:
        yield running


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """One server that speaks S3 for the whole session; each test makes a bucket of its own."""
    from support.services import ObjectStore

    with ObjectStore(tmp_path_factory.mktemp("object-store")) as running:
        yield running
