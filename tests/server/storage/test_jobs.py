"""The rows of jobs: accepted once, run by one server at a time, ended once."""

import contextlib
import json
import threading

import pytest
import sqlalchemy as sa

from farfunc_protocol.errors import IdempotencyConflict, JobConflict, JobNotFound
from farfunc_server.storage.jobs import NewJob
from farfunc_server.storage.leases import Block, JobLeases, Lost
from farfunc_server.storage.results import ResultFile
from farfunc_server.storage.schema import blobs, jobs, tenants, webhook_deliveries

A = "default"
OUTPUTS = ["float64[4]"]
WEBHOOK = {"url": "http://127.0.0.1/x", "secret": "whsec_x"}


def new(asked="a", **options):
    return NewJob(function="sha256:f", transforms=[], keep_seconds=60.0, asked=asked, **options)


def add(storage, request=b"request", **options):
    return storage.jobs.add(A, new(**options), request)[0]


@pytest.fixture
def leases(storage):
    return JobLeases(storage.database, storage.objects, 30.0, "one")


@pytest.fixture
def others(storage):
    return JobLeases(storage.database, storage.objects, 30.0, "two")


def lapse(storage):
    """The server that runs a job has not been heard of for long."""
    with storage.database.write() as connection:
        connection.execute(jobs.update().where(jobs.c.state == "running").values(lease_until=1.0))


def keep(leases, job, number, content, cursor, rows, is_last=False):
    block = Block(number, leases.write(job, number, content), len(content), [])
    return leases.keep(
        job, block, cursor=cursor, rows_done=rows, rows_total=4, seconds=0.5, outputs=OUTPUTS, is_in_order=True,
        is_last=is_last,
    )  # fmt: skip


def count(storage, kind):
    return len(list(storage.objects.keys(kind)))


def test_a_job_from_its_submission_to_its_result(storage, leases):
    job = add(storage, label="mine")
    assert (job.state, job.label, job.rows_total) == ("queued", "mine", None)
    assert storage.jobs.request(job) == b"request"
    held = leases.claim()
    assert held is not None
    assert (held.id, held.state, held.owner) == (job.id, "running", "one")
    assert leases.claim() is None
    keep(leases, held, 0, b"ab", [0, 2], 2)
    done = keep(leases, held, 1, b"cde", None, 4, is_last=True)
    assert (done.state, done.rows_done, done.rows_total, done.result_bytes, done.seconds) == ("succeeded", 4, 4, 5, 1.0)
    assert done.expires == pytest.approx(done.finished + 60.0)
    assert storage.jobs.find(A, job.id) == done
    file = ResultFile(storage.objects, storage.blocks(job.id))
    assert file.size == 5
    for start in range(6):
        for stop in range(start, 6):
            assert b"".join(file.pieces(start, stop)) == b"abcde"[start:stop]


def test_what_another_tenant_has_does_not_exist(storage):
    with storage.database.write() as connection:
        connection.execute(tenants.insert().values(id="b", name="b", created=0.0))
    job = add(storage)
    for act in (storage.jobs.find, storage.jobs.cancel, storage.jobs.retry, storage.jobs.delete):
        with pytest.raises(JobNotFound):
            act("b", job.id)
    assert storage.jobs.page("b", 10) == []
    other, is_new = storage.jobs.add("b", new(idempotency_key="k"), b"request")
    assert is_new
    assert storage.jobs.add(A, new(idempotency_key="k"), b"request")[1], "keys are a tenant's own"
    assert storage.jobs.find("b", other.id) == other


def test_one_key_is_one_job(storage):
    first, is_new = storage.jobs.add(A, new(idempotency_key="k"), b"request")
    assert is_new
    assert storage.jobs.add(A, new(idempotency_key="k"), b"request") == (first, False)
    with pytest.raises(IdempotencyConflict):
        storage.jobs.add(A, new("b", idempotency_key="k"), b"other")
    assert storage.jobs.page(A, 10) == [first]
    storage.jobs.delete(A, first.id)
    assert storage.jobs.add(A, new("b", idempotency_key="k"), b"other")[1]


def test_one_key_given_many_times_at_once_is_one_job(storage):
    found, barrier = [], threading.Barrier(8)

    def submit():
        barrier.wait()
        found.append(storage.jobs.add(A, new(idempotency_key="k"), b"request"))

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job.id for job, _ in found}) == 1
    assert sum(is_new for _, is_new in found) == 1


