"""Functions and their names, in both kinds of storage: a folder, and PostgreSQL with an object store."""

import pytest

from farfunc_protocol.document import identity
from farfunc_protocol.errors import FunctionNotFound, InvalidRequest, ServerError
from farfunc_server.storage.functions import check_name
from farfunc_server.storage.schema import blobs

A = "default"


@pytest.fixture
def store(storage):
    return storage.functions


def _contents(storage):
    return [storage.objects.read(key) for key, _ in storage.objects.keys("functions")]


def test_content_is_stored_once(storage, store):
    entry = store.add(A, b"a", "() -> ()")
    assert entry.id == identity(b"a")
    assert (entry.name, entry.version, entry.bytes) == (None, None, 1)
    assert store.add(A, b"a", "() -> ()") == entry
    assert store.read(entry.id) == b"a"
    assert _contents(storage) == [b"a"]


def test_names_have_versions(store):
    first = store.add(A, b"a", "() -> ()", "arm")
    assert (first.name, first.version) == ("arm", 1)
    assert store.add(A, b"a", "() -> ()", "arm") == first
    assert store.add(A, b"b", "() -> ()", "arm").version == 2
    assert store.add(A, b"a", "() -> ()", "arm").version == 3  # going back is a new version
    assert store.find(A, "arm").version == 3
    assert store.find(A, "arm@2").id == identity(b"b")
    assert store.versions(A, "arm") == [1, 2, 3]
    assert store.names(A, first.id) == ["arm@1", "arm@3"]


def test_pages(store):
    for name in ("b", "a", "c"):
        store.add(A, name.encode(), "", name)
        store.add(A, name.encode() * 2, "", name)
    everything = [(entry.name, entry.version) for entry in store.page(A, 100)]
    assert everything == [("a", 1), ("a", 2), ("b", 1), ("b", 2), ("c", 1), ("c", 2)]
    assert [(e.name, e.version) for e in store.page(A, 2, "a@2")] == [("b", 1), ("b", 2)]
    assert store.page(A, 2, "c@2") == []
    for after in ("a", "a@x", "@1", "a@1' OR 1", "a@" + "9" * 5000):
        with pytest.raises(InvalidRequest):
            store.page(A, 2, after)


def test_deleting(storage, store):
    id = store.add(A, b"a", "() -> ()", "arm").id
    store.add(A, b"b", "() -> ()", "arm")
    store.add(A, b"a", "() -> ()", "leg")
    with pytest.raises(InvalidRequest, match="arm@1, leg@1"):
        store.delete(A, id)
    store.delete(A, "arm@1")
    assert store.find(A, "leg").id == id  # it has another name
    store.delete(A, "leg")
    with pytest.raises(FunctionNotFound):
        store.find(A, id)
    store.delete(A, "arm")
    if storage.database.is_shared:  # another server might be about to refer to it
        assert sorted(_contents(storage)) == [b"a", b"b"]
        with storage.database.write() as connection:
            connection.execute(blobs.update().values(used=blobs.c.used - 4000))
        store.collect()
    assert _contents(storage) == []
    assert store.add(A, b"c", "() -> ()", "arm").version == 3  # a version means one thing for ever
    nameless = store.add(A, b"d", "() -> ()").id
    store.delete(A, nameless)
    for reference in (nameless, "arm@1", "foot"):
        with pytest.raises(FunctionNotFound):
            store.delete(A, reference)


@pytest.mark.parametrize("name", ["", "1arm", "a b", "a/b", "../a", "a" * 129, "a\n", "ä", "-a"])
def test_names_that_are_none(name):
    with pytest.raises(InvalidRequest):
        check_name(name)


def test_signatures_are_kept_and_corrected(store):
    id = store.add(A, b"a", "(float64[3]) -> ?", "arm").id
    assert store.find(A, "arm").signature == "(float64[3]) -> ?"
    store.set_signature(id, "(float64[3]) -> float64[3]")
    assert store.page(A, 1)[0].signature == store.find(A, id).signature == "(float64[3]) -> float64[3]"


def test_a_damaged_file_is_noticed_and_can_be_replaced(storage, store):
    id = store.add(A, b"a", "() -> ()").id
    ((key, _),) = storage.objects.keys("functions")
    storage.objects.write(key, b"z")
    with pytest.raises(ServerError, match="damaged"):
        store.read(id)
    store.add(A, b"a", "() -> ()")
    assert store.read(id) == b"a"


def test_a_function_that_was_deleted_meanwhile_is_not_found(store):
    id = store.add(A, b"a", "() -> ()", "arm").id
    store.delete(A, "arm")
    with pytest.raises(FunctionNotFound):
        store.read(id)


def test_adding_tells_of_what_was_added(store, monkeypatch):
    find = store.find

    def find_later(tenant, reference):
        monkeypatch.setattr(store, "find", find)
        store.add(A, b"another", "", "arm")  # as another thread may, as soon as the transaction ends
        return find(tenant, reference)

    monkeypatch.setattr(store, "find", find_later)
    assert store.add(A, b"a", "", "arm").id == identity(b"a")
