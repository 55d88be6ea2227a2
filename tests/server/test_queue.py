"""The queue decides in plain data."""

import pytest

from farfunc_protocol.errors import ServerBusy, TooManyRequests
from farfunc_server.scheduling.queue import RequestQueue
from farfunc_server.scheduling.shares import Share


def shares(**known):
    return lambda tenant: known.get(tenant, Share())


def serve(queue, seconds, most_rows=1):
    """What is taken next has a device for so long, and ends."""
    taken = queue.next(most_rows)
    queue.served(taken, seconds)
    for ticket in taken:
        queue.end(ticket)
    return taken


def order(queue, seconds, count):
    return "".join(serve(queue, seconds)[0].tenant for _ in range(count))


def test_first_come_first_served():
    queue = RequestQueue(capacity=3, servers=1)
    tickets = [queue.admit() for _ in range(3)]
    assert [queue.next() for _ in range(4)] == [*((ticket,) for ticket in tickets), ()]


def test_a_full_queue_refuses_and_says_when_to_come_back():
    queue = RequestQueue(capacity=2, servers=1)
    queue.admit()
    queue.admit()
    with pytest.raises(ServerBusy, match="2 requests are waiting") as caught:
        queue.admit()
    assert caught.value.retry_after >= 1
    assert len(queue) == 2


def test_what_is_cancelled_makes_room_and_is_not_served():
    queue = RequestQueue(capacity=1, servers=1)
    ticket = queue.admit()
    assert queue.cancel(ticket)
    assert not queue.cancel(ticket)
    assert queue.next() == ()
    taken = queue.admit()
    assert queue.next() == (taken,)
    assert not queue.cancel(taken)


def test_the_wait_is_estimated_from_what_was_served():
    queue = RequestQueue(capacity=100, servers=2)
    tickets = [queue.admit() for _ in range(20)]
    for _ in range(100):
        queue.learn(tickets[:1], 4.0)
    assert 15 <= queue.retry_after() <= 25  # half of 21, four seconds each, on two devices
    for _ in range(100):
        queue.learn(tickets[:1], 1000.0)
    assert queue.retry_after() == 60.0


class TestCompany:
    def test_requests_of_one_kind_are_taken_together_and_no_one_is_passed_over(self):
        queue = RequestQueue(capacity=20, servers=1)
        a, b = [queue.admit("a") for _ in range(3)], [queue.admit("b") for _ in range(2)]
        other, last = queue.admit(), queue.admit("a")
        assert queue.next(16) == (*a, last)
        assert queue.next(16) == tuple(b)
        assert queue.next(16) == (other,)
        assert queue.next(16) == ()

    def test_a_batch_is_bounded_in_rows_and_keeps_its_order(self):
        queue = RequestQueue(capacity=20, servers=1)
        tickets = [queue.admit("a", rows) for rows in (5, 4, 8, 1)]
        assert queue.next(10) == tuple(tickets[:2])
        assert queue.next(10) == tuple(tickets[2:])
        large, small = queue.admit("a", 100), queue.admit("a")
        assert queue.next(10) == (large,)
        assert queue.next(10) == (small,)

    def test_what_is_cancelled_joins_no_batch(self):
        queue = RequestQueue(capacity=20, servers=1)
        tickets = [queue.admit("a") for _ in range(3)]
        queue.cancel(tickets[1])
        assert queue.next(10) == (tickets[0], tickets[2])

    def test_a_tenants_own_come_first_and_others_pay_for_their_rows(self):
        queue = RequestQueue(capacity=20, servers=1)
        first = queue.admit("k", tenant="a")
        others = [queue.admit("k", 3, tenant="b") for _ in range(2)]
        own = queue.admit("k", tenant="a")
        taken = queue.next(5)
        assert taken == (first, own, others[0])
        queue.served(taken, 10.0)
        assert (queue.clock("a"), queue.clock("b")) == (4.0, 6.0)

    def test_nobody_is_taken_along_beyond_its_own_limit(self):
        queue = RequestQueue(20, 1, shares(b=Share(most_running=1)))
        queue.admit("k", tenant="a")
        b = [queue.admit("k", tenant="b") for _ in range(3)]
        assert queue.next(16)[1:] == (b[0],)
        assert queue.next(16) == ()
        queue.end(b[0])
        assert queue.next(16) == (b[1],)

    @pytest.mark.parametrize(("others", "first", "last"), [(False, 39, 197), (True, 4, 17)])
    def test_a_batch_is_no_longer_than_others_can_wait_for(self, others, first, last):
        queue = RequestQueue(capacity=10**5, servers=1)
        if others:
            queue.admit(tenant="other")
        tickets = [queue.admit("k", cost="c") for _ in range(10**4)]
        if others:
            queue.next()
        assert queue.next(256) == (tickets[0],)  # what was never measured is by itself
        queue.learn(tickets[:1], 0.005)
        assert len(queue.next(256)) == first
        for _ in range(30):  # one millisecond each, and three for all of them together
            taken = queue.next(256)
            queue.learn(taken, 0.003 + 0.001 * len(taken))
        assert abs(len(taken) - last) <= 1

    def test_in_a_batch_too_a_higher_priority_comes_first(self):
        queue = RequestQueue(capacity=20, servers=1)
        low = [queue.admit("k") for _ in range(2)]
        high = [queue.admit("k", priority=1) for _ in range(2)]
        assert queue.next(3) == (*high, low[0])


