"""The store: names and versions, and what a death at any moment leaves."""

import errno
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from farfunc_protocol.document import identity
from farfunc_protocol.errors import FunctionNotFound, InvalidRequest, ServerError, StorageFailed
from farfunc_server.store import Store, check_name


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    yield store
    store.close()


def test_content_is_stored_once(store, tmp_path):
    entry = store.add(b"a", "() -> ()")
    assert entry.id == identity(b"a")
    assert (entry.name, entry.version, entry.bytes) == (None, None, 1)
    assert store.add(b"a", "() -> ()") == entry
    assert store.read(entry.id) == b"a"
    assert os.listdir(tmp_path / "functions") == [entry.id.removeprefix("sha256:")]


def test_names_have_versions(store):
    first = store.add(b"a", "() -> ()", "arm")
    assert (first.name, first.version) == ("arm", 1)
    assert store.add(b"a", "() -> ()", "arm") == first
    assert store.add(b"b", "() -> ()", "arm").version == 2
    assert store.add(b"a", "() -> ()", "arm").version == 3  # going back is a new version
    assert store.find("arm").version == 3
    assert store.find("arm@2").id == identity(b"b")
    assert store.versions("arm") == [1, 2, 3]
    assert store.names(first.id) == ["arm@1", "arm@3"]


def test_pages(store):
    for name in ("b", "a", "c"):
        store.add(name.encode(), "", name)
        store.add(name.encode() * 2, "", name)
    everything = [(entry.name, entry.version) for entry in store.page(100)]
    assert everything == [("a", 1), ("a", 2), ("b", 1), ("b", 2), ("c", 1), ("c", 2)]
    assert [(e.name, e.version) for e in store.page(2, "a@2")] == [("b", 1), ("b", 2)]
    assert store.page(2, "c@2") == []
    for after in ("a", "a@x", "@1", "a@1' OR 1", "a@" + "9" * 5000):
        with pytest.raises(InvalidRequest):
            store.page(2, after)


def test_deleting(store, tmp_path):
    id = store.add(b"a", "() -> ()", "arm").id
    store.add(b"b", "() -> ()", "arm")
    store.add(b"a", "() -> ()", "leg")
    with pytest.raises(InvalidRequest, match="arm@1, leg@1"):
        store.delete(id)
    store.delete("arm@1")
    assert store.find("leg").id == id  # it has another name
    store.delete("leg")
    with pytest.raises(FunctionNotFound):
        store.find(id)
    store.delete("arm")
    assert os.listdir(tmp_path / "functions") == []
    assert store.add(b"c", "() -> ()", "arm").version == 3  # a version means one thing for ever
    nameless = store.add(b"d", "() -> ()").id
    store.delete(nameless)
    for reference in (nameless, "arm@1", "foot"):
        with pytest.raises(FunctionNotFound):
            store.delete(reference)


@pytest.mark.parametrize("name", ["", "1arm", "a b", "a/b", "../a", "a" * 129, "a\n", "ä", "-a"])
def test_names_that_are_none(name):
    with pytest.raises(InvalidRequest):
        check_name(name)


def test_signatures_are_kept_and_corrected(store):
    id = store.add(b"a", "(float64[3]) -> ?", "arm").id
    assert store.find("arm").signature == "(float64[3]) -> ?"
    store.set_signature(id, "(float64[3]) -> float64[3]")
    assert store.page(1)[0].signature == store.find(id).signature == "(float64[3]) -> float64[3]"


def test_a_folder_of_a_later_version_is_left_alone(tmp_path):
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / "farfunc.sqlite3") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    for _ in range(2):
        with pytest.raises(ServerError, match="later farfunc"):
            Store(tmp_path)


def test_one_server_at_a_time(store, tmp_path):
    with pytest.raises(ServerError, match="another server uses"):
        Store(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ServerError, match="--data-dir") as caught:
        Store(tmp_path / "file")
    assert "cannot be used" in caught.value.detail


def test_what_a_death_leaves_is_healed(tmp_path):
    store = Store(tmp_path)
    kept, gone = store.add(b"a", "() -> ()", "kept").id, store.add(b"b", "() -> ()", "gone").id
    store.close()
    files = tmp_path / "functions"
    (files / ("0" * 64)).write_bytes(b"a file without a row")
    (files / f".{'1' * 64}.partial").write_bytes(b"half a file")
    (files / gone.removeprefix("sha256:")).unlink()
    store = Store(tmp_path)
    assert os.listdir(files) == [kept.removeprefix("sha256:")]
    assert [entry.name for entry in store.page(10)] == ["kept"]
    store.close()


