"""``farfunc tenants``, ``tokens`` and ``db`` beside a running server, and how a server starts with identities."""

import json
import os
import subprocess
import sys

import pytest

from farfunc_server.storage.upgrading import NEWEST
from support.http import open_client


def run(*words, folder, **environment):
    own = {name: value for name, value in os.environ.items() if not name.startswith("FARFUNC_")}
    return subprocess.run(
        [sys.executable, "-m", "farfunc_server", *words],
        env={**own, "FARFUNC_DATA_DIR": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def printed(*words, folder, **environment):
    done = run(*words, folder=folder, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("kind", ["folder", "pool"])
def test_tokens_beside_a_running_server(kind, request, start_server, tmp_path):
    environment = {}
    if kind == "pool":
        environment["FARFUNC_DATABASE"] = request.getfixturevalue("postgres").new_database()
        assert printed("db", "upgrade", folder=tmp_path, **environment) == f"none -> {NEWEST}"
    folder = tmp_path / "data"

    def do(*words):
        return printed(*words, folder=folder, **environment)

    first = do("tokens", "create", "--role", "admin")  # before there was a server
    with (
        start_server("--access", "tokens", "--spare", "no", **environment) as server,
        open_client(server.url) as client,
    ):

        def me(text):
            response = client.get("/v1/me", headers={"authorization": f"Bearer {text}"})
            return response.status_code, response.json()

        assert client.get("/v1/me").status_code == 401
        assert me(first)[1]["tenant"] == "default"
        do("tenants", "create", "robotics", "--weight", "2")
        text = do("tokens", "create", "--tenant", "robotics", "--role", "member", "--label", "ci", "--expires", "1h")
        status, found = me(text)
        assert (status, found["tenant_name"], found["role"]) == (200, "robotics", "member")
        rotated = do("tokens", "rotate", found["token"], "--tenant", "robotics")
        assert (me(text)[0], me(rotated)[0]) == (401, 200)
        assert do("tokens", "revoke", found["token"], "--tenant", "robotics") == f"revoked {found['token']}"
        assert me(rotated)[0] == 401  # at the moment at which the command has ended
        (row,) = json.loads(do("tokens", "list", "--tenant", "robotics", "--json"))
        assert (row["label"], row["revoked"] is not None) == ("ci", True)
        assert "robotics" in do("tenants", "list")
        do("tenants", "delete", "robotics")
        assert json.loads(do("tenants", "list", "--json"))[0]["name"] == "default"
        assert do("db", "version") == f"{NEWEST} of {NEWEST}"
        if kind == "folder":
            done = run("db", "downgrade", "0002", folder=folder)
            assert (done.returncode, "another server uses" in done.stderr) == (1, True)
        assert text not in server.output()


def test_the_schema_there_and_back(tmp_path):
    assert printed("db", "upgrade", folder=tmp_path) == f"none -> {NEWEST}"
    assert printed("db", "downgrade", "0001", folder=tmp_path) == f"{NEWEST} -> 0001"
    assert printed("db", "version", folder=tmp_path) == f"0001 of {NEWEST}"
    done = run("db", "downgrade", NEWEST, folder=tmp_path)
    assert f"farfunc db upgrade {NEWEST}" in done.stderr
    assert json.loads(printed("db", "upgrade", "--json", folder=tmp_path)) == {"before": "0001", "after": NEWEST}


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["nonsense"], 2, "there is no command 'nonsense'"),
        (["tokens", "create", "--role", "king"], 2, "invalid choice"),
        (["tokens", "create", "--role", "member", "--tenant", "none"], 1, "there is no tenant 'none'"),
        (["tokens", "create", "--role", "member", "--expires", "soon"], 2, "is no time such as"),
        (["tokens", "revoke", "nothing"], 1, "there is no token 'nothing'"),
        (["tenants", "create", "a b"], 1, "is no name of a tenant"),
        (["tenants", "delete", "default"], 1, "cannot be deleted"),
        (["db", "upgrade", "9999"], 1, "there is no version '9999'"),
        (["db", "version", "--database", "postgresql://x@127.0.0.1:1/x"], 1, "cannot be used"),
        (["serve", "--host", "0.0.0.0", "--port", "0"], 1, "open to everyone"),
        (["serve", "--oidc-issuer", "https://login.example"], 1, "without --oidc-audience"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(words, status, text, tmp_path):
    done = run(*words, folder=tmp_path)
    assert (done.returncode, text in done.stderr) == (status, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_for_a_network_starts_behind_tls(start_server):
    with start_server("--host", "0.0.0.0", "--behind-tls", "--spare", "no", FARFUNC_TOKEN="x") as server:
        assert "listening on http://0.0.0.0" in server.output()
