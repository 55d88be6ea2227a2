"""Tokens of an OpenID provider: which are taken, and as whom."""

import asyncio
import base64
import hashlib
import hmac
import json
import time

import pytest

from farfunc_protocol.errors import FarfuncError, Forbidden, ServerBusy, ServerError, Unauthorized
from farfunc_server.access.authentication import Authentication, verifier_of
from farfunc_server.access.oidc import KeySet, Verifier
from farfunc_server.access.principal import Role
from farfunc_server.settings import Settings
from farfunc_server.storage import Storage
from support.openid import AUDIENCE, Provider


@pytest.fixture(scope="module")
def shared_provider():
    with Provider() as running:
        for algorithm in ("PS256", "ES256", "EdDSA"):
            running.add_key(algorithm, algorithm)
        yield running


@pytest.fixture
def provider(shared_provider):
    shared_provider.fetched = 0
    shared_provider.is_down = False
    return shared_provider


@pytest.fixture
def storage(tmp_path):
    storage = Storage(tmp_path)
    yield storage
    storage.close()


def authentication(provider, storage, **settings):
    whole = Settings(oidc_issuer=provider.issuer, oidc_audience=AUDIENCE, **settings)
    return Authentication(whole, storage.credentials, verifier_of(whole))


def headers(token, tenant=None):
    found = {b"authorization": f"Bearer {token}".encode()}
    return found if tenant is None else {**found, b"x-tenant": tenant.encode()}


def ask(who, token, tenant=None):
    return asyncio.run(who.principal(headers(token, tenant)))


def text_of(part):
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


class TestSignatures:
    @pytest.fixture
    def who(self, provider, storage):
        storage.credentials.members.put("default", provider.issuer, "ada", Role.MEMBER)
        return authentication(provider, storage)

    @pytest.mark.parametrize("kid", ["first", "PS256", "ES256", "EdDSA"])
    def test_good_ones(self, who, provider, kid):
        found = ask(who, provider.token(kid=kid))
        assert (found.tenant, found.role, found.subject, found.is_operator) == ("default", Role.MEMBER, "ada", False)

    def test_all_that_are_not_are_told_the_same(self, who, provider):
        now = time.time()
        head, body, signature = provider.token().split(".")
        claims = {"iss": provider.issuer, "aud": AUDIENCE, "sub": "ada", "exp": now + 300}
        confused = f"{text_of({'alg': 'HS256', 'kid': 'first'})}.{text_of(claims)}"
        mac = hmac.new(provider.public_pem(), confused.encode(), hashlib.sha256).digest()
        with Provider() as other:
            forged = other.token(iss=provider.issuer)
        bad = {
            "expired": provider.token(exp=now - 60),
            "for another": provider.token(aud="another"),
            "by another": provider.token(iss="https://other.example"),
            "without an end": provider.token(exp=None),
            "without an audience": provider.token(aud=None),
            "without a subject": provider.token(sub=None),
            "not yet": provider.token(nbf=now + 600),
            "by a key that is not the issuer's": forged,
            "by another of its keys": provider.token(kid="ES256", named="first"),
            "altered": f"{head}.{text_of({**claims, 'sub': 'eve'})}.{signature}",
            "signed with the public key": f"{confused}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}",
            "not signed": f"{text_of({'alg': 'none'})}.{text_of(claims)}.",
            "not signed, in capitals": f"{text_of({'alg': 'None', 'kid': 'first'})}.{text_of(claims)}.",
            "with critical headers": f"{text_of({'alg': 'RS256', 'kid': 'first', 'crit': ['b64']})}.{body}.{signature}",
            "with a key of its own": f"{text_of({'alg': 'RS256', 'jwk': {}, 'kid': 'nobody'})}.{body}.{signature}",
            "too long": "a" * 20_000 + "..",
            "no token": "a.b.c",
            "of numbers": f"{text_of([1])}.{body}.{signature}",
            "with a number for its key": f"{text_of({'alg': 'RS256', 'kid': 5})}.{body}.{signature}",
        }
        texts = set()
        for why, token in bad.items():
            with pytest.raises(Unauthorized) as caught:
                pytest.fail(f"{why}: {ask(who, token)}")
            texts.add(str(caught.value))
        assert len(texts) == 1

    def test_clocks_may_differ_a_little(self, who, provider):
        ask(who, provider.token(exp=time.time() - 10))
        ask(who, provider.token(nbf=time.time() + 10))

    def test_one_that_names_no_key_is_tried_with_all(self, who, provider, monkeypatch):
        import jwt

        key, algorithm = provider._private["ES256"]
        claims = {"iss": provider.issuer, "aud": AUDIENCE, "sub": "ada", "exp": time.time() + 300}
        assert ask(who, jwt.encode(claims, key, algorithm=algorithm)).subject == "ada"

    def test_what_was_checked_is_known_until_it_ends(self, who, provider, monkeypatch):
        token = provider.token()
        assert who.known(headers(token)) is None
        found = ask(who, token)
        assert who.known(headers(token)) == found
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 400)
        assert who.known(headers(token)) is None