class TestTenants:
    def test_equal_tenants_take_turns_whoever_came_first(self):
        queue = RequestQueue(100, 1)
        for tenant in "aaaaaaaabbb":
            queue.admit(tenant=tenant)
        assert order(queue, 1.0, 6) == "ababab"

    def test_what_counts_is_seconds_not_requests(self):
        queue = RequestQueue(100, 1)
        for _ in range(20):
            queue.admit(tenant="heavy", cost="h")
            queue.admit(tenant="light", cost="l")
        seconds = {"heavy": 0.0, "light": 0.0}
        for _ in range(15):
            taken = queue.next()
            took = 4.0 if taken[0].tenant == "heavy" else 1.0
            seconds[taken[0].tenant] += took
            queue.served(taken, took)
            queue.learn(taken, took)
        assert abs(seconds["heavy"] - seconds["light"]) <= 4.0

    def test_weights(self):
        queue = RequestQueue(1000, 1, shares(a=Share(weight=3.0)))
        for tenant in "ab" * 100:
            queue.admit(tenant=tenant)
        found = order(queue, 1.0, 100)
        assert abs(found.count("a") - 75) <= 1

    def test_a_weight_that_is_changed_counts_for_those_that_wait_already(self):
        known = {"a": Share()}
        queue = RequestQueue(1000, 1, lambda tenant: known.get(tenant, Share()))
        for tenant in "ab" * 100:
            queue.admit(tenant=tenant)
        known["a"] = Share(weight=3.0)
        queue.admit(tenant="a")
        assert abs(order(queue, 1.0, 100).count("a") - 75) <= 1

    def test_who_comes_back_has_saved_nothing_up(self):
        queue = RequestQueue(1000, 1)
        for _ in range(100):
            queue.admit(tenant="busy")
        queue.admit(tenant="idle")
        order(queue, 1.0, 50)
        for _ in range(50):
            queue.admit(tenant="idle")
        assert abs(order(queue, 1.0, 20).count("idle") - 10) <= 1

    def test_who_had_the_devices_while_nobody_wanted_them_owes_nothing(self):
        queue = RequestQueue(1000, 1)
        queue.admit(tenant="busy")
        serve(queue, 100.0)
        for tenant in ["new", "busy"] * 20:
            queue.admit(tenant=tenant)
        assert abs(order(queue, 1.0, 20).count("busy") - 10) <= 1

    def test_a_burst_on_many_devices_does_not_run_ahead_of_what_it_will_cost(self):
        queue = RequestQueue(1000, 4)
        for _ in range(50):
            queue.admit(tenant="burst")
        begun = [queue.next()[0] for _ in range(2)]
        for _ in range(50):
            queue.admit(tenant="other")
        begun += [queue.next()[0] for _ in range(2)]
        assert [ticket.tenant for ticket in begun] == ["burst"] * 2 + ["other"] * 2

    def test_an_estimate_that_was_far_too_high_is_given_back(self):
        queue = RequestQueue(1000, 2)
        for _ in range(5):
            queue.learn((queue.admit(tenant="a", cost="c"),), 100.0)
        begun = [queue.next() for _ in range(2)]
        for _ in range(20):
            queue.admit(tenant="b")
            queue.admit(tenant="a")
        for taken in begun:
            queue.served(taken, 0.01)
        assert abs(order(queue, 1.0, 20).count("a") - 10) <= 2

    def test_priority_is_among_the_requests_of_one_tenant(self):
        queue = RequestQueue(100, 1)
        low = queue.admit(tenant="a")
        high = queue.admit(tenant="a", priority=9)
        other = [queue.admit(tenant="b", priority=-9) for _ in range(2)]
        assert [serve(queue, 1.0)[0] for _ in range(4)] == [high, other[0], low, other[1]]

    def test_no_more_run_than_a_tenant_may(self):
        queue = RequestQueue(100, 4, shares(a=Share(most_running=2)))
        a = [queue.admit(tenant="a") for _ in range(4)]
        assert [queue.next() for _ in range(3)] == [(a[0],), (a[1],), ()]
        queue.end(a[0])
        assert queue.next() == (a[2],)

    def test_what_is_put_back_is_next_alone_and_was_not_counted_twice(self):
        queue = RequestQueue(100, 1, shares(a=Share(most_running=2)))
        a = [queue.admit("k", tenant="a") for _ in range(3)]
        taken = queue.next(16)
        assert taken == tuple(a[:2])
        queue.served(taken, 1.0)
        queue.put_back(taken[0])
        assert queue.next(16) == (a[0],)
        assert queue.next(16) == ()

    def test_where_a_request_stands(self):
        queue = RequestQueue(100, 1, shares(b=Share(weight=2.0)))
        a = [queue.admit(tenant="a", seconds=1.0) for _ in range(3)]
        for _ in range(50):
            queue.admit(tenant="b", seconds=1.0)
        assert queue.position(a[0]).requests == 2
        assert queue.position(a[2]).requests == 2 + 6
        assert queue.position(a[2]).seconds == 2 + 6
        assert queue.ahead("a").requests == 3 + 8
        queue.cancel(a[2])
        assert queue.position(a[2]) is None


