"""Contents that arrive in parts."""

import pytest

from farfunc_protocol.document import identity
from farfunc_protocol.errors import DigestMismatch, UploadConflict, UploadNotFound
from farfunc_server.storage.schema import tenants, uploads

A = "default"


def test_parts_become_a_content(storage):
    store = storage.uploads
    upload = store.begin(A, 6, identity(b"abcdef"))
    upload = store.append(upload, 0, b"abc")
    upload = store.append(store.find(A, upload.id), 3, b"def")
    upload = store.complete(upload)
    assert upload.content == identity(b"abcdef")
    assert store.complete(upload) == upload
    assert store.content(A, upload.content) == b"abcdef"
    assert list(storage.objects.keys("uploads")) == []


def test_a_part_counts_once(storage):
    store = storage.uploads
    upload = store.begin(A, 6)
    store.append(upload, 0, b"abc")
    with pytest.raises(UploadConflict):
        store.append(upload, 0, b"abc")
    with pytest.raises(UploadConflict):
        store.append(upload, 4, b"abc")
    assert len(list(storage.objects.keys("uploads"))) == 1
    assert store.find(A, upload.id).received == 3


def test_a_death_between_the_last_part_and_the_whole_is_made_good(storage):
    store = storage.uploads
    upload = store.append(store.begin(A, 3), 0, b"abc")
    content = store.complete(upload).content
    assert store.complete(upload).content == content, "to do it twice is to do it once"
    assert store.content(A, content) == b"abc"


def test_another_content_than_was_announced_is_forgotten(storage):
    store = storage.uploads
    upload = store.append(store.begin(A, 3, identity(b"xyz")), 0, b"abc")
    with pytest.raises(DigestMismatch):
        store.complete(upload)
    with pytest.raises(UploadNotFound):
        store.find(A, upload.id)
    assert list(storage.objects.keys("uploads")) == []


def test_what_another_tenant_has_uploaded_does_not_exist(storage):
    with storage.database.write() as connection:
        connection.execute(tenants.insert().values(id="b", name="b", created=0.0))
    store = storage.uploads
    upload = store.complete(store.append(store.begin(A, 3), 0, b"abc"))
    for act in (lambda: store.find("b", upload.id), lambda: store.content("b", upload.content),
                lambda: store.delete("b", upload.id)):  # fmt: skip
        with pytest.raises(UploadNotFound):
            act()


def test_what_is_kept_long_enough_is_forgotten(storage):
    store = storage.uploads
    begun, whole = store.append(store.begin(A, 6), 0, b"abc"), store.append(store.begin(A, 3), 0, b"abc")
    store.complete(whole)
    store.expire()
    assert store.find(A, begun.id)
    with storage.database.write() as connection:
        connection.execute(uploads.update().values(expires=1.0))
    store.expire()
    for upload in (begun, whole):
        with pytest.raises(UploadNotFound):
            store.find(A, upload.id)
    assert list(storage.objects.keys("uploads")) == []
