"""The runbook's own commands back a server up and restore it, while it runs, with SQLite and with PostgreSQL."""

import os
import shutil
import subprocess
import sys

import pytest

from farfunc_protocol.graph import Equation, Graph
from farfunc_server.storage.database import Database, database_url
from farfunc_server.storage.upgrading import migrate
from support import documents
from support.graphs import f64, wrapped
from support.http import open_client, register
from support.paths import ROOT

_RUNBOOK = ROOT / "docs" / "runbook.md"
_SIN, _COS = (wrapped(Graph((f64(2),), (), (Equation(op, (0,), {}, (1,)),), (1,))) for op in ("sin", "cos"))


def run(what, **variables):
    [block] = [block for block in documents.blocks(_RUNBOOK) if (block.kind, block.rest) == ("bash", what)]
    python = os.path.dirname(sys.executable)
    environment = {**os.environ, "PATH": f"{python}:{os.environ['PATH']}", **variables}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.body],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def check(server, identity):
    """It has what it had when it was backed up, and no more."""
    with open_client(server.url) as client:
        assert client.get("/v1/functions/sine").json()["id"] == identity
        assert client.get("/v1/functions/cosine").status_code == 404
        answer = client.post("/v1/functions/sine/jacfwd", json={"args": [[0.0, 0.0]]})
        assert answer.json()["result"]["data"] == [[1.0, 0.0], [0.0, 1.0]]


def test_sqlite_and_a_folder(start_server, tmp_path):
    backup = str(tmp_path / "backup")
    with start_server(folder=tmp_path / "old") as server, open_client(server.url) as client:
        identity = register(client, _SIN, "sine")
        run("backup folder", DATA=str(server.data_dir), BACKUP=backup)
        register(client, _COS, "cosine")
    restored = tmp_path / "new"
    run("restore folder", DATA=str(restored / "data"), BACKUP=backup)
    with start_server(folder=restored) as server:
        check(server, identity)


def test_postgresql_and_a_bucket(start_server, tmp_path, postgres, object_store):
    if shutil.which("pg_dump") is None:
        pytest.skip("pg_dump is not installed (Debian: postgresql-client)")
    backup = str(tmp_path / "backup")

    def pool():
        return {
            "FARFUNC_DATABASE": postgres.new_database(),
            "FARFUNC_OBJECT_STORE": object_store.new_bucket(),
            **object_store.environment,
        }

    def named(settings):
        return {
            "DATABASE": settings["FARFUNC_DATABASE"],
            "OBJECTS": settings["FARFUNC_OBJECT_STORE"],
            "BACKUP": backup,
            **object_store.environment,
        }

    old = pool()
    database = Database(database_url(old["FARFUNC_DATABASE"], tmp_path))
    migrate(database)
    database.close()
    with start_server(folder=tmp_path / "old", **old) as server, open_client(server.url) as client:
        identity = register(client, _SIN, "sine")
        run("backup pool", **named(old))
        register(client, _COS, "cosine")
        run("backup pool", **{**named(old), "BACKUP": str(tmp_path / "later")})
    new = pool()
    run("restore pool", **named(new))
    with start_server(folder=tmp_path / "new", **new) as server:
        check(server, identity)
