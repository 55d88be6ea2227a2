"""farfunc.submit: jobs in the client."""

import asyncio
import io
import subprocess
import sys

import numpy as np
import pytest

import farfunc
from farfunc._progress import Bar

pytestmark = pytest.mark.thin


@pytest.fixture
def client(server_url):
    with farfunc.Client(server_url) as client:
        yield client


def f(x, y):
    return {"sum": np.sin(x) + y, "product": (x * y, 3)}


X, Y = np.linspace(0.0, 1.0, 3), np.array([2.0, -1.0, 0.5])


def same(found, expected):
    assert found.keys() == expected.keys()
    np.testing.assert_array_equal(found["sum"], expected["sum"])
    assert found["product"][1] == expected["product"][1] == 3
    np.testing.assert_array_equal(found["product"][0], expected["product"][0])


def test_a_job_returns_what_the_call_returns(client):
    job = client.submit(f, X, Y, label="sums")
    same(job.result(timeout=60), f(X, Y))
    assert (job.info.state, job.info.fraction, job.info.label) == ("succeeded", 1.0, "sums")
    hessian = client.hessian(lambda x: (x**3).sum())
    np.testing.assert_array_equal(client.submit(hessian, X).result(60), hessian(X))


def test_keywords_and_scalars(client):
    job = client.submit(client.grad(lambda x, *, power: x**power), 2.0, power=3)
    assert job.result(60) == 12.0


def test_from_another_process(client, server_url):
    job = client.submit(f, X, y=Y)
    script = (
        "import sys, farfunc\n"
        "with farfunc.Client(sys.argv[1]) as client:\n"
        "    found = client.job(sys.argv[2]).result(timeout=60)\n"
        "    print(found['sum'].tolist(), found['product'][0].tolist(), found['product'][1], type(found['product']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, server_url, job.id], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{(np.sin(X) + Y).tolist()} {(X * Y).tolist()} 3 <class 'tuple'>"


def test_rows_of_a_result(client):
    job = client.submit(client.jacrev(lambda x: np.outer(x, x) @ x), X)
    whole = job.result(60)
    np.testing.assert_array_equal(job.rows(1, 3), whole[1:3])
    np.testing.assert_array_equal(client.job(job.id).rows(0, 1), whole[:1])
    for rows in ((2, 1), (-1, 2), (0.5, 2), (True, 2)):
        with pytest.raises(farfunc.InvalidRequest, match="rows"):
            job.rows(*rows)


def test_what_the_call_raises_the_job_raises(client):
    job = client.submit(lambda m, v: np.linalg.solve(m, v), np.zeros((2, 2)), np.ones(2))
    with pytest.raises(farfunc.EvaluationError, match="singular") as caught:
        job.result(60)
    assert caught.value.code == "evaluation"
    assert job.info.state == "failed"
    with pytest.raises(farfunc.EvaluationError):
        client.job(job.id).result()
    with pytest.raises(farfunc.TraceError):
        client.submit(lambda x: x if x.sum() > 0 else -x, X)


def test_cancelling_and_going_on(client):
    slow = client.jacrev(lambda x: np.tanh(np.outer(x, x) @ x))
    job = client.submit(slow, np.linspace(-1.0, 1.0, 400))
    assert job.cancel().state in ("cancelled", "succeeded")
    if job.info.state == "cancelled":
        with pytest.raises(farfunc.JobCancelled, match="retry"):
            job.result()
        job.retry()
    assert job.result(100).shape == (400, 400)
    job.delete()
    with pytest.raises(farfunc.JobNotFound):
        client.job(job.id)


def test_one_key_is_one_job(client):
    first, second = (client.submit(f, X, Y, key="of-this-test") for _ in range(2))
    assert first.id == second.id
    with pytest.raises(farfunc.IdempotencyConflict):
        client.submit(f, X, Y + 1, key="of-this-test")
    assert client.submit(f, X, Y).id != client.submit(f, X, Y).id


def test_time_that_is_not_enough(client, monkeypatch):
    job = client.submit(f, X, Y)
    monkeypatch.setattr(job, "status", lambda: job.info)  # as if it went on and on
    job._info = type(job.info)(**{**{n: getattr(job.info, n) for n in job.info.__slots__}, "state": "running"})
    with pytest.raises(farfunc.JobUnfinished, match=r"within 0.05 s: running, \d+ %"):
        job.wait(0.05)


def test_lists(client):
    job = client.submit(f, X, Y, label="listed")
    job.wait(60)
    assert [info.label for info in client.jobs() if info.id == job.id] == ["listed"]
    assert job.id in {info.id for info in client.jobs("succeeded")}
    assert job.id not in {info.id for info in client.jobs("failed")}


def test_written_arguments_are_refused(client):
    def double(x):
        x *= 2.0
        return x

    with pytest.raises(farfunc.MutationError):
        client.submit(double, np.ones(2))


def test_asynchronous(server_url):
    async def main():
        async with farfunc.AsyncClient(server_url) as client:
            job = await client.submit(client.jacfwd(np.sin), X)
            states = [info.state async for info in job.updates(60)]
            again = await client.job(job.id)
            with pytest.raises(farfunc.JobNotFound):
                await client.job("job_none")
            return states, await job.result(), await again.result(), await again.rows(1, 2)

    states, found, again, rows = asyncio.run(main())
    assert states[-1] == "succeeded"
    np.testing.assert_array_equal(found, np.diag(np.cos(X)))
    np.testing.assert_array_equal(again, found)
    np.testing.assert_array_equal(rows, found[1:2])


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_bar(client):
    job = client.submit(f, X, Y, label="bar")
    info = job.wait(60)
    half = type(info)(**{**{n: getattr(info, n) for n in info.__slots__}, "state": "running", "fraction": 0.5})
    terminal, log = _Terminal(), io.StringIO()
    for stream in (terminal, log):
        bar = Bar(stream)
        for each in (half, half, info):
            bar.show(each)
        bar.close()
    assert terminal.getvalue().count("\r") == 3
    assert terminal.getvalue().endswith("succeeded   \n") or "succeeded" in terminal.getvalue().splitlines()[-1]
    lines = log.getvalue().splitlines()
    assert lines == [f"bar [{'#' * 15}{'-' * 15}] running, 50 %", f"bar [{'#' * 30}] succeeded"]
    job.progress()  # of what has ended, at once