def test_each_job_is_claimed_by_one(storage):
    ids = {add(storage, asked=str(number)).id for number in range(24)}
    found, barrier = [], threading.Barrier(4)

    def claim(name):
        leases = JobLeases(storage.database, storage.objects, 30.0, name)
        barrier.wait()
        misses = 0
        while misses < 3:  # under contention a statement may find the row taken that it had chosen
            job = leases.claim()
            found.append(job) if job else None
            misses += job is None

    threads = [threading.Thread(target=claim, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(job.id for job in found) == sorted(ids)


def test_the_highest_priority_first_then_the_oldest_and_the_position_says_so(storage, leases):
    one, two, high = add(storage), add(storage), add(storage, priority=5)
    assert [storage.jobs.position(job) for job in (one, two, high)] == [1, 2, 0]
    assert [leases.claim().id for _ in range(3)] == [high.id, one.id, two.id]


def test_the_tenant_with_the_fewest_running_comes_first(storage, leases):
    with storage.database.write() as connection:
        connection.execute(tenants.insert().values(id="b", name="b", created=0.0))
    for _ in range(3):
        add(storage)
    storage.jobs.add("b", new(), b"request")
    assert [leases.claim().tenant for _ in range(4)] == [A, "b", A, A]


def test_a_claim_holds_while_it_is_renewed_and_is_anothers_when_it_lapses(storage, leases, others):
    add(storage)
    held = leases.claim()
    assert leases.renew([held]) == set()
    assert others.claim() is None
    lapse(storage)
    taken = others.claim()
    assert taken.id == held.id
    assert taken.attempts == 2
    assert leases.renew([held]) == {held.id}
    assert leases.lost([held]) == {held.id}
    assert others.lost([taken]) == set()


def test_who_has_lost_a_job_changes_nothing_of_it(storage, leases, others):
    add(storage)
    held = leases.claim()
    keep(leases, held, 0, b"ab", [0, 2], 2)
    lapse(storage)
    taken = others.claim()
    assert (json.loads(taken.cursor), taken.rows_done) == ([0, 2], 2)
    objects = count(storage, "results")
    block = Block(1, leases.write(held, 1, b"xx"), 2, [])
    for act in (
        lambda: keep(leases, held, 1, b"xx", None, 4, is_last=True),
        lambda: keep(leases, held, 1, b"xx", [0, 3], 3),
        lambda: leases.succeed(held, block, seconds=0.0, outputs=OUTPUTS),
        lambda: leases.fail(held, {}),
        lambda: leases.worker_died(held),
        lambda: leases.current(held),
    ):
        with pytest.raises(Lost):
            act()
    leases.give_back(held)
    assert count(storage, "results") == objects, "what it wrote for nothing is gone"
    done = keep(others, taken, 1, b"cd", None, 4, is_last=True)
    assert done.state == "succeeded"
    assert b"".join(ResultFile(storage.objects, storage.blocks(held.id)).pieces(0, 4)) == b"abcd"


def test_the_same_server_may_lose_a_job_to_itself(storage, leases):
    add(storage)
    held = leases.claim()
    lapse(storage)
    again = leases.claim()
    assert again.id == held.id
    with pytest.raises(Lost):
        leases.fail(held, {})
    leases.fail(again, {"code": "server"})


def test_a_job_that_is_handed_back_is_anothers_at_once(storage, leases, others):
    add(storage)
    held = leases.claim()
    leases.give_back(held)
    taken = others.claim()
    assert taken.id == held.id
    assert taken.attempts == 1, "that was no attempt"


def test_a_block_is_progress_after_which_deaths_count_anew(storage, leases):
    add(storage)
    held = leases.claim()
    assert [leases.worker_died(held) for _ in range(2)] == [1, 2]
    assert keep(leases, held, 0, b"ab", [0, 2], 2).deaths == 0
    assert leases.worker_died(held) == 1


@pytest.mark.parametrize("moment", ["queued", "running"])
def test_cancelled_and_retried_it_goes_on_from_its_blocks(storage, leases, moment):
    job = add(storage)
    if moment == "running":
        held = leases.claim()
        keep(leases, held, 0, b"ab", [0, 2], 2)
    cancelled = storage.jobs.cancel(A, job.id)
    assert cancelled.state == "cancelled"
    assert storage.jobs.cancel(A, job.id) == cancelled
    if moment == "running":
        with pytest.raises(Lost):
            keep(leases, held, 1, b"cd", None, 4, is_last=True)
    assert leases.claim() is None
    retried = storage.jobs.retry(A, job.id)
    assert (retried.state, retried.finished, retried.expires) == ("queued", None, None)
    again = leases.claim()
    assert again.rows_done == (2 if moment == "running" else 0)


def test_what_has_ended_cannot_be_cancelled_and_what_succeeded_not_retried(storage, leases):
    job = add(storage)
    with pytest.raises(JobConflict, match="is queued"):
        storage.jobs.retry(A, job.id)
    held = leases.claim()
    keep(leases, held, 0, b"abcd", None, 4, is_last=True)
    with pytest.raises(JobConflict, match="has succeeded"):
        storage.jobs.cancel(A, job.id)
    with pytest.raises(JobConflict, match="has succeeded"):
        storage.jobs.retry(A, job.id)


@pytest.mark.parametrize("_", range(4))
def test_of_two_ends_at_once_one_counts(storage, leases, _):
    job = add(storage)
    held = leases.claim()
    ends, barrier = [], threading.Barrier(2)

    def attempt(act, error):
        barrier.wait()
        with contextlib.suppress(error):
            ends.append(act())

    acts = [
        (lambda: storage.jobs.cancel(A, job.id), JobConflict),
        (lambda: keep(leases, held, 0, b"abcd", None, 4, is_last=True), Lost),
    ]
    threads = [threading.Thread(target=attempt, args=each) for each in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ends) == 1
    assert storage.jobs.find(A, job.id).state == ends[0].state


def test_a_whole_result_takes_the_place_of_the_blocks(storage, leases):
    job = add(storage)
    held = leases.claim()
    keep(leases, held, 0, b"ab", [0, 2], 2)
    block = Block(1, leases.write(held, 1, b"whole"), 5, [])
    leases.succeed(held, block, seconds=1.0, outputs=OUTPUTS)
    assert [block.bytes for block in storage.blocks(job.id)] == [5]
    assert count(storage, "results") == 1
    assert storage.jobs.find(A, job.id).rows_done == 4


def test_an_end_is_announced_with_it_and_once(storage, leases):
    job = add(storage, webhook=WEBHOOK)
    held = leases.claim()
    leases.fail(held, {"code": "evaluation", "detail": "no"})
    delivery = storage.deliveries.due()
    payload = json.loads(delivery.payload)
    assert payload["type"] == "job.failed"
    assert payload["data"]["id"] == job.id
    assert payload["data"]["problem"]["code"] == "evaluation"
    assert storage.deliveries.due() is None, "another server does not send what one is sending"
    storage.deliveries.failed(delivery, "refused")
    with storage.database.write() as connection:
        connection.execute(webhook_deliveries.update().values(next_at=1.0))
    again = storage.deliveries.due()
    assert (again.id, again.attempts) == (delivery.id, 2)
    storage.deliveries.succeeded(again)
    assert storage.deliveries.wait() is None
    assert storage.deliveries.of_job(job.id)[0].delivered is not None


def test_what_is_deleted_or_expires_leaves_nothing(storage, leases):
    for number in range(2):
        job = add(storage, f"request {number}".encode(), asked=str(number), webhook=WEBHOOK)
        held = leases.claim()
        keep(leases, held, 0, b"abcd", None, 4, is_last=True)
    with storage.database.write() as connection:
        connection.execute(blobs.update().values(used=0.0))
    storage.jobs.delete(A, job.id)
    assert storage.jobs.expire() == 0
    with storage.database.write() as connection:
        connection.execute(jobs.update().values(expires=1.0))
    assert storage.jobs.expire() == 1
    assert (count(storage, "results"), count(storage, "requests")) == (0, 0)
    with storage.database.read() as connection:
        for table in (jobs, webhook_deliveries, blobs):
            assert connection.scalar(sa.select(sa.func.count()).select_from(table)) == 0


def test_a_request_is_kept_as_long_as_a_job_needs_it(storage):
    one, two = add(storage), add(storage, asked="b")
    storage.functions.collect()
    storage.jobs.delete(A, one.id)
    storage.functions.collect()
    assert storage.jobs.request(two) == b"request"
    assert count(storage, "requests") == 1


def test_pages_are_newest_first(storage):
    ids = [add(storage, asked=str(number)).id for number in range(5)]
    storage.jobs.cancel(A, ids[1])
    first = storage.jobs.page(A, 3)
    rest = storage.jobs.page(A, 3, after=first[-1].id)
    assert [job.id for job in (*first, *rest)] == ids[::-1]
    assert [job.id for job in storage.jobs.page(A, 10, "cancelled")] == [ids[1]]


def test_a_block_that_a_death_has_left_is_swept(storage, leases, monkeypatch):
    job = add(storage)
    held = leases.claim()
    keep(leases, held, 0, b"ab", [0, 2], 2)
    leases.write(held, 1, b"cd")  # and it dies
    monkeypatch.setattr("farfunc_server.storage.jobs.ABANDONED_SECONDS", -10.0)
    storage.jobs.sweep()
    assert [key for key, _ in storage.objects.keys("results")] == [storage.blocks(job.id)[0].key]
