"""Several servers on one PostgreSQL and one bucket."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from farfunc_protocol.document import identity
from farfunc_protocol.errors import FunctionNotFound, ServerError, StorageFailed
from farfunc_server.storage import Storage
from farfunc_server.storage.schema import blobs, tenants

A, B = "default", "b"


@pytest.fixture
def two(open_pool):
    one, other = open_pool(), open_pool()
    with one.database.write() as connection:
        connection.execute(tenants.insert().values(id=B, name="b", created=0.0))
    yield one, other
    one.close()
    other.close()


def test_what_one_adds_the_other_has(two):
    one, other = (storage.functions for storage in two)
    entry = one.add(A, b"a", "() -> ()", "arm")
    assert other.find(A, "arm") == entry
    assert other.read(entry.id) == b"a"
    assert other.add(A, b"b", "", "arm").version == 2
    assert one.find(A, "arm").version == 2


def test_what_one_has_deleted_the_other_goes_by_no_more(two):
    one, other = (storage.functions for storage in two)
    id = one.add(A, b"a", "() -> ()").id
    assert other.resolve(A, id) == id
    assert other.known(A, id)  # it need not look again for a moment
    one.delete(A, id)
    with pytest.raises(FunctionNotFound):
        other.resolve(A, id)


def test_tenants_share_contents_and_nothing_else(two):
    functions = two[0].functions
    entry = functions.add(A, b"same", "", "arm")
    with pytest.raises(FunctionNotFound):
        functions.find(B, entry.id)
    with pytest.raises(FunctionNotFound):
        functions.find(B, "arm")
    functions.add(B, b"same", "", "leg")
    assert len(list(two[0].objects.keys("functions"))) == 1
    assert functions.names(B, entry.id) == ["leg@1"]
    assert [found.name for found in functions.page(B, 10)] == ["leg"]
    functions.delete(A, "arm")
    assert functions.read(functions.find(B, "leg").id) == b"same"


def test_a_content_is_written_whether_or_not_another_has_it(two, monkeypatch):
    storage, written = two[0], []
    write = storage.objects.write
    monkeypatch.setattr(storage.objects, "write", lambda key, content: (written.append(key), write(key, content)))
    storage.functions.add(A, b"same", "")
    storage.functions.add(B, b"same", "")
    assert len(written) == 2  # or the time that it takes would tell


def test_what_is_collected_while_another_adds_it_is_not_lost(two, monkeypatch):
    """The worst moment: the blob is taken out between the content's arrival and the row that refers to it."""
    one, other = two
    write, moments = one.objects.write, []

    def write_and_lose(key, content):
        write(key, content)
        if not moments:
            moments.append(key)
            with other.database.write() as connection:
                connection.execute(blobs.update().values(used=0.0))
            assert other.functions.collect() == 1

    monkeypatch.setattr(one.objects, "write", write_and_lose)
    entry = one.functions.add(A, b"a", "", "arm")
    assert other.functions.read(entry.id) == b"a"
    ((key, _),) = one.objects.keys("functions")
    assert key != moments[0]  # the other may remove what lay there at any time


def test_versions_are_counted_once(two):
    start = threading.Barrier(16)

    def add(number):
        start.wait()
        return two[number % 2].functions.add(A, f"{number}".encode(), "", "arm").version

    with ThreadPoolExecutor(16) as threads:
        versions = sorted(threads.map(add, range(16)))
    assert versions == list(range(1, 17))
    assert two[0].functions.versions(A, "arm") == versions


def test_equal_contents_at_the_same_time(two):
    with ThreadPoolExecutor(16) as threads:
        entries = set(threads.map(lambda n: two[n % 2].functions.add(A, b"same", "", "same"), range(48)))
    assert {(entry.id, entry.version) for entry in entries} == {(identity(b"same"), 1)}


def test_what_is_abandoned_is_collected_in_time(two):
    one, other = two
    with one.database.write() as connection:
        connection.execute(blobs.insert().values(digest="sha256:0", key="functions/0.x", bytes=1, used=0.0))
    one.objects.write("functions/0.x", b"z")
    one.objects.write("functions/1.y", b"z")  # without a row: its age is that of the object
    other.functions.heal()
    assert [key for key, _ in one.objects.keys("functions")] == ["functions/1.y"]


def test_a_database_of_no_version_is_refused(postgres, tmp_path):
    with pytest.raises(ServerError, match="farfunc db upgrade"):
        Storage(tmp_path, postgres.new_database())


def test_a_database_that_is_not_there(tmp_path):
    with pytest.raises(ServerError, match="cannot be used"):
        Storage(tmp_path, "postgresql://farfunc:secret@127.0.0.1:1/farfunc")


def test_a_bucket_that_is_not_there_loses_nothing_in_silence(open_pool, postgres, tmp_path):
    one = open_pool()
    one.objects._store = type(one.objects._store).from_url("s3://no-such-bucket", client_options={"allow_http": True})
    with pytest.raises(StorageFailed):
        one.functions.add(A, b"a", "", "arm")
    with pytest.raises(FunctionNotFound):
        one.functions.find(A, "arm")
    one.close()


def test_a_lost_connection_is_made_anew(two):
    one, other = two
    one.functions.add(A, b"a", "", "arm")
    with other.database.read() as connection:
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        connection.execute(sa.text(ended + " AND datname = current_database()"))
    assert one.functions.find(A, "arm").version == 1
