"""Both kinds of storage."""

import pytest

from farfunc_server.storage import Storage
from farfunc_server.storage.database import Database, database_url
from farfunc_server.storage.upgrading import migrate


@pytest.fixture(params=["folder", "pool"])
def storage(request, tmp_path):
    """An empty storage: SQLite and a folder, or PostgreSQL and a bucket."""
    if request.param == "pool":
        storage = request.getfixturevalue("open_pool")()
    else:
        storage = Storage(tmp_path)
    yield storage
    storage.close()


@pytest.fixture
def open_pool(postgres, object_store, tmp_path, monkeypatch):
    """Opens a storage on one new database and bucket: each call as another server of the same pool."""
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    address, bucket = postgres.new_database(), object_store.new_bucket()
    database = Database(database_url(address, tmp_path))
    migrate(database)
    database.close()
    return lambda: Storage(tmp_path, address, bucket)
