"""What one tenant can learn of another: nothing, by any route.

The routes are those of the server's OpenAPI document. One that is not in the table below, or has a parameter that no
sample is known for, fails here: whoever adds a route says who may use it, apart from the server's own table.
"""

from __future__ import annotations

import json
import re
import socket
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np
import pytest

from farfunc_protocol.document import identity
from support.environments import full_python
from support.graphs import array, f64, function_of
from support.http import BINARY, evaluation, open_client, register, results
from support.serving import RunningServer

ADMIN, MEMBER, READ_ONLY, METRICS = ROLES = ("admin", "member", "read-only", "metrics")
OPERATOR = "operator"
OPEN = frozenset({"open"})

EVERYONE = frozenset({ADMIN, MEMBER, READ_ONLY})
WORKERS = frozenset({ADMIN, MEMBER})
ADMINS = frozenset({ADMIN})
NOBODY = frozenset()  # but the operator

MAY = {
    "GET /healthz": OPEN,
    "GET /readyz": OPEN,
    "GET /metrics": frozenset({ADMIN, METRICS}),
    "GET /v1/me": EVERYONE,
    "GET /v1/ops": EVERYONE,
    "GET /v1/devices": EVERYONE,
    "GET /v1/plans": EVERYONE,
    "GET /v1/requests/{request_id}/problem": EVERYONE,
    "GET /v1/functions": EVERYONE,
    "GET /v1/functions/shared": EVERYONE,
    "GET /v1/functions/{reference}": EVERYONE,
    "GET /v1/functions/{reference}/graph": EVERYONE,
    "POST /v1/functions": WORKERS,
    "DELETE /v1/functions/{reference}": WORKERS,
    "POST /v1/functions/{reference}/{transform}": WORKERS,
    "POST /v1/evaluate": WORKERS,
    "GET /v1/functions/{reference}/shares": ADMINS,
    "PUT /v1/functions/{reference}/shares/{tenant}": ADMINS,
    "DELETE /v1/functions/{reference}/shares/{tenant}": ADMINS,
    "GET /v1/tokens": ADMINS,
    "POST /v1/tokens": ADMINS,
    "POST /v1/tokens/{token}/rotate": ADMINS,
    "DELETE /v1/tokens/{token}": ADMINS,
    "GET /v1/members": ADMINS,
    "PUT /v1/members": ADMINS,
    "DELETE /v1/members": ADMINS,
    "POST /v1/jobs": WORKERS,
    "GET /v1/jobs": EVERYONE,
    "GET /v1/jobs/{id}": EVERYONE,
    "DELETE /v1/jobs/{id}": WORKERS,
    "GET /v1/jobs/{id}/events": EVERYONE,
    "GET /v1/jobs/{id}/result": EVERYONE,
    "GET /v1/jobs/{id}/annotation": EVERYONE,
    "PUT /v1/jobs/{id}/annotation": WORKERS,
    "POST /v1/jobs/{id}/cancel": WORKERS,
    "POST /v1/jobs/{id}/retry": WORKERS,
    "POST /v1/uploads": WORKERS,
    "GET /v1/uploads/{id}": EVERYONE,
    "HEAD /v1/uploads/{id}": EVERYONE,
    "PATCH /v1/uploads/{id}": WORKERS,
    "DELETE /v1/uploads/{id}": WORKERS,
    "POST /v1/devices/{device}/drain": NOBODY,
    "POST /v1/devices/{device}/restore": NOBODY,
    "GET /v1/tenants": NOBODY,
    "POST /v1/tenants": NOBODY,
    "GET /v1/tenants/{tenant}": NOBODY,
    "PATCH /v1/tenants/{tenant}": NOBODY,
    "DELETE /v1/tenants/{tenant}": NOBODY,
}

ISSUER = "https://login.example"


def scaled(factor):
    return function_of([f64(2)], lambda b, x: b.add("mul.Scalar", (x,), {"other": factor})[0])


@dataclass(frozen=True)
class Things:
    """What the parameters of routes name: of one tenant, or nothing at all."""

    references: tuple[str, ...]
    token: str
    tenant: str
    request_id: str
    subject: str
    job: str
    upload: str

    def samples(self, place):
        """Ways to fill the parameters in: (path, query, what of it the client itself has said)."""
        for reference in self.references if "{reference}" in place else self.references[:1]:
            values = {
                "reference": reference,
                "transform": "jacfwd",
                "token": self.token,
                "tenant": self.tenant,
                "request_id": self.request_id,
                "device": "no-device",  # an operator who drained the only one would stop all that comes after
                "id": self.upload if "/uploads/" in place else self.job,
            }
            said = [reference, self.token, self.tenant, self.request_id, self.subject, self.job, self.upload]
            yield place.format(**values), reference, said