class TestTenants:
    def test_one_who_belongs_nowhere(self, provider, storage):
        who = authentication(provider, storage)
        with pytest.raises(Forbidden, match="belongs to no tenant"):
            ask(who, provider.token("nobody"))

    def test_a_member_of_two(self, provider, storage):
        credentials = storage.credentials
        other = credentials.tenants.create("other")
        credentials.members.put(other.id, provider.issuer, "ada", Role.ADMIN)
        credentials.members.put("default", provider.issuer, "ada", Role.READ_ONLY)
        who = authentication(provider, storage)
        token = provider.token()
        assert ask(who, token).tenant == other.id  # the oldest
        assert (ask(who, token, "default").tenant, ask(who, token, "default").role) == ("default", Role.READ_ONLY)
        assert ask(who, token, "other") == ask(who, token, other.id)
        third = credentials.tenants.create("third")
        texts = set()
        for wanted in (third.id, "third", "nothing"):
            with pytest.raises(Forbidden) as caught:
                ask(who, token, wanted)
            texts.add(str(caught.value).replace(wanted, "?"))
        assert len(texts) == 1

    def test_put_out_at_once(self, provider, storage):
        credentials = storage.credentials
        credentials.members.put("default", provider.issuer, "ada", Role.ADMIN)
        who, token = authentication(provider, storage), provider.token()
        ask(who, token)
        assert who.known(headers(token)) is not None
        credentials.members.remove("default", provider.issuer, "ada")
        assert who.known(headers(token)) is None
        with pytest.raises(Forbidden):
            ask(who, token)

    def test_claims_tell_tenant_and_role(self, provider, storage):
        other = storage.credentials.tenants.create("robotics")
        settings = {"oidc_tenant_claim": "groups", "oidc_role_claim": "realm_access.roles"}
        who = authentication(provider, storage, **settings)
        token = provider.token(groups=["unheard-of", "robotics"], realm_access={"roles": ["read-only", "member", "x"]})
        found = ask(who, token)
        assert (found.tenant, found.role) == (other.id, Role.MEMBER)
        for claims in ({"groups": ["robotics"]}, {"groups": "unheard-of", "realm_access": {"roles": ["admin"]}}, {}):
            with pytest.raises(Forbidden):
                ask(who, provider.token(**claims))
        with pytest.raises(Forbidden):
            ask(who, token, "default")

    def test_without_a_claim_for_the_role_one_is_a_member_or_what_is_written(self, provider, storage):
        credentials = storage.credentials
        other = credentials.tenants.create("robotics")
        who = authentication(provider, storage, oidc_tenant_claim="https://farfunc.example/tenant")
        token = provider.token(**{"https://farfunc.example/tenant": "robotics"})
        assert ask(who, token).role == Role.MEMBER
        credentials.members.put(other.id, provider.issuer, "ada", Role.ADMIN)
        credentials.recent.forget()
        assert ask(who, token).role == Role.ADMIN

    def test_a_tenants_weight_is_known_with_its_requests(self, provider, storage):
        credentials = storage.credentials
        other = credentials.tenants.create("robotics", 3.0)
        credentials.members.put(other.id, provider.issuer, "ada", Role.MEMBER)
        who, token = authentication(provider, storage), provider.token()
        assert who.weight(other.id) == 1.0
        ask(who, token)
        assert who.weight(other.id) == 3.0
        credentials.tenants.change("robotics", weight=2.0)
        assert who.known(headers(token)) is None  # so that the next request looks it up
        ask(who, token)
        assert who.weight(other.id) == 2.0

    def test_claims_make_no_operator(self, provider, storage):
        who = authentication(provider, storage, oidc_tenant_claim="tenant", oidc_role_claim="role")
        found = ask(who, provider.token(tenant="default", role="admin", is_operator=True))
        assert not found.is_operator


