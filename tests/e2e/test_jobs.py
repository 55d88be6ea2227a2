"""Jobs on a real server, on both kinds of storage, held against local torch.func."""

import json
import threading
import time

import numpy as np
import pytest
import torch

from farfunc_protocol.messages import decode_response
from farfunc_protocol.transforms import FlatTransform
from support import environments
from support.graphs import array, f64, function_of
from support.http import BINARY, evaluation, open_client, register
from support.jobs import ended, following, submit
from support.serving import RunningServer

RNG = np.random.default_rng(0)
GRAD = FlatTransform("grad", {"argnums": (0,)})
JACREV = FlatTransform("jacrev", {"argnums": (0,)})
JACFWD = FlatTransform("jacfwd", {"argnums": (0,)})
VMAP = FlatTransform("vmap", {"in_dims": (0,), "out_dims": (0,)})

SIN = function_of([f64(3)], lambda b, x: b.add("sin", (x,))[0])
X = np.array([0.5, 1.0, 2.0])


def product(b, x, power=100):
    """``sin`` of a matrix's power times x: its Jacobian is expected to take so long that it is sliced at once."""
    attributes = {"size": (700, 700), "fill_value": 1.0 / 700, "dtype": "float64"}
    (matrix,) = b.add("full", (), attributes, types=[f64(700, 700)])
    for _ in range(power):
        (x,) = b.add("mv", (matrix, x))
    return b.add("sin", (x,))[0]


LONG = function_of([f64(700)], product)
LONG_X = np.linspace(-1.0, 1.0, 700) + 0.3


def long_jacobian():
    """As local torch.func has it, of a chain of products that are the mean each."""
    matrix = torch.full((700, 700), 1.0 / 700, dtype=torch.float64)
    return torch.func.jacrev(lambda x: torch.sin(matrix @ x))(torch.from_numpy(LONG_X)).numpy()


@pytest.fixture(scope="module", params=["folder", "pool"])
def job_server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("jobs")
    options, environment = ["--webhook-private", "true", "--job-block", "0.1", "--threads", "1"], {}
    if request.param == "pool":
        address, bucket, environment = new_pool(request, folder)
        options += ["--database", address, "--object-store", bucket]
    with RunningServer(environments.full_python(), folder, *options, environment=environment) as server:
        yield server


def new_pool(request, folder):
    from farfunc_server.storage.database import Database, database_url
    from farfunc_server.storage.upgrading import migrate

    store = request.getfixturevalue("object_store")
    address, bucket = request.getfixturevalue("postgres").new_database(), store.new_bucket()
    database = Database(database_url(address, folder))
    migrate(database)
    database.close()
    return address, bucket, store.environment


@pytest.fixture
def client(job_server):
    with open_client(job_server.url, 120.0) as client:
        yield client


def small(client):
    return evaluation(register(client, SIN), [array(X)], JACREV)


def long(client, transform=JACREV):
    return evaluation(register(client, LONG), [array(LONG_X)], transform)


def leaves(response):
    assert response.status_code == 200, response.text
    return [leaf.data for leaf in decode_response(response.content).arrays]


def test_a_small_job(client):
    job = submit(client, small(client), label="mine", priority=3)
    assert job["state"] in ("queued", "running")
    done = ended(client, job["id"])
    assert (done["state"], done["problem"], done["label"], done["priority"]) == ("succeeded", None, "mine", 3)
    assert done["progress"]["fraction"] == 1.0
    assert done["created"] <= done["started"] <= done["finished"] < done["expires"]
    assert done["result"]["types"] == ["float64[3,3]"]
    response = client.get(done["result"]["path"])
    assert int(response.headers["content-length"]) == done["result"]["bytes"]
    np.testing.assert_array_equal(leaves(response)[0], np.diag(np.cos(X)))
    text = client.get(done["result"]["path"], headers={"accept": "application/json"}).json()
    assert np.allclose(text["leaves"][0]["data"], np.diag(np.cos(X)))


def test_a_small_job_in_json(client):
    id = register(client, SIN)
    body = {"function": id, "transforms": [{"transform": "jacfwd"}], "args": [X.tolist()]}
    response = client.post("/v1/jobs", json=body)
    assert response.status_code == 201, response.text
    done = ended(client, response.json()["id"])
    assert done["transforms"] == [{"transform": "jacfwd", "argnums": [0]}]
    np.testing.assert_array_equal(leaves(client.get(done["result"]["path"]))[0], np.diag(np.cos(X)))