@dataclass
class Pool:
    """A server with two tenants, and what they have."""

    server: RunningServer
    document: dict
    owner: Things
    own: Things
    missing: Things
    tokens: dict[str, str] = field(default_factory=dict)
    bad: dict[str, str | None] = field(default_factory=dict)
    owner_admin: str = ""

    @property
    def routes(self):
        return [f"{m.upper()} {path}" for path, item in self.document["paths"].items() for m in item]

    def send(self, client, route, things, sample, authorization):
        method, place = route.split()
        path, reference, said = sample
        headers = {} if authorization is None else {"authorization": authorization}
        schema = self.document["paths"][place][method.lower()].get("requestBody", {}).get("content", {})
        content, query = None, {}
        if schema and "application/json" not in schema:
            content, headers["content-type"] = b"12", next(iter(schema))
        elif schema:
            example = dict(schema["application/json"]["schema"].get("example") or {"bytes": 10})
            if "function" in example:
                example["function"] = reference
            if "subject" in example:
                example.update(subject=things.subject, issuer=ISSUER)
            content = json.dumps(example)
            headers["content-type"] = "application/json"
        if route == "DELETE /v1/members":
            query = {"subject": things.subject, "issuer": ISSUER}
        response = client.request(method, path, content=content, params=query, headers=headers)
        text = response.text.replace(response.headers["x-request-id"], "<request>")
        if route == "PUT /v1/members":
            text = re.sub(r'"created": [0-9.]+', '"created": <now>', text)
        for index, word in enumerate(said):
            text = text.replace(word, f"<{index}>")
        return response.status_code, text, response


def bearer(token):
    return {"authorization": f"Bearer {token}"}


@pytest.fixture(scope="module", params=["folder", "pool"])
def pool(request, tmp_path_factory):
    """On SQLite and a folder, and on PostgreSQL and a bucket."""
    folder = tmp_path_factory.mktemp("isolation")
    environment = {"FARFUNC_TOKEN": "of-the-operator"}
    if request.param == "pool":
        environment |= request.getfixturevalue("object_store").environment
        environment["FARFUNC_DATABASE"] = request.getfixturevalue("postgres").new_database()
        environment["FARFUNC_OBJECT_STORE"] = request.getfixturevalue("object_store").new_bucket()
        upgrade_database(environment["FARFUNC_DATABASE"], folder)
    with (
        RunningServer(full_python(), folder, "--spare", "no", environment=environment) as server,
        open_client(server.url) as client,
    ):
        yield prepared(server, client)


def upgrade_database(address, folder):
    from farfunc_server.storage.database import Database, database_url
    from farfunc_server.storage.upgrading import migrate

    database = Database(database_url(address, folder))
    migrate(database)
    database.close()