class TestFlood:
    def test_others_always_find_room(self):
        queue = RequestQueue(10, 1)
        for _ in range(10):
            queue.admit(tenant="flood")
        with pytest.raises(ServerBusy):
            queue.admit(tenant="flood")
        for _ in range(5):
            queue.admit(tenant="other")
        for tenant in ("flood", "other"):
            with pytest.raises(TooManyRequests, match="its part of the 10") as caught:
                queue.admit(tenant=tenant)
            assert caught.value.retry_after >= 1
        for tenant in range(20):
            queue.admit(tenant=str(tenant))
        assert queue.retry_after("flood") >= queue.retry_after("3")

    def test_a_tenants_own_limit(self):
        queue = RequestQueue(10, 1, shares(a=Share(most_waiting=2)))
        queue.admit(tenant="a")
        queue.admit(tenant="a")
        with pytest.raises(TooManyRequests, match="as many as it may"):
            queue.admit(tenant="a")
        queue.admit(tenant="b")


def test_thousands_of_tenants_and_of_requests_are_served_to_the_last():
    queue = RequestQueue(10**6, 4)
    waiting = {queue.admit(f"kind {n % 7}", tenant=f"t{n % 1500}", priority=n % 3) for n in range(6000)}
    for ticket in list(waiting)[::5]:
        queue.cancel(ticket)
        waiting.remove(ticket)
    while taken := queue.next(8):
        queue.served(taken, 0.001 * len(taken))
        for ticket in taken:
            queue.end(ticket)
            waiting.remove(ticket)
    assert not waiting
    assert len(queue) == 0
