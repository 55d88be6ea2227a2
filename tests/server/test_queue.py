"""The queue decides in plain data."""

import pytest

from farfunc_protocol.errors import ServerBusy
from farfunc_server.scheduling.queue import RequestQueue


def test_first_come_first_served():
    queue = RequestQueue(capacity=3, servers=1)
    tickets = [queue.admit(deadline=1.0) for _ in range(3)]
    assert [queue.next() for _ in range(4)] == [*((ticket,) for ticket in tickets), ()]


def test_a_full_queue_refuses_and_says_when_to_come_back():
    queue = RequestQueue(capacity=2, servers=1)
    queue.admit(1.0)
    queue.admit(1.0)
    with pytest.raises(ServerBusy, match="2 requests are waiting") as caught:
        queue.admit(1.0)
    assert caught.value.retry_after >= 1
    assert len(queue) == 2


def test_what_is_cancelled_makes_room_and_is_not_served():
    queue = RequestQueue(capacity=1, servers=1)
    ticket = queue.admit(1.0)
    assert queue.cancel(ticket)
    assert not queue.cancel(ticket)
    assert queue.next() == ()
    taken = queue.admit(1.0)
    assert queue.next() == (taken,)
    assert not queue.cancel(taken)


def test_the_wait_is_estimated_from_what_was_served():
    queue = RequestQueue(capacity=100, servers=2)
    for _ in range(20):
        queue.admit(1.0)
    for _ in range(100):
        queue.served(4.0)
    assert 15 <= queue.retry_after() <= 25  # half of 21, four seconds each, on two devices
    for _ in range(100):
        queue.served(1000.0)
    assert queue.retry_after() == 60.0


def test_requests_of_one_kind_are_taken_together_and_no_one_is_passed_over():
    queue = RequestQueue(capacity=20, servers=1)
    a, b = [queue.admit(1.0, "a") for _ in range(3)], [queue.admit(1.0, "b") for _ in range(2)]
    other, last = queue.admit(1.0), queue.admit(1.0, "a")
    assert queue.next(16) == (*a, last)
    assert queue.next(16) == tuple(b)
    assert queue.next(16) == (other,)
    assert queue.next(16) == ()


def test_a_batch_is_bounded_in_rows_and_keeps_its_order():
    queue = RequestQueue(capacity=20, servers=1)
    tickets = [queue.admit(1.0, "a", rows) for rows in (5, 4, 8, 1)]
    assert queue.next(10) == tuple(tickets[:2])
    assert queue.next(10) == tuple(tickets[2:])
    large, small = queue.admit(1.0, "a", 100), queue.admit(1.0, "a")
    assert queue.next(10) == (large,)
    assert queue.next(10) == (small,)


def test_what_is_cancelled_joins_no_batch():
    queue = RequestQueue(capacity=20, servers=1)
    tickets = [queue.admit(1.0, "a") for _ in range(3)]
    queue.cancel(tickets[1])
    assert queue.next(10) == (tickets[0], tickets[2])