def prepared(server, client):
    operator = bearer("of-the-operator")

    def made(path, document, headers, status=201):
        response = client.post(path, json=document, headers=headers)
        assert response.status_code == status, response.text
        return response.json()

    tenants = {name: made("/v1/tenants", {"name": name}, operator)["id"] for name in ("owners", "others")}

    def token(tenant, role, **more):
        return made("/v1/tokens", {"role": role, **more}, operator | {"x-tenant": tenant})

    owner_token = token("owners", ADMIN)
    tokens = {role: token("others", role) for role in ROLES}
    spare = token("others", MEMBER, label="spare")
    things = {}
    for number, (who, bearing) in enumerate([("owners", owner_token), ("others", tokens[ADMIN])]):
        client.headers["authorization"] = f"Bearer {bearing['text']}"
        name = f"function-of-{who}"
        id = register(client, scaled(2.5 + number), name)
        for _ in range(3):
            body = evaluation(id, [array([1.0, 2.0])])
            results(client.post("/v1/evaluate", content=body, headers=BINARY | {"x-request-id": f"of-{who}"}))
        job = finished_job(client, evaluation(id, [array([1.0, 2.0])]))
        upload = client.post("/v1/uploads", json={"bytes": 10}).json()["id"]
        member = {"subject": f"ada-of-{who}", "issuer": ISSUER, "role": "member"}
        assert client.put("/v1/members", json=member).status_code == 200
        del client.headers["authorization"]
        own = owner_token["id"] if who == "owners" else spare["id"]
        references = (id, name, f"{name}@1")
        things[who] = Things(references, own, tenants[who], f"of-{who}", f"ada-of-{who}", job, upload)
    nothing = Things(
        (identity(b"nothing"), "function-of-nobody", "function-of-nobody@1"),
        "0" * 12,
        "t" + "0" * 16,
        "of-nobody",
        "ada-of-nobody",
        "job_" + "1" * 24,
        "upload_" + "1" * 24,
    )
    revoked, expired = token("others", ADMIN), token("others", ADMIN, seconds=1)
    assert client.get("/v1/me", headers=bearer(revoked["text"])).status_code == 200
    gone = client.delete(f"/v1/tokens/{revoked['id']}", headers=operator | {"x-tenant": "others"})
    assert gone.status_code == 204
    deadline = time.monotonic() + 10
    while client.get("/v1/me", headers=bearer(expired["text"])).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)  # between two looks, bounded by the deadline
    text = tokens[ADMIN]["text"]
    bad = {
        "expired": f"Bearer {expired['text']}",
        "revoked": f"Bearer {revoked['text']}",
        "altered": f"Bearer {text[:20]}{'x' if text[20] != 'x' else 'y'}{text[21:]}",
        "unknown": "Bearer " + "ff_000000000000_" + "0" * 40,
        "garbage": "Bearer %00../{}",
        "signed by nobody": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.",
        "another scheme": f"Basic {text}",
        "none": None,
    }
    return Pool(
        server,
        client.get("/openapi.json").json(),
        things["owners"],
        things["others"],
        nothing,
        {role: f"Bearer {made['text']}" for role, made in tokens.items()},
        bad,
        f"Bearer {owner_token['text']}",
    )


def finished_job(client, content):
    answer = client.post("/v1/jobs", content=content, headers=BINARY)
    assert answer.status_code == 201, answer.text
    deadline = time.monotonic() + 60
    while (job := client.get(f"/v1/jobs/{answer.json()['id']}").json())["state"] != "succeeded":
        assert job["state"] in ("queued", "running"), job
        assert time.monotonic() < deadline
        time.sleep(0.05)  # between two looks, bounded by the deadline
    return job["id"]


@pytest.fixture
def client(pool):
    with open_client(pool.server.url) as opened:
        yield opened


def test_of_every_route_it_is_said_who_may_use_it(pool):
    assert set(pool.routes) == set(MAY)


def test_nobody_is_let_in_without_a_good_token(pool, client):
    """401 for every route, and the same words whatever is wrong with the token, and whatever is asked for."""
    for route in pool.routes:
        if MAY[route] is OPEN:
            assert pool.send(client, route, pool.own, (route.split()[1], "", []), None)[0] == 200
            continue
        texts = {}
        for kind, authorization in pool.bad.items():
            for things in (pool.owner, pool.own, pool.missing):
                for sample in things.samples(route.split()[1]):
                    status, text, response = pool.send(client, route, things, sample, authorization)
                    assert status == 401, (route, kind, text)
                    assert response.headers["www-authenticate"] == "Bearer"
                    texts.setdefault("missing" if kind in ("none", "another scheme") else "bad", set()).add(text)
        assert len(texts["missing"]) == len(texts["bad"]) == 1, (route, texts)


def test_what_the_role_does_not_allow_is_refused_before_anything_is_looked_up(pool, client):
    for route in pool.routes:
        for role in ROLES:
            if MAY[route] is OPEN or role in MAY[route]:
                continue
            texts = set()
            for things in (pool.owner, pool.own, pool.missing):
                for sample in things.samples(route.split()[1]):
                    status, text, _ = pool.send(client, route, things, sample, pool.tokens[role])
                    assert status == 403, (route, role, text)
                    texts.add(text)
            assert len(texts) == 1, (route, role, texts)


