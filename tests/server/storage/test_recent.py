"""What was looked up a moment ago, and how long one may go by it."""

import subprocess
import sys

import pytest

from farfunc_server.access.principal import Role
from farfunc_server.storage import Storage
from farfunc_server.storage.recent import SECONDS, Recent


@pytest.fixture
def clock():
    return [100.0]


def learnt(recent, key="a", value=1):
    with recent.learning(key) as learn:
        learn(value)


def test_where_it_is_shared_an_answer_is_good_for_a_second(clock):
    recent = Recent(is_shared=True, clock=lambda: clock[0])
    learnt(recent)
    clock[0] += SECONDS
    assert recent.get("a") == 1
    clock[0] += 0.001
    assert recent.get("a") is None


def test_where_changes_can_be_told_it_is_good_until_there_is_one(clock):
    version = [1]
    looks = []
    recent = Recent(is_shared=False, changes=lambda: looks.append(1) or version[0], clock=lambda: clock[0])
    learnt(recent)
    for _ in range(100):
        clock[0] += 0.1
        assert recent.get("a") == 1
    assert len(looks) <= 11  # once a second
    version[0] = 2
    clock[0] += SECONDS + 0.001
    assert recent.get("a") is None


def test_what_was_looked_up_before_the_change_and_comes_after_it_is_not_kept(clock):
    version = [1]
    recent = Recent(is_shared=False, changes=lambda: version[0], clock=lambda: clock[0])
    assert recent.get("a") is None
    with recent.learning("a") as learn:
        version[0] = 2
        clock[0] += SECONDS + 0.001
        recent.get("b")
        learn("old")
    assert recent.get("a") is None


_REVOKE = """
import sys
from pathlib import Path
from farfunc_server.commands.beside import credentials_beside
from farfunc_server.settings import Settings
with credentials_beside(Settings(data_dir=Path(sys.argv[1]))) as credentials:
    credentials.tokens.revoke("default", sys.argv[2])
"""


def test_another_process_revokes_beside_a_server_on_sqlite(tmp_path):
    storage = Storage(tmp_path)
    credentials = storage.credentials
    token, text = credentials.tokens.create("default", Role.MEMBER)
    credentials.tokens.check(text)
    learnt(credentials.recent, b"key", "somebody")
    assert credentials.recent.get(b"key") == "somebody"
    subprocess.run([sys.executable, "-c", _REVOKE, str(tmp_path), token.id], check=True, timeout=60)
    assert credentials.recent.get(b"key") is None  # at the moment at which the command has ended
    assert credentials.tokens.check(text) is None
    storage.close()


def test_a_database_that_cannot_tell_is_one_that_has_changed(tmp_path):
    storage = Storage(tmp_path)
    assert storage.database.changes() == storage.database.changes()
    storage.database._watch.close()
    assert storage.database.changes() != storage.database.changes()
    storage.database._watch = None
    storage.close()


def test_on_a_pool_the_other_server_goes_by_it_no_more(open_pool):
    one, other = open_pool(), open_pool()
    token, text = one.credentials.tokens.create("default", Role.MEMBER)
    assert other.credentials.tokens.check(text) is not None
    learnt(other.credentials.recent, b"key", "somebody")
    assert other.credentials.recent.get(b"key") == "somebody"
    one.credentials.tokens.revoke("default", token.id)
    assert other.credentials.recent.get(b"key") is None
    one.close()
    other.close()
