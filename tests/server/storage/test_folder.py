"""A data folder: what a death at any moment leaves, a full disk, damage, and who may use it."""

import errno
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from farfunc_protocol.document import identity
from farfunc_protocol.errors import FunctionNotFound, ServerError, StorageFailed
from farfunc_server.storage import Storage

A = "default"


@pytest.fixture
def storage(tmp_path):
    storage = Storage(tmp_path)
    yield storage
    storage.close()


def test_a_folder_of_a_later_version_is_left_alone(tmp_path):
    Storage(tmp_path).close()
    with sqlite3.connect(tmp_path / "farfunc.sqlite3") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    for _ in range(2):
        with pytest.raises(ServerError, match="later farfunc"):
            Storage(tmp_path)


def test_one_server_at_a_time(storage, tmp_path):
    with pytest.raises(ServerError, match="another server uses"):
        Storage(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ServerError, match="--data-dir") as caught:
        Storage(tmp_path / "file")
    assert "cannot be used" in caught.value.detail


def test_what_a_death_leaves_is_healed(tmp_path):
    storage = Storage(tmp_path)
    kept, gone = (storage.functions.add(A, name.encode(), "() -> ()", name).id for name in ("kept", "gone"))
    storage.close()
    files = tmp_path / "functions"
    (files / ("0" * 64)).write_bytes(b"a file without a row")
    (files / f".{'1' * 64}.partial").write_bytes(b"half a file")
    (files / gone.removeprefix("sha256:")).unlink()
    storage = Storage(tmp_path)
    assert os.listdir(files) == [kept.removeprefix("sha256:")]
    assert [entry.name for entry in storage.functions.page(A, 10)] == ["kept"]
    storage.close()


_WRITER = """
import sys
from pathlib import Path
from farfunc_server.storage import Storage
store = Storage(Path(sys.argv[1])).functions
for number in range(10**9):
    content = f"{sys.argv[2]} {number}".encode() * 50
    entry = store.add("default", content, "", f"f{number % 3}")
    print(entry.id, entry.name, entry.version, flush=True)
    if number % 5 == 4:
        store.delete("default", f"{entry.name}@{entry.version}")
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
        storage = Storage(tmp_path)
        store = storage.functions
        try:
            if uncertain is not None:
                try:
                    store.find(A, f"{uncertain[0]}@{uncertain[1]}")
                except FunctionNotFound:
                    answered.pop(uncertain)
            for (name, version), id in answered.items():
                assert store.find(A, f"{name}@{version}").id == id
            known = {entry.id for entry in store.page(A, 10**6)}
            for id in known:
                assert identity(store.read(id)) == id
            assert set(os.listdir(tmp_path / "functions")) == {id.removeprefix("sha256:") for id in known}
            extra = {(e.name, e.version) for e in store.page(A, 10**6)} - set(answered)
            assert len(extra) <= 1
            for entry in store.page(A, 10**6):
                answered[entry.name, entry.version] = entry.id
        finally:
            storage.close()
    assert len(answered) > 15
    with sqlite3.connect(tmp_path / "farfunc.sqlite3") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def _full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_said_and_leaves_nothing(storage, tmp_path, monkeypatch):
    store = storage.functions
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _full_disk)
        with pytest.raises(StorageFailed, match="cannot write to its data folder: No space left on device"):
            store.add(A, b"a", "() -> ()", "arm")
    assert os.listdir(tmp_path / "functions") == []
    assert store.add(A, b"a", "() -> ()", "arm").version == 1


def test_a_database_that_takes_nothing_more_recovers(storage):
    store = storage.functions
    entry = store.add(A, b"a", "() -> ()", "arm")

    def limit(pages):  # of each connection
        def set_limit(connection, *_):
            connection.execute(f"PRAGMA max_page_count = {pages}")

        storage.database.close()
        sa.event.listen(storage.database.engine, "connect", set_limit)

    with storage.database.read() as connection:
        limit(connection.exec_driver_sql("PRAGMA page_count").scalar_one())
    with pytest.raises(StorageFailed, match="full"):
        store.add(A, b"b", "x" * 100_000, "arm")
    assert store.find(A, "arm") == entry
    limit(1_000_000)
    assert store.add(A, b"b", "x" * 100_000, "arm").version == 2


def test_equal_contents_at_the_same_time(storage):
    with ThreadPoolExecutor(8) as threads:
        entries = list(threads.map(lambda _: storage.functions.add(A, b"same", "", "same"), range(40)))
    assert len(set(entries)) == 1
    assert storage.functions.read(entries[0].id) == b"same"
    assert len(list(storage.objects.keys("functions"))) == 1


def test_a_damaged_database_is_said(tmp_path):
    Storage(tmp_path).close()
    for file in tmp_path.glob("farfunc.sqlite3*"):
        file.write_bytes(b"not a database" * 1000)
    with pytest.raises(ServerError, match=r"the database of the data folder .* cannot be used: file is not a database"):
        Storage(tmp_path)
