"""From every earlier schema to the newest, and back, with data."""

import os
import sqlite3

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from farfunc_protocol.document import identity
from farfunc_protocol.errors import ServerError
from farfunc_server.storage import Storage
from farfunc_server.storage.database import Database, database_url
from farfunc_server.storage.schema import metadata
from farfunc_server.storage.upgrading import NEWEST, migrate, version_of, versions

# As the first release wrote it; not to be changed.
_FIRST = """
CREATE TABLE functions (
    id TEXT PRIMARY KEY, signature TEXT NOT NULL, bytes INTEGER NOT NULL, created REAL NOT NULL
) STRICT;
CREATE TABLE names (
    name TEXT NOT NULL, version INTEGER NOT NULL, id TEXT NOT NULL REFERENCES functions (id), created REAL NOT NULL,
    PRIMARY KEY (name, version)
) STRICT;
CREATE INDEX names_by_id ON names (id);
CREATE TABLE counters (name TEXT PRIMARY KEY, last_version INTEGER NOT NULL) STRICT;
PRAGMA user_version = 1;
"""

_ARM, _LEG = identity(b"arm"), identity(b"leg")


@pytest.fixture
def first_folder(tmp_path):
    """A data folder of the first release, with two functions and three names."""
    database = sqlite3.connect(tmp_path / "farfunc.sqlite3")
    database.executescript("PRAGMA journal_mode = WAL;" + _FIRST)
    rows = [(_ARM, "(float64[3]) -> ?", 3, 1.5), (_LEG, "() -> ()", 3, 2.5)]
    database.executemany("INSERT INTO functions VALUES (?, ?, ?, ?)", rows)
    named = [("arm", 1, _ARM, 1.5), ("arm", 3, _LEG, 2.5), ("leg", 1, _LEG, 3.5)]
    database.executemany("INSERT INTO names VALUES (?, ?, ?, ?)", named)
    database.executemany("INSERT INTO counters VALUES (?, ?)", [("arm", 4), ("leg", 1), ("gone", 7)])
    database.commit()
    database.close()
    (tmp_path / "functions").mkdir()
    for content in (b"arm", b"leg"):
        (tmp_path / "functions" / identity(content).removeprefix("sha256:")).write_bytes(content)
    return tmp_path


def _rows(folder, query):
    database = sqlite3.connect(folder / "farfunc.sqlite3")
    try:
        return sorted(database.execute(query))
    finally:
        database.close()


def test_a_folder_of_the_first_release_is_brought_up_to_date(first_folder):
    for _ in range(2):  # and opening it again changes nothing
        storage = Storage(first_folder)
        functions = storage.functions
        found = [(e.name, e.version, e.id, e.signature, e.bytes, e.created) for e in functions.page("default", 9)]
        assert found == [
            ("arm", 1, _ARM, "(float64[3]) -> ?", 3, 1.5),
            ("arm", 3, _LEG, "() -> ()", 3, 2.5),
            ("leg", 1, _LEG, "() -> ()", 3, 3.5),
        ]
        assert functions.read(_ARM) == b"arm"
        assert version_of(storage.database) == NEWEST
        storage.close()
    storage = Storage(first_folder)
    assert storage.functions.add("default", b"x", "", "gone").version == 8
    storage.close()


def test_there_and_back_again(first_folder):
    tables = ("functions", "names", "counters")
    before = {table: _rows(first_folder, f"SELECT * FROM {table}") for table in tables}
    database = Database(database_url(None, first_folder))
    assert migrate(database) == ("0001", NEWEST)
    assert migrate(database, "0001") == (NEWEST, "0001")
    database.close()
    assert {table: _rows(first_folder, f"SELECT * FROM {table}") for table in tables} == before
    assert _rows(first_folder, "PRAGMA user_version") == [(1,)]
    assert sorted(os.listdir(first_folder / "functions")) == sorted(id.removeprefix("sha256:") for id in (_ARM, _LEG))
    storage = Storage(first_folder)
    assert storage.functions.find("default", "arm").id == _LEG
    storage.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    address = request.getfixturevalue("postgres").new_database() if request.param == "postgresql" else None
    database = Database(database_url(address, tmp_path))
    yield database
    database.close()


def test_each_version_forward_and_back(database):
    assert version_of(database) is None
    for version in versions():
        assert migrate(database, version)[1] == version
    for version in ["base", *versions()[:-1]][::-1]:
        migrate(database, version)
        assert version_of(database) == (None if version == "base" else version)
    assert migrate(database) == (None, NEWEST)


def test_the_migrations_make_the_schema_that_the_code_has(database):
    migrate(database)
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_what_goes_wrong_in_the_middle_leaves_the_version_before(database):
    migrate(database, "0001")
    with database.write() as connection:
        connection.execute(sa.text("INSERT INTO functions VALUES ('sha256:0', 's', 1, 1.0)"))
        connection.execute(sa.text("CREATE TABLE tenants (id INTEGER)"))  # in the way
    with pytest.raises((sa.exc.SQLAlchemyError, ServerError)):
        migrate(database, "0002")
    assert version_of(database) == "0001"
    with database.read() as connection:
        assert connection.execute(sa.text("SELECT * FROM functions")).all() == [("sha256:0", "s", 1, 1.0)]


def test_a_version_that_there_is_not(database):
    with pytest.raises(ServerError, match="there is no version '7777'"):
        migrate(database, "7777")


def test_a_later_version_is_left_alone(database):
    migrate(database)
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '7777'"))
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA user_version = 7777")
    with pytest.raises(ServerError, match="later farfunc"):
        migrate(database)


def test_back_to_one_user_keeps_every_function_and_the_names_of_the_default_tenant(tmp_path):
    storage = Storage(tmp_path)
    with storage.database.write() as connection:
        connection.execute(sa.text("INSERT INTO tenants (id, name, created) VALUES ('b', 'b', 0.0)"))
    storage.functions.add("default", b"arm", "", "arm")
    storage.functions.add("b", b"leg", "", "arm")
    migrate(storage.database, "0001")
    storage.close()
    assert _rows(tmp_path, "SELECT id FROM functions") == sorted([(_ARM,), (_LEG,)])
    assert _rows(tmp_path, "SELECT name, version, id FROM names") == [("arm", 1, _ARM)]
