"""Tenants, tokens and members, on both kinds of storage."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from farfunc_protocol.errors import InvalidRequest, LimitExceeded
from farfunc_server.access.principal import Role
from farfunc_server.storage.missing import NotFound
from farfunc_server.storage.schema import tokens as token_rows
from farfunc_server.storage.tokens import Tokens

T = "default"


@pytest.fixture
def credentials(storage):
    return storage.credentials


class TestTokens:
    def test_a_text_finds_its_token(self, credentials):
        made, text = credentials.tokens.create(T, Role.MEMBER, "of the laptop")
        found, end = credentials.tokens.check(text)
        assert (found.id, found.tenant, found.role, found.label) == (made.id, T, Role.MEMBER, "of the laptop")
        assert end == float("inf")
        assert text.startswith(made.prefix + "_")

    def test_the_text_is_nowhere(self, credentials, storage):
        _, text = credentials.tokens.create(T, Role.MEMBER)
        with storage.database.read() as connection:
            rows = connection.execute(sa.select(token_rows)).all()
        assert text.split("_")[2] not in str(rows)

    def test_a_text_that_ends_otherwise_does_not(self, credentials):
        _, text = credentials.tokens.create(T, Role.MEMBER)
        _, other = credentials.tokens.create(T, Role.MEMBER)
        assert credentials.tokens.check(text[:16] + other[16:]) is None
        assert credentials.tokens.check(text[:-1]) is None
        assert credentials.tokens.check("") is None

    def test_another_secret_behind_a_known_prefix(self, credentials):
        from farfunc_server.access.token_text import new_token

        made, _ = credentials.tokens.create(T, Role.MEMBER)
        assert credentials.tokens.check(new_token(made.prefix)) is None

    def test_it_expires(self, credentials, monkeypatch):
        _, text = credentials.tokens.create(T, Role.MEMBER, seconds=60.0)
        _, end = credentials.tokens.check(text)
        now = time.time()
        assert now < end <= now + 60.0
        monkeypatch.setattr(time, "time", lambda: now + 61.0)
        assert credentials.tokens.check(text) is None

    def test_rotated_with_an_overlap(self, credentials, monkeypatch):
        made, old = credentials.tokens.create(T, Role.MEMBER)
        rotated, new = credentials.tokens.rotate(T, made.id, overlap=60.0)
        assert (rotated.id, rotated.prefix) == (made.id, made.prefix)
        assert credentials.tokens.check(new)[1] == float("inf")
        assert credentials.tokens.check(old)[1] == rotated.old_expires
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 61.0)
        assert credentials.tokens.check(old) is None
        assert credentials.tokens.check(new) is not None

    def test_the_overlap_does_not_outlive_the_token(self, credentials):
        made, old = credentials.tokens.create(T, Role.MEMBER, seconds=60.0)
        credentials.tokens.rotate(T, made.id, overlap=3600.0)
        assert credentials.tokens.check(old)[1] == made.expires

    def test_rotated_at_once(self, credentials):
        made, old = credentials.tokens.create(T, Role.MEMBER)
        _, new = credentials.tokens.rotate(T, made.id)
        assert credentials.tokens.check(old) is None
        assert credentials.tokens.check(new) is not None

    def test_a_revoked_one_is_good_no_more_under_either_text(self, credentials):
        made, old = credentials.tokens.create(T, Role.MEMBER)
        _, new = credentials.tokens.rotate(T, made.id, overlap=60.0)
        credentials.tokens.revoke(T, made.id)
        assert [credentials.tokens.check(text) for text in (old, new)] == [None, None]
        first = credentials.tokens.find(T, made.id).revoked
        credentials.tokens.revoke(T, made.id)
        assert credentials.tokens.find(T, made.id).revoked == first
        with pytest.raises(NotFound):
            credentials.tokens.rotate(T, made.id)

    def test_another_tenants_is_not_there(self, credentials):
        other = credentials.tenants.create("other").id
        made, text = credentials.tokens.create(T, Role.MEMBER)
        for act in (credentials.tokens.revoke, credentials.tokens.rotate, credentials.tokens.find):
            with pytest.raises(NotFound):
                act(other, made.id)
        assert credentials.tokens.list(other) == []
        assert credentials.tokens.check(text) is not None

    def test_its_use_is_noted_to_the_minute(self, credentials):
        made, text = credentials.tokens.create(T, Role.MEMBER)
        assert credentials.tokens.find(T, made.id).used is None
        credentials.tokens.check(text)
        used = credentials.tokens.find(T, made.id).used
        assert used % 60 == 0
        assert 0 <= time.time() - used < 120

    def test_the_ended_are_removed_in_time(self, credentials, monkeypatch):
        made, _ = credentials.tokens.create(T, Role.MEMBER, seconds=1.0)
        kept, _ = credentials.tokens.create(T, Role.MEMBER)
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 31 * 86400)
        new, _ = credentials.tokens.create(T, Role.MEMBER)
        assert {token.id for token in credentials.tokens.list(T)} == {kept.id, new.id}
        assert made.id not in {kept.id, new.id}

    def test_there_is_an_end_to_their_number(self, credentials, monkeypatch):
        monkeypatch.setattr("farfunc_server.storage.tokens._MOST", 2)
        for _ in range(2):
            credentials.tokens.create(T, Role.MEMBER)
        with pytest.raises(LimitExceeded):
            credentials.tokens.create(T, Role.MEMBER)

    @pytest.mark.parametrize("wrong", [{"label": "a\nb"}, {"label": "x" * 201}, {"seconds": 0.0}, {"seconds": -1.0}])
    def test_what_makes_no_token(self, credentials, wrong):
        with pytest.raises(InvalidRequest):
            credentials.tokens.create(T, Role.MEMBER, **wrong)

    def test_a_storage_that_takes_nothing_still_lets_in(self, credentials, storage, monkeypatch):
        from farfunc_protocol.errors import StorageFailed

        _, text = credentials.tokens.create(T, Role.MEMBER)

        def full():
            raise StorageFailed("full")

        monkeypatch.setattr(storage.database, "write", full)
        assert credentials.tokens.check(text) is not None


class TestTenants:
    def test_made_renamed_weighed_deleted(self, credentials):
        tenants = credentials.tenants
        made = tenants.create("robotics", 2.0)
        assert tenants.find("robotics") == tenants.find(made.id) == made
        changed = tenants.change("robotics", name="robots", weight=3.0)
        assert (changed.id, changed.name, changed.weight) == (made.id, "robots", 3.0)
        assert [tenant.name for tenant in tenants.list()] == ["default", "robots"]
        tenants.delete("robots")
        with pytest.raises(NotFound):
            tenants.find(made.id)

    def test_the_names_are_different_ones(self, credentials):
        credentials.tenants.create("a")
        credentials.tenants.create("b")
        for act in (lambda: credentials.tenants.create("a"), lambda: credentials.tenants.change("b", name="a")):
            with pytest.raises(InvalidRequest, match="already"):
                act()

    @pytest.mark.parametrize("name", ["", "a b", "-a", "ü", "x" * 65])
    def test_what_is_no_name(self, credentials, name):
        with pytest.raises(InvalidRequest, match="no name"):
            credentials.tenants.create(name)

    @pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
    def test_what_is_no_weight(self, credentials, weight):
        with pytest.raises(InvalidRequest, match="weight"):
            credentials.tenants.create("a", weight)

    def test_one_that_has_something_stays(self, credentials, storage):
        id = credentials.tenants.create("a").id

        def refused(what):
            with pytest.raises(InvalidRequest, match=what):
                credentials.tenants.delete("a")

        storage.functions.add(id, b"f", "", "f")
        refused("functions")
        storage.functions.delete(id, "f")
        credentials.members.put(id, "https://i", "ada", Role.MEMBER)
        refused("members")
        credentials.members.remove(id, "https://i", "ada")
        made, _ = credentials.tokens.create(id, Role.ADMIN)
        refused("tokens")
        credentials.tokens.revoke(id, made.id)
        credentials.tenants.delete("a")

    def test_the_first_one_stays(self, credentials):
        with pytest.raises(InvalidRequest):
            credentials.tenants.delete("default")


class TestMembers:
    def test_taken_in_changed_put_out(self, credentials):
        members = credentials.members
        made = members.put(T, "https://i", "ada", Role.MEMBER)
        assert members.of("https://i", "ada") == [made]
        assert members.put(T, "https://i", "ada", Role.ADMIN).role == Role.ADMIN
        assert members.of("https://other", "ada") == []
        members.remove(T, "https://i", "ada")
        assert members.list(T) == []
        with pytest.raises(NotFound):
            members.remove(T, "https://i", "ada")

    def test_of_several_tenants(self, credentials):
        other = credentials.tenants.create("other").id
        credentials.members.put(other, "https://i", "ada", Role.ADMIN)
        credentials.members.put(T, "https://i", "ada", Role.READ_ONLY)
        assert [(m.tenant, m.role) for m in credentials.members.of("https://i", "ada")] == [
            (other, Role.ADMIN),
            (T, Role.READ_ONLY),
        ]


class TestShares:
    def test_a_function_that_goes_takes_its_shares_along(self, storage):
        other = storage.credentials.tenants.create("other").id
        id = storage.functions.add(T, b"f", "", "f").id
        storage.shares.add(T, "f", other)
        storage.shares.add(T, "f", other)  # once
        assert [share.tenant for share in storage.shares.list(T, "f")] == [other]
        assert storage.functions.resolve(other, id) == id
        storage.functions.delete(T, "f")
        assert storage.shares.with_tenant(other) == []

    def test_what_was_taken_back_is_found_no_more(self, storage):
        from farfunc_protocol.errors import Forbidden, FunctionNotFound

        other = storage.credentials.tenants.create("other").id
        id = storage.functions.add(T, b"f", "", "f").id
        storage.shares.add(T, "f", other)
        assert storage.functions.resolve(other, id) == id
        assert storage.functions.known(other, id)
        with pytest.raises(Forbidden):
            storage.functions.delete(other, id)
        storage.shares.remove(T, id, other)
        assert not storage.functions.known(other, id)
        with pytest.raises(FunctionNotFound):
            storage.functions.resolve(other, id)
        with pytest.raises(NotFound):
            storage.shares.remove(T, id, other)

    def test_what_is_shared_with_me_i_cannot_share(self, storage):
        from farfunc_protocol.errors import FunctionNotFound

        other, third = (storage.credentials.tenants.create(name).id for name in ("other", "third"))
        id = storage.functions.add(T, b"f", "").id
        storage.shares.add(T, id, other)
        with pytest.raises(FunctionNotFound):
            storage.shares.add(other, id, third)

    def test_one_of_ones_own_comes_first(self, storage):
        other = storage.credentials.tenants.create("other").id
        id = storage.functions.add(T, b"f", "").id
        storage.shares.add(T, id, other)
        storage.functions.add(other, b"f", "", "mine")
        storage.shares.remove(T, id, other)
        assert storage.functions.find(other, id).id == id
        storage.functions.delete(other, "mine")


def test_rotations_at_the_same_time_leave_one_text(storage):
    tokens: Tokens = storage.credentials.tokens
    made, _ = tokens.create(T, Role.MEMBER)
    start = threading.Barrier(4)

    def rotate(_):
        start.wait()
        return tokens.rotate(T, made.id)[1]

    with ThreadPoolExecutor(4) as threads:
        texts = list(threads.map(rotate, range(4)))
    assert sum(tokens.check(text) is not None for text in texts) == 1
