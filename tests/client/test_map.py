"""client.map: the order, how many calls are on their way, whose error is raised, what is left behind."""

import asyncio
import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

import farfunc
from farfunc import _connection, _session, _sockets
from farfunc_protocol.arrays import Array
from farfunc_protocol.errors import EvaluationError, FunctionNotFound, ServerBusy
from farfunc_protocol.messages import BINARY_MEDIA_TYPE, EvaluateResponse, decode_request, encode_response
from support.raw_servers import raw_server, read_request, respond

pytestmark = pytest.mark.thin


class Stub:
    """Answers every evaluation with the sine of its first argument.

    Attributes
    ----------
    before:
        Called with that argument; returns an error to answer with, or None.
    most:
        How many requests it had at once.
    """

    def __init__(self, before=lambda x: None):
        self.before = before
        self.now = self.most = self.asked = self.uploads = 0
        self.known = set()
        self.lock = threading.Lock()

    def __call__(self, connection, number):
        while request := read_request(connection):
            respond(connection, *self.answer(request))

    def answer(self, request):
        head, _, body = request.partition(b"\r\n\r\n")
        if b"/v1/functions" in head:
            with self.lock:
                self.uploads += 1
                self.known.add("all")
            info = {"id": "sha256:" + "0" * 64, "name": None, "version": None, "signature": "", "outputs": []}
            return 201, json.dumps(info).encode(), "application/json"
        if not self.known:
            return self.problem(FunctionNotFound("no such function"))
        with self.lock:
            self.now, self.asked = self.now + 1, self.asked + 1
            self.most = max(self.most, self.now)
        try:
            x = decode_request(body).arrays[0].data
            error = self.before(x)
            if error is not None:
                return self.problem(error)
            content = b"".join(encode_response(EvaluateResponse((Array.from_numpy(np.sin(x)),))))
            return 200, content, BINARY_MEDIA_TYPE
        finally:
            with self.lock:
                self.now -= 1

    @staticmethod
    def problem(error):
        return error.status, json.dumps(error.to_problem()).encode(), "application/problem+json"


class Together:
    """Waits until so many calls are there at once; the first, which goes alone, passes."""

    def __init__(self, count):
        self.barrier = threading.Barrier(count)

    def __call__(self, x):
        if x[0] > 0:
            self.barrier.wait(30)


ITEMS = [np.array([float(number), 1.0]) for number in range(9)]


def sync(url, *args, transport=None, **options):
    with farfunc.Client(url, transport=transport) as client:
        return list(client.map(*args, **options))


def asynchronous(url, *args, **options):
    async def main():
        async with farfunc.AsyncClient(url) as client:
            return [result async for result in client.map(*args, **options)]

    return asyncio.run(main())


@pytest.fixture(params=[sync, asynchronous])
def mapped(request):
    return request.param


def test_results_come_in_order_and_the_function_is_sent_once(mapped):
    stub = Stub()
    with raw_server(stub) as url:
        results = mapped(url, np.sin, ITEMS)
    np.testing.assert_array_equal(results, np.sin(ITEMS))
    assert (stub.uploads, stub.asked) == (1, len(ITEMS))


def test_calls_are_on_their_way_at_once(mapped):
    """The stub answers none of four before it has them all; no more are there at a time."""
    stub = Stub(Together(4))
    with raw_server(stub) as url:
        np.testing.assert_array_equal(mapped(url, np.sin, ITEMS, concurrency=4), np.sin(ITEMS))
    assert stub.most == 4


def test_one_at_a_time(mapped):
    stub = Stub()
    with raw_server(stub) as url:
        np.testing.assert_array_equal(mapped(url, np.sin, ITEMS, concurrency=1), np.sin(ITEMS))
    assert stub.most == 1


def test_more_than_there_are_connections(mapped, monkeypatch):
    monkeypatch.setattr(_sockets, "LIMITS", _sockets.Limits(connections=3))
    stub = Stub()
    with raw_server(stub) as url:
        np.testing.assert_array_equal(mapped(url, np.sin, ITEMS), np.sin(ITEMS))
    assert stub.most <= 3


def test_several_arguments_end_with_the_shortest(mapped):
    with raw_server(Stub()) as url:
        results = mapped(url, lambda x, y: np.sin(x) + 0 * y, ITEMS, [1.0, 2.0, 3.0])
    assert len(results) == 3


def test_nothing(mapped):
    with raw_server(Stub()) as url:
        assert mapped(url, np.sin, []) == []