class TestKeys:
    def verifier(self, provider, clock):
        return Verifier(provider.issuer, AUDIENCE, KeySet(provider.issuer, None, clock=lambda: clock[0]))

    def test_an_unknown_one_has_them_fetched_again_and_not_too_often(self, provider):
        async def main():
            clock = [100.0]
            verifier = self.verifier(provider, clock)
            assert await verifier.claims(provider.token()) is not None
            assert provider.fetched == 1
            provider.add_key("second", "ES256")
            token = provider.token(kid="second")
            assert await verifier.claims(token) is None  # too soon after the last time
            clock[0] += 11.0
            assert await verifier.claims(token) is not None
            assert provider.fetched == 2
            for _ in range(50):
                assert await verifier.claims(provider.token(named="invented")) is None
            clock[0] += 11.0
            found = await asyncio.gather(*(verifier.claims(provider.token(named=f"i{n}")) for n in range(50)))
            assert found == [None] * 50
            assert provider.fetched == 3

        asyncio.run(main())

    def test_old_ones_serve_while_the_provider_is_down(self, provider):
        async def main():
            clock = [100.0]
            verifier = self.verifier(provider, clock)
            assert await verifier.claims(provider.token()) is not None
            provider.is_down = True
            clock[0] += 10_000.0
            for _ in range(3):
                assert await verifier.claims(provider.token()) is not None
                await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
                clock[0] += 1.0

        asyncio.run(main())

    def test_a_provider_that_never_answered_is_the_services_fault(self, provider):
        async def main():
            provider.is_down = True
            clock = [100.0]
            verifier = self.verifier(provider, clock)
            with pytest.raises(ServerBusy, match="OpenID provider"):
                await verifier.claims(provider.token())
            provider.is_down = False
            clock[0] += 11.0
            assert await verifier.claims(provider.token()) is not None

        asyncio.run(main())

    @pytest.mark.parametrize(
        "document",
        [
            {},
            {"keys": []},
            {"keys": [{"kty": "oct", "k": "AAAA", "kid": "first"}]},
            {"keys": 5},
            {"keys": [5]},
            {"keys": [{"kty": "RSA", "n": "!", "e": "AQAB", "kid": "first"}]},
        ],
    )
    def test_what_is_no_set_of_keys(self, provider, document, monkeypatch):
        monkeypatch.setattr(provider, "document", document)

        async def main():
            with pytest.raises(ServerBusy):
                await self.verifier(provider, [100.0]).claims(provider.token())

        asyncio.run(main())

    def test_a_key_for_encryption_signs_nothing(self, provider, monkeypatch):
        keys = [{**key, "use": "enc"} if key["kid"] == "first" else key for key in provider.document["keys"]]
        monkeypatch.setattr(provider, "document", {"keys": keys})

        async def main():
            verifier = self.verifier(provider, [100.0])
            assert await verifier.claims(provider.token()) is None
            assert await verifier.claims(provider.token(kid="ES256")) is not None

        asyncio.run(main())


@pytest.mark.parametrize(
    "settings",
    [
        {"oidc_issuer": "https://login.example"},
        {"oidc_issuer": "http://login.example", "oidc_audience": "a"},
        {"oidc_issuer": "https://login.example", "oidc_audience": "a", "oidc_keys": "ftp://x"},
        {"oidc_issuer": "nonsense", "oidc_audience": "a"},
    ],
)
def test_settings_that_do_not_fit(settings):
    with pytest.raises(ServerError) as caught:
        verifier_of(Settings(**settings))
    assert isinstance(caught.value, FarfuncError)
    assert caught.value.remedy