def test_what_is_another_tenants_is_not_there(pool, client):
    """The same bytes for a thing of the owners, asked for by others, as for a thing that nobody has."""
    secrets = [*pool.owner.references, pool.owner.token, pool.owner.tenant, pool.owner.subject]
    secrets += [pool.owner.job, pool.owner.upload]
    for route in sorted(pool.routes):  # members are deleted before they are put
        place = route.split()[1]
        for role in sorted(MAY[route] & set(ROLES)):
            answers = []
            for things in (pool.owner, pool.missing):
                for sample in things.samples(place):
                    status, text, response = pool.send(client, route, things, sample, pool.tokens[role])
                    answers.append((status, text, response))
            if "{" not in place and route not in NAMING:
                assert all(status in (200, 201) for status, _, _ in answers), (route, answers)
                for _, _, response in answers:
                    assert not [secret for secret in secrets if secret in response.text], (route, role)
                continue
            half = len(answers) // 2
            for (status, text, response), (missing_status, missing_text, other) in zip(
                answers[:half], answers[half:], strict=True
            ):
                assert (status, text) == (missing_status, missing_text), (route, role)
                if route != "PUT /v1/members":
                    assert status == 404, (route, role, text)
                headers = [{k: v for k, v in r.headers.items() if k not in VARYING} for r in (response, other)]
                assert headers[0] == headers[1], (route, role)
    # Nothing of all that has done anything to the owners.
    owner = {"authorization": pool.owner_admin}
    for reference in pool.owner.references:
        assert client.get(f"/v1/functions/{reference}", headers=owner).status_code == 200
    assert client.get(f"/v1/jobs/{pool.owner.job}", headers=owner).json()["state"] == "succeeded"
    assert client.get(f"/v1/uploads/{pool.owner.upload}", headers=owner).json()["received"] == 0
    assert [member["subject"] for member in client.get("/v1/members", headers=owner).json()["members"]] == [
        pool.owner.subject
    ]


NAMING = ("POST /v1/evaluate", "POST /v1/jobs", "DELETE /v1/members", "PUT /v1/members")
"""Routes without parameters that name something all the same."""

VARYING = {"x-request-id", "server-timing", "date", "content-length"}
"""Of two answers to different requests; lengths follow the names that were asked for."""


def test_the_roles_can_do_what_they_may(pool, client):
    for route in pool.routes:
        for role in sorted(MAY[route] & set(ROLES)):
            if route.startswith("DELETE") or route == "POST /v1/tokens/{token}/rotate":
                continue
            for sample in pool.own.samples(route.split()[1]):
                status, text, _ = pool.send(client, route, pool.own, sample, pool.tokens[role])
                assert status not in (401, 403), (route, role, text)


def test_the_operator_may_do_everything(pool, client):
    for route in pool.routes:
        if route.startswith("DELETE"):
            continue
        for sample in pool.own.samples(route.split()[1]):
            status, text, _ = pool.send(client, route, pool.own, sample, "Bearer of-the-operator")
            assert status not in (401, 403), (route, text)


def test_no_body_is_read_of_one_who_is_not_let_in(pool):
    """The answer comes while the body does not: 401 and 403, by the short way of evaluations and by the other one."""
    place = urlsplit(pool.server.url)
    for path in ("/v1/evaluate", "/v1/functions", "/v1/functions/a/apply", "/v1/tokens"):
        for authorization, status in ((pool.bad["revoked"], b"401"), (pool.tokens[READ_ONLY], b"403")):
            with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
                head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n"
                head += "Content-Type: application/json\r\nContent-Length: 100000000\r\n\r\n"
                connection.sendall(head.encode())
                assert connection.recv(100).split()[1] == status, (path, authorization)


def test_registering_what_another_has_tells_nothing(pool, client):
    authorization = {"authorization": pool.tokens[MEMBER]}
    client.headers.update(authorization)
    id = register(client, scaled(2.5))
    assert id == pool.owner.references[0]
    mine = client.get(f"/v1/functions/{id}").json()
    assert (mine["names"], mine["versions"]) == ([], [])
    plans = client.get("/v1/plans").json()["plans"]
    assert id not in {plan["function"] for plan in plans}
    results(client.post("/v1/evaluate", content=evaluation(id, [array([1.0, 2.0])]), headers=BINARY))
    assert client.delete(f"/v1/functions/{id}").status_code == 204
    owner = {"authorization": pool.owner_admin}
    assert client.get(f"/v1/functions/{id}", headers=owner).json()["names"] == ["function-of-owners@1"]
    assert client.get(f"/v1/functions/{id}").status_code == 404