def test_a_damaged_file_is_noticed_and_can_be_replaced(store, tmp_path):
    id = store.add(b"a", "() -> ()").id
    (tmp_path / "functions" / id.removeprefix("sha256:")).write_bytes(b"z")
    with pytest.raises(ServerError, match="damaged"):
        store.read(id)
    store.add(b"a", "() -> ()")
    assert store.read(id) == b"a"


_WRITER = """
import sys
from pathlib import Path
from farfunc_server.store import Store
store = Store(Path(sys.argv[1]))
for number in range(10**9):
    content = f"{sys.argv[2]} {number}".encode() * 50
    entry = store.add(content, "", f"f{number % 3}")
    print(entry.id, entry.name, entry.version, flush=True)
    if number % 5 == 4:
        store.delete(f"{entry.name}@{entry.version}")
        print("deleted", entry.name, entry.version, flush=True)
"""


@pytest.mark.timeout(300)
def test_nothing_answered_for_is_lost_when_killed_at_any_moment(tmp_path):
    """Fifteen kills: every answer that was given before one holds after it, and no file is left over."""
    randomness = random.Random(0)
    answered: dict[tuple[str, int], str] = {}
    for turn in range(15):
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path), str(turn)], stdout=subprocess.PIPE, text=True
        ) as process:
            lines = [process.stdout.readline()]
            time.sleep(randomness.uniform(0, 0.08))
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.readlines()
        uncertain = None  # the step after the last answer may have happened
        for line in lines:
            if not line.endswith("\n"):
                continue
            what, name, version = line.split()
            if what == "deleted":
                answered.pop((name, int(version)))
                uncertain = None
            else:
                answered[name, int(version)] = what
                uncertain = (name, int(version))
        store = Store(tmp_path)
        try:
            if uncertain is not None:
                try:
                    store.find(f"{uncertain[0]}@{uncertain[1]}")
                except FunctionNotFound:
                    answered.pop(uncertain)
            for (name, version), id in answered.items():
                assert store.find(f"{name}@{version}").id == id
            known = {entry.id for entry in store.page(10**6)}
            for id in known:
                assert identity(store.read(id)) == id
            assert set(os.listdir(tmp_path / "functions")) == {id.removeprefix("sha256:") for id in known}
            extra = {(e.name, e.version) for e in store.page(10**6)} - set(answered)
            assert len(extra) <= 1
            for entry in store.page(10**6):
                answered[entry.name, entry.version] = entry.id
        finally:
            store.close()
    assert len(answered) > 15
    with sqlite3.connect(tmp_path / "farfunc.sqlite3") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def _full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_said_and_leaves_nothing(store, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _full_disk)
        with pytest.raises(StorageFailed, match="cannot write to its data folder: No space left on device"):
            store.add(b"a", "() -> ()", "arm")
    assert os.listdir(tmp_path / "functions") == []
    assert store.add(b"a", "() -> ()", "arm").version == 1


def test_a_database_that_takes_nothing_more_recovers(store):
    entry = store.add(b"a", "() -> ()", "arm")
    (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
    store._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageFailed, match="full"):
        store.add(b"b", "x" * 100_000, "arm")
    assert store.find("arm") == entry
    store._writer.execute("PRAGMA max_page_count = 1000000")
    assert store.add(b"b", "x" * 100_000, "arm").version == 2


def test_a_damaged_database_is_said(tmp_path):
    Store(tmp_path).close()
    for file in tmp_path.glob("farfunc.sqlite3*"):
        file.write_bytes(b"not a database" * 1000)
    with pytest.raises(ServerError, match=r"the database of the data folder .* cannot be used: file is not a database"):
        Store(tmp_path)


def test_a_function_that_was_deleted_meanwhile_is_not_found(store):
    id = store.add(b"a", "() -> ()", "arm").id
    store.delete("arm")
    with pytest.raises(FunctionNotFound):
        store.read(id)


def test_adding_tells_of_what_was_added(store, monkeypatch):
    find = store.find

    def find_later(reference):
        monkeypatch.setattr(store, "find", find)
        store.add(b"another", "", "arm")  # as another thread may, as soon as the lock is free
        return find(reference)

    monkeypatch.setattr(store, "find", find_later)
    assert store.add(b"a", "", "arm").id == identity(b"a")
