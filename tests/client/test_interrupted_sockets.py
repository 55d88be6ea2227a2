"""Connections over sockets whose user goes away in the middle: interrupts, cancelled tasks, forks, lost peers."""

import asyncio
import errno
import gc
import linecache
import os
import signal
import socket
import sys
import threading

import pytest

from farfunc import _async_sockets, _sockets
from farfunc._address import Address
from farfunc._connection import AsyncConnection, Connection
from farfunc._failures import Broken, Silent
from farfunc._retry import RetryPolicy, explain
from farfunc._session import HttpRequest
from support.raw_servers import raw_server, read_request, respond

pytestmark = pytest.mark.thin

AT_ONCE = RetryPolicy(pause=0.0)


def get(path="/v1/devices", **options):
    return HttpRequest("GET", path, **options)


def exchange(request):
    return (yield request)


class _Interrupted(BaseException):
    pass


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n12"])
def test_an_interrupt_leaves_no_half_answer_behind(part):
    """KeyboardInterrupt is such a thing: what a handler of a signal raises."""

    def answer(connection, number):
        while request := read_request(connection):
            if b"/slow" in request:
                connection.sendall(part)
                os.kill(os.getpid(), signal.SIGUSR1)
                interrupted.wait(30)
                connection.sendall(b"345")
            else:
                respond(connection, content=b"%d" % number)

    def interrupt(*_):
        raise _Interrupted

    interrupted = threading.Event()
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with raw_server(answer) as url:
            connection = Connection(Address(url))
            connection.run(exchange(get()))
            with pytest.raises(_Interrupted):
                connection.run(exchange(get("/slow")))
            interrupted.set()
            assert bytes(connection.run(exchange(get())).content) == b"1"
            assert len(connection._pool._open) == 1
            connection.close()
    finally:
        interrupted.set()
        signal.signal(signal.SIGUSR1, before)


def test_a_cancelled_task_leaves_no_half_answer_behind():
    begun = threading.Event()

    def answer(connection, number):
        while request := read_request(connection):
            if b"/slow" in request:
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n12")
                begun.set()
            else:
                respond(connection, content=b"%d" % number)

    async def main(url):
        connection = AsyncConnection(Address(url))
        await connection.run(exchange(get()))
        task = asyncio.create_task(connection.run(exchange(get("/slow"))))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        content = bytes((await connection.run(exchange(get()))).content)
        await connection.close()
        return content

    with raw_server(answer) as url:
        assert asyncio.run(main(url)) == b"1"


def test_a_forked_child_s_end_does_not_end_the_parents_connections():
    numbers = []

    def answer(connection, number):
        while read_request(connection):
            numbers.append(number)
            respond(connection)

    with raw_server(answer) as url:
        connection = Connection(Address(url))
        connection.run(exchange(get()))
        child = os.fork()
        if child == 0:
            status = 1
            try:
                connection.run(exchange(get()))
                connection.close()
                gc.collect()
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        connection.run(exchange(get()))
        connection.close()
    assert numbers == [0, 1, 0]


def test_a_peer_that_the_system_gives_up_is_a_broken_connection():
    """With no limit of ours to name: ETIMEDOUT is a TimeoutError, too."""

    class Unreachable:
        def recv_into(self, room):
            raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")

        def close(self):
            pass

    connection = _sockets._Connection(Address("http://127.0.0.1:1"))
    connection._socket = Unreachable()
    with pytest.raises(Broken, match="Connection timed out"):
        connection.receive()
    message = str(explain(Silent(), get(seconds=None), Address("http://gpu:1"), 1, False))
    assert "http://gpu:1 was silent" in message


def test_what_follows_an_answer_at_once_spoils_the_connection():
    """uvloop, for one, may read more than once before the task that waits goes on."""
    answers = [b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n" + b"%d" % number for number in range(3)]

    async def main():
        connection = _async_sockets._Connection()
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: connection, sock=ours)
        task = asyncio.create_task(connection.exchange(b"x", (), "GET", None))
        await asyncio.sleep(0)  # it has sent
        for data in answers[:2]:
            room = connection.get_buffer(-1)
            room[: len(data)] = data
            connection.buffer_updated(len(data))
        assert bytes((await task).body.content()) == b"0"
        connection.idle_since = loop.time()
        assert not connection.is_quiet(30.0)
        transport.abort()
        theirs.close()

    asyncio.run(main())


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of a socket whose connection was not made yet
def test_an_interrupt_anywhere_loses_no_place(monkeypatch):
    """Also between two lines of the pool's: what no one holds any more takes no one's place."""
    monkeypatch.setattr(_sockets, "LIMITS", _sockets.Limits(connections=1))

    def answer(connection, number):
        while read_request(connection):
            respond(connection)

    with raw_server(answer) as url:
        connection = Connection(Address(url), None, AT_ONCE)
        for number in range(1000):
            left = number

            def interrupt(frame, event, argument):
                nonlocal left
                line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).split()
                # Python handles no signal between the end of a with statement's body and the release of its lock.
                if frame.f_code.co_filename == _sockets.__file__ and event == "line" and line[0] != "with":
                    left -= 1
                    if left < 0:
                        sys.settrace(None)
                        frame.f_trace = None
                        raise KeyboardInterrupt
                return interrupt

            sys.settrace(interrupt)
            try:
                connection.run(exchange(get()))
                break
            except KeyboardInterrupt:
                pass
            finally:
                sys.settrace(None)
            gc.collect()
            assert connection.run(exchange(get(seconds=5.0))).status == 200, f"after an interrupt at line {number}"
        assert 20 < number < 999
        connection.close()