def test_sharing_is_explicit_and_can_be_taken_back(pool, client):
    owner, other = {"authorization": pool.owner_admin}, {"authorization": pool.tokens[MEMBER]}
    id = pool.owner.references[0]
    receiver = client.get("/v1/me", headers=other).json()["tenant"]
    place = f"/v1/functions/function-of-owners/shares/{receiver}"
    body = evaluation(id, [array([1.0, 2.0])])
    assert client.put(place, headers=owner).status_code == 204
    (found,) = client.get("/v1/functions/shared", headers=other).json()["functions"]
    assert (found["id"], found["owner"]) == (id, pool.owner.tenant)
    assert client.get(f"/v1/functions/{id}", headers=other).json()["names"] == []
    assert "mul.Scalar" in client.get(f"/v1/functions/{id}/graph?format=text", headers=other).text
    for _ in range(3):
        response = client.post("/v1/evaluate", content=body, headers=BINARY | other)
        np.testing.assert_array_equal(results(response)[0].data, [2.5, 5.0])
    assert client.get("/v1/functions/function-of-owners", headers=other).status_code == 404  # names are the owner's
    assert client.delete(f"/v1/functions/{id}", headers=other).status_code == 403
    assert [share["tenant"] for share in client.get(f"/v1/functions/{id}/shares", headers=owner).json()["shares"]] == [
        receiver
    ]
    assert client.delete(place, headers=owner).status_code == 204
    assert client.post("/v1/evaluate", content=body, headers=BINARY | other).status_code == 404
    assert client.get("/v1/functions/shared", headers=other).json() == {"functions": []}
    assert client.put(f"/v1/functions/{id}/shares/{pool.owner.tenant}", headers=owner).status_code == 404


def test_a_revocation_and_a_rotation_are_in_force_when_they_are_answered(pool, client):
    admin = {"authorization": pool.tokens[ADMIN]}
    made = client.post("/v1/tokens", json={"role": "read-only"}, headers=admin).json()

    def status(text):
        return client.get("/v1/me", headers=bearer(text)).status_code

    assert status(made["text"]) == 200
    kept = client.post(f"/v1/tokens/{made['id']}/rotate", json={"overlap": 60}, headers=admin).json()
    assert (status(made["text"]), status(kept["text"])) == (200, 200)
    last = client.post(f"/v1/tokens/{made['id']}/rotate", json={}, headers=admin).json()
    assert [status(token["text"]) for token in (made, kept, last)] == [401, 401, 200]
    assert client.delete(f"/v1/tokens/{made['id']}", headers=admin).status_code == 204
    assert status(last["text"]) == 401
    (row,) = [row for row in client.get("/v1/tokens", headers=admin).json()["tokens"] if row["id"] == made["id"]]
    assert row["revoked"] is not None
    assert row["used"] % 60 == 0


def test_tokens_are_in_no_log_and_no_file(pool):
    texts = [token.split()[1] for token in (*pool.tokens.values(), pool.owner_admin)]
    output = pool.server.output()
    files = [path for path in pool.server.data_dir.rglob("*") if path.is_file()]
    contents = [output.encode(), *(path.read_bytes() for path in files)]
    assert not [text for text in texts for content in contents if text.encode() in content]


def test_a_tenant_that_has_something_is_not_deleted(pool, client):
    operator = bearer("of-the-operator")
    response = client.delete("/v1/tenants/others", headers=operator)
    assert response.status_code == 422
    assert client.post("/v1/tenants", json={"name": "others"}, headers=operator).status_code == 422
    id = client.post("/v1/tenants", json={"name": "short-lived"}, headers=operator).json()["id"]
    assert client.patch(f"/v1/tenants/{id}", json={"weight": 3.0}, headers=operator).json()["weight"] == 3.0
    assert client.delete(f"/v1/tenants/{id}", headers=operator).status_code == 204
    assert client.get(f"/v1/tenants/{id}", headers=operator).status_code == 404


def test_the_client_says_what_is_wrong_with_its_token(pool):
    import farfunc

    x = np.array([1.0, 2.0])

    def f(x):
        return np.sin(x) * 2.0

    with farfunc.Client(pool.server.url, token=pool.tokens[MEMBER].split()[1]) as member:
        np.testing.assert_allclose(member.jacfwd(f)(x), np.diag(2.0 * np.cos(x)))
    with farfunc.Client(pool.server.url, token=pool.tokens[READ_ONLY].split()[1]) as reader:
        assert [info.name for info in reader.functions()] == ["function-of-others"]
        with pytest.raises(farfunc.Forbidden, match="'read-only' may not") as caught:
            reader.jacfwd(f)(x)
        assert "admin or member" in caught.value.remedy
    with (
        farfunc.Client(pool.server.url, token=pool.bad["revoked"].split()[1]) as revoked,
        pytest.raises(farfunc.Unauthorized, match="not one that this server takes") as caught,
    ):
        revoked.jacfwd(f)(x)
    assert "FARFUNC_TOKEN" in caught.value.remedy
