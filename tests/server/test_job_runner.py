"""The runner of jobs, with evaluations that end as the test says."""

import asyncio
import json
import time

import pytest

from farfunc_protocol.errors import EvaluationError, ServerBusy, StorageFailed, WorkerDied
from farfunc_server.jobs import runner as module
from farfunc_server.jobs.changes import Changes
from farfunc_server.jobs.runner import JobRunner
from farfunc_server.storage import Storage
from farfunc_server.storage.jobs import NewJob
from farfunc_server.storage.leases import Block, JobLeases

A = "default"


@pytest.fixture
def storage(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.01)
    storage = Storage(tmp_path)
    yield storage
    storage.close()


class Evaluation:
    """Raises what it is given, one after another, and then succeeds; None is the first job's, which then goes on."""

    def __init__(self, leases, *errors):
        self.leases = leases
        self.errors = list(errors)
        self.runs = 0
        self.first = ""

    async def run(self, job):
        self.runs += 1
        if self.errors and (self.errors[0] is not None or job.id == self.first):
            error = self.errors.pop(0)
            if error is None:
                await asyncio.Event().wait()
            raise error
        block = Block(0, self.leases.write(job, 0, b"x"), 1, [])
        await asyncio.to_thread(self.leases.succeed, job, block, seconds=0.0, outputs=[])


def ran(storage, *errors, during=None, count=1):
    """The jobs, after a runner has met these errors; and how often one was evaluated."""

    async def main():
        leases = JobLeases(storage.database, storage.objects, 30.0)
        evaluation, changes, failures = Evaluation(leases, *errors), Changes(), []
        runner = JobRunner(storage, leases, evaluation, changes, most=2, lease_seconds=30.0, on_failure=failures.append)
        ids = [storage.jobs.add(A, NewJob("f", [], 60.0, str(n)), b"r")[0].id for n in range(count)]
        evaluation.first = ids[0]
        runner.start()
        for id in ids:
            with changes.of(id) as changed:
                while not (job := storage.jobs.find(A, id)).has_ended:
                    if during is not None and job.state == "running":
                        await during(runner, id)
                        break
                    await asyncio.wait_for(changed.wait(), 10.0)
                    changed.clear()
        deadline = time.monotonic() + 10.0
        while runner._running:  # the row says that a job has ended a moment before its runner has done all of it
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)
        await runner.stop()
        return [storage.jobs.find(A, id) for id in ids], evaluation.runs, failures

    return asyncio.run(main())


def died():
    return WorkerDied("two have died")


def test_many_jobs_some_at_a_time(storage):
    jobs, runs, failures = ran(storage, count=9)
    assert {job.state for job in jobs} == {"succeeded"}
    assert (runs, failures) == (9, [])


def test_what_may_pass_is_tried_again(storage):
    (job,), runs, _ = ran(storage, StorageFailed("full"), ServerBusy("full"), died(), died())
    assert (job.state, runs) == ("succeeded", 5)


def test_a_job_of_which_workers_die_again_and_again_fails(storage):
    (job,), runs, failures = ran(storage, *(died() for _ in range(9)))
    assert (job.state, runs, failures) == ("failed", 3, ["worker_died"])
    assert json.loads(job.problem)["code"] == "worker_died"


@pytest.mark.parametrize(("error", "code"), [(EvaluationError("no"), "evaluation"), (ZeroDivisionError(), "server")])
def test_what_will_not_pass_ends_the_job(storage, error, code):
    (job,), runs, failures = ran(storage, error)
    assert (job.state, runs, failures) == ("failed", 1, [code])
    problem = json.loads(job.problem)
    assert (problem["code"], problem["request_id"]) == (code, job.id)


def test_at_the_end_of_a_server_its_jobs_are_handed_back(storage):
    async def stop(runner, id):
        await runner.stop()

    (job,), _, _ = ran(storage, None, during=stop)
    assert (job.state, job.owner, job.attempts) == ("queued", None, 0)
    ran(storage)
    assert storage.jobs.find(A, job.id).state == "succeeded"


def test_what_is_cancelled_is_stopped_and_others_go_on(storage):
    async def cancel(runner, id):
        storage.jobs.cancel(A, id)
        runner.drop(id)

    (first, second), _, _ = ran(storage, None, during=cancel, count=2)
    assert first.state == "cancelled"
    assert second.state in ("succeeded", "cancelled")


def test_a_claim_of_a_server_that_was_killed_is_taken_over_at_the_start(storage):
    job, _ = storage.jobs.add(A, NewJob("f", [], 60.0, "x"), b"r")
    JobLeases(storage.database, storage.objects, 1e9).claim()
    ran(storage)
    assert storage.jobs.find(A, job.id).state == "succeeded"