def test_an_error_is_raised_in_its_turn_and_names_the_item():
    stub = Stub(lambda x: EvaluationError("it is five", where="equations[0]") if x[0] == 5 else None)
    with raw_server(stub) as url, farfunc.Client(url) as client:
        results = client.map(np.sin, ITEMS)
        for number in range(5):
            np.testing.assert_array_equal(next(results), np.sin(ITEMS[number]))
        with pytest.raises(EvaluationError, match="it is five") as caught:
            next(results)
        assert caught.value.where.startswith("items[5]: ")
        assert list(results) == []
        np.testing.assert_array_equal(list(client.map(np.sin, ITEMS[:3])), np.sin(ITEMS[:3]))


def test_an_asynchronous_error_is_raised_in_its_turn():
    stub = Stub(lambda x: EvaluationError("it is five") if x[0] == 5 else None)

    seen = []

    async def main(url):
        async with farfunc.AsyncClient(url) as client:
            async for result in client.map(np.sin, ITEMS):
                seen.append(result)

    with raw_server(stub) as url, pytest.raises(EvaluationError, match="it is five") as caught:
        asyncio.run(main(url))
    assert caught.value.where.startswith("items[5]")
    np.testing.assert_array_equal(seen, np.sin(ITEMS[:5]))


@pytest.mark.parametrize("kind", ["function", "iterable"])
def test_the_users_own_error_comes_after_the_results_before_it(kind):
    def f(x):
        if x.shape == (3,):
            raise ZeroDivisionError("mine")
        return np.sin(x)

    def items():
        yield from ITEMS[:4]
        if kind == "iterable":
            raise ZeroDivisionError("mine")
        yield np.zeros(3)

    with raw_server(Stub()) as url, farfunc.Client(url) as client:
        results = client.map(f, items())
        for number in range(4):
            np.testing.assert_array_equal(next(results), np.sin(ITEMS[number]))
        with pytest.raises(ZeroDivisionError, match="mine") as caught:
            next(results)
    assert getattr(caught.value, "__notes__", []) == (["in items[4] of map"] if kind == "function" else [])


def test_a_busy_server_is_asked_again():
    refused = set()

    def before(x):
        if x[0] % 2 and x[0] not in refused:
            refused.add(x[0])
            return ServerBusy("full", retry_after=0)
        return None

    class Busy(Stub):
        def __call__(self, connection, number):
            while request := read_request(connection):
                respond(connection, *self.answer(request), retry_after="0")

    with raw_server(Busy(before)) as url:
        np.testing.assert_array_equal(sync(url, np.sin, ITEMS), np.sin(ITEMS))
    assert len(refused) == 4


def test_items_that_are_one_array_with_other_values(mapped):
    """As with the builtin: what an item holds when it is taken is what counts, also where it is sent again."""
    refused = []

    def before(x):
        if x[0] == 2 and not refused:
            refused.append(x[0])
            return ServerBusy("full", retry_after=0)

    class Busy(Stub):
        def __call__(self, connection, number):
            while request := read_request(connection):
                respond(connection, *self.answer(request), retry_after="0")

    def items():
        item = np.empty(2)
        for number in range(9):
            item[:] = number
            yield item

    with raw_server(Busy(before)) as url:
        results = mapped(url, np.sin, items())
    np.testing.assert_array_equal(results, [np.sin([number, number]) for number in range(9)])
    assert refused


def test_connections_that_break_are_made_again():
    class Breaking(Stub):
        def __call__(self, connection, number):
            for _ in range(2):
                if request := read_request(connection):
                    respond(connection, *self.answer(request))
            read_request(connection)

    with raw_server(Breaking()) as url:
        np.testing.assert_array_equal(sync(url, np.sin, ITEMS), np.sin(ITEMS))


def test_who_stops_early_leaves_nothing_behind():
    with raw_server(Stub()) as url, farfunc.Client(url) as client:
        results = client.map(np.sin, iter(ITEMS * 100))
        next(results)
        next(results)
        assert len(client._connection._pool._open) > 1
        results.close()
        pool = client._connection._pool
        assert set(pool._open) == set(pool._idle)  # whose answers were read
        np.testing.assert_array_equal(list(client.map(np.sin, ITEMS)), np.sin(ITEMS))


def test_it_takes_no_more_items_than_are_on_their_way():
    taken = []

    def items():
        for number in range(10**9):
            taken.append(number)
            yield ITEMS[0] + number

    with raw_server(Stub()) as url, farfunc.Client(url) as client:
        results = client.map(np.sin, items(), concurrency=4)
        assert taken == []
        next(results)
        assert len(taken) == 1
        next(results)
        assert len(taken) <= 2 * 4 + 1
        results.close()