@pytest.mark.parametrize("transform", [JACREV, JACFWD], ids=["jacrev", "jacfwd"])
def test_a_long_job_is_followed_and_read_in_parts(client, transform):
    """Its rows come in order with jacrev; the columns of jacfwd are put together at the end."""
    job = submit(client, long(client, transform))
    found = list(following(client, job["id"]))
    states = [document["state"] for _, document in found]
    assert states[-1] == "succeeded"
    assert set(states[:-1]) <= {"queued", "running"}
    assert [int(id) for id, _ in found] == sorted({int(id) for id, _ in found})
    fractions = [document["progress"]["fraction"] for _, document in found]
    assert fractions == sorted(fractions)
    assert len(set(fractions)) > 2, "it was seen to come further"
    estimates = [document["progress"]["seconds_left"] for _, document in found]
    assert any(estimate is not None and estimate >= 0 for estimate in estimates)
    expected = long_jacobian()
    path = found[-1][1]["result"]["path"]
    np.testing.assert_allclose(leaves(client.get(path))[0], expected, rtol=1e-9)
    np.testing.assert_allclose(leaves(client.get(path, params={"rows": "10:13"}))[0], expected[10:13], rtol=1e-9)
    np.testing.assert_allclose(leaves(client.get(path, params={"leaf": 0, "rows": "0:0"}))[0], expected[:0])
    # Nothing is told twice to who comes again.
    last = found[-2][0]
    assert [id for id, _ in following(client, job["id"], last)] == [found[-1][0]]
    assert list(following(client, job["id"], found[-1][0])) == []


def test_a_result_is_read_by_ranges(client):
    done = ended(client, submit(client, small(client))["id"])
    path = done["result"]["path"]
    whole = client.get(path)
    etag, data = whole.headers["etag"], whole.content
    size = len(data)

    def get(text, **headers):
        return client.get(path, headers={"range": text, **headers})

    for text, start, stop in (
        ("bytes=0-9", 0, 10),
        ("bytes=10-", 10, size),
        ("bytes=-5", size - 5, size),
        (f"bytes=3-{size + 100}", 3, size),
    ):
        part = get(text, **{"if-range": etag})
        assert part.status_code == 206
        assert part.content == data[start:stop]
        assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
    for text, headers in (("bytes=0-9", {"if-range": '"another"'}), ("bytes=0-1,5-6", {}), ("lines=1-2", {})):
        assert get(text, **headers).status_code == 200
    refused = get(f"bytes={size}-")
    assert (refused.status_code, refused.json()["code"]) == (416, "range_not_satisfiable")
    rows = client.get(path, params={"rows": "1:3"})
    tail = client.get(path, params={"rows": "1:3"}, headers={"range": "bytes=20-40"})
    assert tail.content == rows.content[20:41]
    for query, where in (({"rows": "0:4"}, "rows"), ({"rows": "2:1"}, "rows"), ({"rows": "x"}, "rows")):
        response = client.get(path, params=query)
        assert (response.status_code, response.json()["where"]) == (422, f"query.{where}"), response.text
    assert client.get(path, params={"leaf": 1}).status_code == 422


def test_a_job_that_fails_says_why_and_its_result_is_that(client):
    body = evaluation(register(client, SIN), [array(np.ones(4))], JACREV)
    direct = client.post("/v1/evaluate", content=body, headers=BINARY)
    done = ended(client, submit(client, body)["id"])
    assert done["state"] == "failed"
    assert done["problem"]["code"] == direct.json()["code"]
    response = client.get(f"/v1/jobs/{done['id']}/result")
    assert (response.status_code, response.json()["code"]) == (direct.status_code, direct.json()["code"])
    assert response.json()["detail"] == direct.json()["detail"]


