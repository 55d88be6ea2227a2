"""The server and its workers are killed, again and again, while many jobs run: on both kinds of storage.

Every job that was accepted ends exactly once with the right result, progress never goes backwards, and what is done
again is one block of rows at most each time. What the device did is read in the server's log, slice by slice.

Ten jobs here; ``FARFUNC_JOBS_KILLED=100`` for more.
"""

import contextlib
import os
import random
import re
import signal
import threading
import time
from collections import defaultdict

import httpx
import numpy as np
import pytest
import sqlalchemy as sa

from farfunc_protocol.messages import decode_response
from farfunc_protocol.transforms import FlatTransform
from farfunc_server.storage.database import Database, database_url
from farfunc_server.storage.schema import job_blocks, webhook_deliveries
from farfunc_server.storage.upgrading import migrate
from support import environments
from support.graphs import array, f64, function_of
from support.http import BINARY, evaluation, open_client, register
from support.serving import RunningServer

COUNT = int(os.environ.get("FARFUNC_JOBS_KILLED", "10"))
SERVER_KILLS = max(COUNT // 8, 3)
BLOCK_SECONDS = 0.05
POWER = 300
ROWS, LENGTH = 5000, 100

VMAP = FlatTransform("vmap", {"in_dims": (0,), "out_dims": (0,)})
GRAD = FlatTransform("grad", {"argnums": (0,)})
JACFWD = FlatTransform("jacfwd", {"argnums": (0,)})
DRAINED = 3
"""Slices that may be on their way when a block is full; they become part of it."""

_SLICE = re.compile(
    r'event=(slice|block|"whole result") (?:request_id|job)=(job_\w+)(?: start="\[(-?\d+), (\d+)\]")?'
    r'(?: stop=(?:"\[(-?\d+), (\d+)\]"|None))?(?: number=\d+ rows=(\d+))?.*?(?: seconds=(\S+))?$',
    re.MULTILINE,
)


def power(b, x):
    y = x
    for _ in range(POWER):
        (y,) = b.add("mul.Tensor", (y, x))
    return y


SUM = function_of([f64(LENGTH)], lambda b, x: b.add("sum", (power(b, x),))[0])
COLUMNS = 300


def product(b, x):
    """Means of means: seconds for all columns of its Jacobian."""
    attributes = {"size": (COLUMNS, COLUMNS), "fill_value": 1.0 / COLUMNS, "dtype": "float64"}
    (matrix,) = b.add("full", (), attributes, types=[f64(COLUMNS, COLUMNS)])
    for _ in range(100):
        (x,) = b.add("mv", (matrix, x))
    return b.add("sin", (x,))[0]


MEANS = function_of([f64(COLUMNS)], product)


def asked(number, functions):
    """A job's request, and its result: samples of a batch, whose rows come in order; columns of a Jacobian, which are
    put together; or something small, which is evaluated as a whole."""
    rng = np.random.default_rng(number)
    if number % 4 == 3:
        x = 1.0 - 0.01 * rng.random((2, LENGTH))
        return evaluation(functions[0], [array(x)], VMAP, GRAD), (POWER + 1) * x**POWER
    if number % 4 == 2:
        x = rng.random(COLUMNS)
        return evaluation(functions[1], [array(x)], JACFWD), np.full((COLUMNS, COLUMNS), np.cos(x.mean()) / COLUMNS)
    x = 1.0 - 0.01 * rng.random((ROWS, LENGTH))
    return evaluation(functions[0], [array(x)], VMAP, GRAD), (POWER + 1) * x**POWER


class Service:
    """A server that is killed and started again in the same place; its logs are kept."""

    def __init__(self, folder, options, environment):
        options = [*options, "--job-block", str(BLOCK_SECONDS), "--job-lease", "1.5", "--log-level", "debug"]
        options += ["--threads", "1", "--webhook-private", "true"]
        self.server = RunningServer(environments.full_python(), folder, *options, environment=environment)
        self.log = ""
        self.url = None

    def start(self):
        self.server.__enter__()
        self.url = self.server.url

    def kill(self):
        os.kill(self.server.process.pid, signal.SIGKILL)
        self.server.process.wait()
        self.log += self.server.output()

    def stop(self):
        self.server.stop()
        self.log += self.server.output()

    def persistently(self, do):
        """Whatever becomes of the server meanwhile, until it answers."""
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(httpx.TransportError), open_client(self.url, 30.0) as client:
                response = do(client)
                if response.status_code < 500:
                    return response
            assert time.monotonic() < deadline
            time.sleep(0.05)  # between two attempts, bounded by the deadline


@pytest.fixture(params=["folder", "pool"])
def service(request, tmp_path):
    options, environment, address = [], {}, None
    if request.param == "pool":
        store = request.getfixturevalue("object_store")
        address = request.getfixturevalue("postgres").new_database()
        options, environment = ["--database", address, "--object-store", store.new_bucket()], store.environment
        database = Database(database_url(address, tmp_path))
        migrate(database)
        database.close()
    service = Service(tmp_path, options, environment)
    service.database = lambda: Database(database_url(address, service.server.data_dir))
    service.start()
    yield service
    service.server.stop()


@pytest.mark.timeout(1800)
def test_many_jobs_while_everything_is_killed(service):
    chance = random.Random(0)
    with open_client(service.url) as client:
        functions = [register(client, SUM), register(client, MEANS)]
    expected, ids, ends, progress, faults = {}, {}, {}, defaultdict(int), []
    is_moving = threading.Event()

    def submit():
        for number in range(COUNT):
            body, result = asked(number, functions)
            headers = {**BINARY, "idempotency-key": f"key-{number}", "x-webhook-url": "http://127.0.0.1:9/"}
            response = service.persistently(
                lambda client, body=body, headers=headers: client.post("/v1/jobs", content=body, headers=headers)
            )
            if response.status_code not in (200, 201):
                faults.append(response.text)
                return
            id = response.json()["id"]
            ids[number], expected[id] = id, result

    def watch():
        while len(ends) < COUNT and not faults:
            page = service.persistently(lambda client: client.get("/v1/jobs", params={"limit": 1000})).json()
            for job in page["jobs"]:
                done = job["progress"]["rows_done"]
                if done < progress[job["id"]]:
                    faults.append(f"{job['id']}: {done} rows after {progress[job['id']]}")
                if job["state"] == "running" and done > progress[job["id"]]:
                    is_moving.set()
                progress[job["id"]] = done
                end = (job["state"], job["finished"])
                if job["finished"] is not None and ends.setdefault(job["id"], end) != end:
                    faults.append(f"{job['id']} has ended twice: {ends[job['id']]}, {end}")
            time.sleep(0.05)  # between two looks

    threads = [threading.Thread(target=submit), threading.Thread(target=watch)]
    for thread in threads:
        thread.start()
    kills = {"server": 0, "worker": 0}
    while len(ends) < COUNT and not faults:
        if not is_moving.wait(1.0):
            continue  # nothing has come further since the last death
        time.sleep(chance.uniform(0.0, 0.4))  # the moment is what is drawn
        is_moving.clear()
        if chance.random() < 0.4 and kills["server"] < SERVER_KILLS:
            service.kill()
            service.start()
            kills["server"] += 1
        elif kills["worker"] < 2 * SERVER_KILLS:
            with contextlib.suppress(httpx.TransportError), open_client(service.url) as client:
                pid = client.get("/v1/devices").json()["devices"][0]["pid"]
                if pid is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        kills["worker"] += 1
    for thread in threads:
        thread.join()
    assert not faults
    print(f"{COUNT} jobs, kills: {kills}")
    assert kills["server"]
    assert len(set(ids.values())) == COUNT
    assert {state for state, _ in ends.values()} == {"succeeded"}, [
        service.persistently(lambda client, id=id: client.get(f"/v1/jobs/{id}")).json()["problem"]
        for id, (state, _) in ends.items() if state != "succeeded"
    ]  # fmt: skip
    with open_client(service.url) as client:
        for id, result in expected.items():
            (found,) = decode_response(client.get(f"/v1/jobs/{id}/result").content).arrays
            np.testing.assert_allclose(found.data, result, rtol=1e-9, atol=1e-300)
    service.stop()
    database = service.database()
    with database.read() as connection:
        announced = connection.execute(
            sa.select(webhook_deliveries.c.job, sa.func.count()).group_by(webhook_deliveries.c.job)
        ).all()
        blocks = connection.scalar(sa.select(sa.func.count()).select_from(job_blocks))
    database.close()
    assert sorted(map(tuple, announced)) == sorted((id, 1) for id in expected), "each has ended once"
    redone = check_what_the_device_did(service.log, expected)
    print(f"{blocks} blocks at the end, {redone['slices']} slices, {redone['rows']} rows in all, done again: {redone}")


def check_what_the_device_did(log, expected):
    """Whatever was done again began at the end of a block, and was no more than a block."""
    found = {"slices": 0, "rows": 0, "again": 0, "most_rows_again": 0, "whole": 0}
    kept, done = defaultdict(int), defaultdict(list)
    for event, job, group, start, _, stop, rows, seconds in _SLICE.findall(log):
        if event == "block":
            kept[job] = int(rows)
        elif event != "slice":
            found["whole"] += 1
        elif int(group) == 0:
            start = int(start)
            stop = int(stop) if stop else len(expected[job])
            found["slices"] += 1
            found["rows"] += stop - start
            ahead = done[job][-1][1] if done[job] else 0
            if start < ahead:
                # The death may have come between a block and the line that tells of it.
                assert start >= kept[job], f"{job} went back to {start}, and {kept[job]} rows were kept"
                again = [each for each in done[job] if each[0] >= start]
                assert sum(each[2] for each in again[:-DRAINED]) < BLOCK_SECONDS, f"{job} did {again} again"
                done[job] = [each for each in done[job] if each[0] < start]
                found["again"] += 1
                found["most_rows_again"] = max(found["most_rows_again"], ahead - start)
            else:
                assert start == ahead
            done[job].append((start, stop, float(seconds)))
    return found