def test_a_slow_call_does_not_hold_up_those_behind_it(mapped):
    """The second is answered when others have been that were not sent yet when it was."""
    others = threading.Semaphore(0)

    def before(x):
        if x[0] == 1:
            for _ in range(5):
                others.acquire(timeout=30)
        elif x[0] > 1:
            others.release()

    with raw_server(Stub(before)) as url:
        np.testing.assert_array_equal(mapped(url, np.sin, ITEMS, concurrency=3), np.sin(ITEMS))


def test_a_server_that_falls_silent():
    end = threading.Event()
    stub = Stub(lambda x: end.wait(30) and None if x[0] == 2 else None)
    with raw_server(stub) as url, farfunc.Client(url) as client:
        results = client.map(np.sin, ITEMS[:4], concurrency=2)
        client._session.timeout = 0.2 - _session._GRACE_SECONDS
        try:
            np.testing.assert_array_equal([next(results), next(results)], np.sin(ITEMS[:2]))
            with pytest.raises(farfunc.TimeLimitExceeded, match="silent for") as caught:
                next(results)
            assert caught.value.where == "items[2]"
        finally:
            end.set()


def test_threads_that_map_share_the_connections(monkeypatch):
    """No two wait for connections that the other holds."""
    monkeypatch.setattr(_sockets, "LIMITS", _sockets.Limits(connections=4))
    with raw_server(Stub()) as url, farfunc.Client(url) as client, ThreadPoolExecutor(4) as threads:
        futures = [threads.submit(lambda: list(client.map(np.sin, ITEMS * 5))) for _ in range(4)]
        for future in futures:
            np.testing.assert_array_equal(future.result(30), np.sin(ITEMS * 5))


@pytest.mark.parametrize("through_httpx", [False, True])
def test_a_fork_in_the_middle(monkeypatch, through_httpx):
    """Both go on: the answers on their way are the parent's, and so are the threads that wait for them."""
    answer = threading.Event()

    def before(x):
        if x[0] > 1:
            answer.wait(30)

    monkeypatch.setattr(_connection, "_needs_httpx", lambda *_: through_httpx)
    with raw_server(Stub(before)) as url, farfunc.Client(url, timeout=20.0) as client:
        results = client.map(np.sin, ITEMS[:5], concurrency=4)
        np.testing.assert_array_equal([next(results), next(results)], np.sin(ITEMS[:2]))
        child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.alarm(20)
                np.testing.assert_array_equal(list(results), np.sin(ITEMS[2:5]))
                status = 0
            finally:
                os._exit(status)
        answer.set()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        np.testing.assert_array_equal(list(results), np.sin(ITEMS[2:5]))


def test_an_asynchronous_call_is_of_the_arrays_as_they_were():
    async def main(url):
        async with farfunc.AsyncClient(url) as client:
            x = np.zeros(2)
            first = client.vmap(np.sin)(x)
            x[:] = 1.0
            return await first

    with raw_server(Stub()) as url:
        np.testing.assert_array_equal(asyncio.run(main(url)), np.zeros(2))


def test_through_a_transport_of_the_users_own():
    stub = Stub()

    def handle(request):
        status, content, media_type = stub.answer(f"POST {request.url.path}\r\n\r\n".encode() + request.content)
        return httpx.Response(status, content=content, headers={"content-type": media_type})

    results = sync("http://gpu", np.sin, ITEMS, transport=httpx.MockTransport(handle))
    np.testing.assert_array_equal(results, np.sin(ITEMS))


def test_a_function_that_writes_goes_alone():
    """The next one may read what it has written."""
    written = []

    def f(x):
        x[0] = 0.0
        return np.sin(x)

    class Writing(Stub):
        def answer(self, request):
            if b"/v1/evaluate" not in request or not self.known:
                return super().answer(request)
            x = decode_request(request.partition(b"\r\n\r\n")[2]).arrays[0].data
            written.append(float(x[0]))
            arrays = (Array.from_numpy(np.sin(x)), Array.from_numpy(x + 1))
            return 200, b"".join(encode_response(EvaluateResponse(arrays))), BINARY_MEDIA_TYPE

    x = np.zeros(2)
    with raw_server(Writing()) as url:
        sync(url, f, [x] * 4)
    assert written == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, True, "4", None, 10**6])
def test_a_concurrency_is_a_number_of_calls(concurrency):
    with farfunc.Client("http://127.0.0.1:1") as client, pytest.raises(farfunc.InvalidRequest, match="concurrency is"):
        client.map(np.sin, [1.0], concurrency=concurrency)


def test_what_cannot_be_iterated_is_a_type_error_at_once():
    with farfunc.Client("http://127.0.0.1:1") as client, pytest.raises(TypeError, match="not iterable"):
        client.map(np.sin, 5)