def test_cancelled_it_stops_and_retried_it_goes_on(client):
    job = submit(client, long(client))
    for _, document in following(client, job["id"]):
        if document["progress"]["rows_done"]:
            break
    assert client.get(f"/v1/jobs/{job['id']}/result").json()["code"] == "job_unfinished"
    response = client.post(f"/v1/jobs/{job['id']}/cancel")
    assert (response.status_code, response.json()["state"]) == (200, "cancelled")
    rows = response.json()["progress"]["rows_done"]
    assert rows
    assert client.post(f"/v1/jobs/{job['id']}/cancel").status_code == 200
    assert client.get(f"/v1/jobs/{job['id']}/result").json()["code"] == "job_cancelled"
    assert client.post(f"/v1/jobs/{job['id']}/retry").status_code == 200
    for _, document in following(client, job["id"]):
        assert document["progress"]["rows_done"] >= rows, "it goes on with what it had"
    np.testing.assert_allclose(leaves(client.get(f"/v1/jobs/{job['id']}/result"))[0], long_jacobian(), rtol=1e-9)
    refused = client.post(f"/v1/jobs/{job['id']}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "job_conflict")
    assert client.post(f"/v1/jobs/{job['id']}/cancel").status_code == 409


def test_deleted_it_is_gone_even_while_it_runs(client):
    job = submit(client, long(client))
    next(following(client, job["id"]))
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    for path in ("", "/events", "/result"):
        response = client.get(f"/v1/jobs/{job['id']}{path}")
        assert (response.status_code, response.json()["code"]) == (404, "job_not_found")
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 404
    assert ended(client, submit(client, small(client))["id"])["state"] == "succeeded", "the device is free again"


def test_one_key_is_one_job(client):
    body, key = small(client), {"idempotency-key": f"key-{time.time_ns()}"}
    answers = []

    def send():
        with open_client(str(client.base_url)) as own:
            answers.append(own.post("/v1/jobs", content=body, headers={**BINARY, **key}))

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    for changed in (
        {"content": body, "params": {"priority": 1}},
        {"content": evaluation(register(client, SIN), [array(X + 1)], JACREV)},
    ):
        refused = client.post("/v1/jobs", headers={**BINARY, **key}, **changed)
        assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_conflict")


def test_an_annotation_is_kept_beside_a_job(client):
    id = ended(client, submit(client, small(client))["id"])["id"]
    path = f"/v1/jobs/{id}/annotation"
    assert client.get(path).json() is None
    for document in ({"tree": [1, None, "ü"]}, [1, 2]):
        assert client.put(path, json=document).status_code == 204
        assert client.get(path).json() == document
    assert client.put(path, content=b"{", headers={"content-type": "application/json"}).status_code == 422
    assert client.put(path, json="x" * (1 << 20)).status_code == 413
    assert client.put("/v1/jobs/job_x/annotation", json={}).status_code == 404


def test_a_list_in_pages(client):
    ids = [submit(client, small(client))["id"] for _ in range(3)]
    for id in ids:
        ended(client, id)
    page = client.get("/v1/jobs", params={"limit": 2, "state": "succeeded"}).json()
    assert [job["id"] for job in page["jobs"]] == ids[:0:-1]
    assert client.get(page["next"]).json()["jobs"][0]["id"] == ids[0]


def test_it_is_kept_for_as_long_as_was_asked(client):
    done = ended(client, submit(client, small(client), keep=0.5)["id"])
    assert done["expires"] - done["finished"] == pytest.approx(0.5)
    deadline = time.monotonic() + 30
    while client.get(f"/v1/jobs/{done['id']}").status_code != 404:
        assert time.monotonic() < deadline
        time.sleep(0.1)  # between two looks, bounded by the deadline


def test_a_time_limit(client):
    job = submit(client, long(client), headers={"x-timeout": "0.4"})
    done = ended(client, job["id"])
    assert (done["state"], done["problem"]["code"]) == ("failed", "time_limit_exceeded")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"headers": {"idempotency-key": "a b"}}, "invalid_request"),
        ({"headers": {"x-timeout": "-1"}}, "invalid_request"),
        ({"headers": {"x-webhook-url": "ftp://a/"}}, "invalid_request"),
        ({"headers": {"x-webhook-url": "http://a/", "x-webhook-secret": "short"}}, "invalid_request"),
        ({"params": {"priority": "1000"}}, "invalid_request"),
        ({"params": {"keep": "0"}}, "invalid_request"),
        ({"content": b"nonsense"}, None),
        ({"content": b""}, None),
        ({"content": b'{"input": "sha256:0"}', "headers": {"content-type": "application/json"}}, "upload_not_found"),
        ({"content": b'{"input": 1}', "headers": {"content-type": "application/json"}}, "upload_not_found"),
        ({"content": b'{"input": 1, "x": 2}', "headers": {"content-type": "application/json"}}, "invalid_request"),
        ({"content": b'{"webhook": 1}', "headers": {"content-type": "application/json"}}, "invalid_request"),
        ({"content": b'{"webhook": {"url": 1}}', "headers": {"content-type": "application/json"}}, None),
        ({"content": b"[]", "headers": {"content-type": "application/json"}}, None),
        ({"content": evaluation("sha256:" + "0" * 64, [])}, "function_not_found"),
        ({"headers": {"content-type": "text/plain"}}, "unsupported_media_type"),
    ],
)
def test_what_is_refused_when_it_is_submitted(client, change, code):
    headers = {**BINARY, **change.get("headers", {})}
    body = change["content"] if "content" in change else small(client)
    response = client.post("/v1/jobs", content=body, headers=headers, params=change.get("params"))
    assert 400 <= response.status_code < 500, response.text
    assert code in (None, response.json()["code"]), response.text
    assert response.json()["detail"]


def test_the_server_is_asked_to_stop_and_another_goes_on_at_once(client, job_server, request):
    """A job is handed back, not waited for: the lease of 15 s need not lapse."""
    job = submit(client, long(client))
    for _, document in following(client, job["id"]):
        if document["progress"]["rows_done"]:
            break
    begun = time.monotonic()
    job_server.process.terminate()
    assert job_server.process.wait(30) == 0
    assert time.monotonic() - begun < 15
    job_server.__enter__()
    client.base_url = job_server.url
    found = client.get(f"/v1/jobs/{job['id']}").json()
    assert found["progress"]["rows_done"] >= document["progress"]["rows_done"]
    done = ended(client, job["id"], 60.0)
    assert done["state"] == "succeeded", json.dumps(done)
    np.testing.assert_allclose(leaves(client.get(done["result"]["path"]))[0], long_jacobian(), rtol=1e-9)
