"""Clients and a real server: threads, processes, event loops, tokens, servers that come and go."""

import asyncio
import os
import threading

import numpy as np
import pytest

import farfunc
from farfunc import _default_address
from support.environments import full_python
from support.serving import RunningServer

X = np.array([0.1, 0.2, 0.3])
DIAGONAL = np.diag(np.cos(X))


@pytest.fixture(autouse=True)
def _nothing_connected(monkeypatch):
    monkeypatch.setattr(_default_address, "_connected", None)
    for name in ("FARFUNC_URL", "FARFUNC_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def client(server_url):
    with farfunc.Client(server_url) as client:
        yield client


class TestWhere:
    def test_connect(self, server_url):
        with farfunc.connect(server_url) as client:
            np.testing.assert_allclose(farfunc.jacfwd(np.sin)(X), DIAGONAL)
            assert farfunc.current_client() is client

    def test_the_variable(self, server_url, monkeypatch):
        monkeypatch.setenv("FARFUNC_URL", server_url)
        np.testing.assert_allclose(farfunc.jacfwd(np.sin)(X), DIAGONAL)

    def test_a_client_s_own_transforms(self, client):
        np.testing.assert_allclose(client.jacfwd(np.sin)(X), DIAGONAL)
        np.testing.assert_allclose(client.jacrev(np.sin)(X), DIAGONAL)
        np.testing.assert_allclose(client.vmap(client.jacfwd(np.sin))(np.stack([X, X]))[1], DIAGONAL)
        _, vjp_fn = client.vjp(np.sin, X)
        np.testing.assert_allclose(vjp_fn(X)[0], np.cos(X) * X)
        _, jvp_fn = client.linearize(np.sin, X)
        np.testing.assert_allclose(jvp_fn(X), np.cos(X) * X)

    def test_one_client_named_within_a_chain_is_enough(self, client):
        np.testing.assert_allclose(farfunc.vmap(client.jacfwd(np.sin))(np.stack([X, X]))[0], DIAGONAL)

    def test_after_a_broken_call_the_next_one_works(self, client):
        with pytest.raises(farfunc.FarfuncError):
            client.grad(np.sin)(X)
        np.testing.assert_allclose(client.jacfwd(np.sin)(X), DIAGONAL)

    def test_a_wrong_path(self, server_url):
        with pytest.raises(farfunc.FarfuncError, match="there is nothing at '/elsewhere/v1/devices'"):
            farfunc.connect(f"{server_url}/elsewhere")


class TestMany:
    def test_threads(self, client):
        failed = []

        def work(number):
            try:
                for step in range(5):
                    x = X + number + step
                    np.testing.assert_allclose(client.jacfwd(np.sin)(x), np.diag(np.cos(x)))
            except BaseException as error:  # noqa: BLE001 - told by the test
                failed.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []

    def test_map(self, client):
        def of(x, scale):
            return scale * np.sin(x)

        given = [(np.full(count, 0.1 * count), float(count)) for count in range(1, 40)]
        for (x, scale), result in zip(given, client.map(client.jacfwd(of), *zip(*given, strict=True)), strict=True):
            np.testing.assert_allclose(result, scale * np.diag(np.cos(x)))
        with pytest.raises(RuntimeError) as caught:  # torch.func's own
            list(client.map(client.grad(np.sin), [X]))
        assert "items[0]" in f"{caught.value}{getattr(caught.value, '__notes__', '')}"

    def test_map_a_registered_function(self, client):
        handle = client.register(np.sin, X)
        results = list(client.map(handle.jacfwd(), [X + step for step in range(20)]))
        np.testing.assert_allclose(results, [np.diag(np.cos(X + step)) for step in range(20)])
        np.testing.assert_allclose(list(client.map(handle, [X, X + 1])), np.sin([X, X + 1]))

    def test_map_within_a_function(self, client):
        def total(x):
            return sum(client.map(np.sin, [x, 2 * x]))

        np.testing.assert_allclose(client.jacfwd(total)(X), np.diag(np.cos(X) + 2 * np.cos(2 * X)))

    def test_a_forked_process(self, client):
        np.testing.assert_allclose(client.jacfwd(np.sin)(X), DIAGONAL)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for _ in range(5):
                    np.testing.assert_allclose(client.jacfwd(np.sin)(X + 1), np.diag(np.cos(X + 1)))
                status = 0
            finally:
                os._exit(status)
        for _ in range(5):
            np.testing.assert_allclose(client.jacfwd(np.sin)(X), DIAGONAL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class TestAsync:
    def test_every_verb(self, server_url):
        async def main():
            async with farfunc.AsyncClient(server_url) as client:
                assert repr(client) == f"<farfunc client of {server_url}, asynchronous>"
                await client.greet()
                np.testing.assert_allclose(await client.jacfwd(np.sin)(X), DIAGONAL)
                np.testing.assert_allclose(await client.jacrev(np.sin)(X), DIAGONAL)
                np.testing.assert_allclose(await client.hessian(lambda x: (x**2).sum())(X), 2 * np.eye(3))
                np.testing.assert_allclose(await client.grad(lambda x: (x**2).sum())(X), 2 * X)
                gradient, value = await client.grad_and_value(lambda x: (x**2).sum())(X)
                np.testing.assert_allclose(gradient, 2 * X)
                np.testing.assert_allclose(value, (X**2).sum())
                np.testing.assert_allclose(await client.vmap(np.sin)(X), np.sin(X))
                output, tangent = await client.jvp(np.sin, (X,), (X,))
                np.testing.assert_allclose((output, tangent), (np.sin(X), np.cos(X) * X))
                output, vjp_fn = await client.vjp(np.sin, X)
                np.testing.assert_allclose((await vjp_fn(X))[0], np.cos(X) * X)
                output, jvp_fn = await client.linearize(np.sin, X)
                np.testing.assert_allclose(await jvp_fn(X), np.cos(X) * X)
                np.testing.assert_allclose(await client.vmap(client.jacfwd(np.sin))(X[None]), DIAGONAL[None])

        asyncio.run(main())

    def test_map(self, server_url):
        async def main():
            async with farfunc.AsyncClient(server_url) as client:
                return [row async for row in client.map(client.jacfwd(np.sin), (X + step for step in range(50)))]

        np.testing.assert_allclose(asyncio.run(main()), [np.diag(np.cos(X + step)) for step in range(50)])

    def test_handles(self, server_url):
        async def main():
            async with farfunc.AsyncClient(server_url) as client:
                handle = await client.register(np.sin, X, name="async_sine")
                assert (handle.name, handle.signature) == ("async_sine", "(float64[3]) -> float64[3]")
                again = await client.function("async_sine")
                assert again.id == handle.id
                np.testing.assert_allclose(await again(X), np.sin(X))
                np.testing.assert_allclose(await again.jacfwd()(X), DIAGONAL)
                np.testing.assert_allclose(await client.grad(lambda x: again(x).sum())(X), np.cos(X))
                assert "async_sine" in [info.name for info in await client.functions()]
                assert (await client.download("async_sine")).graph == handle.graph
                await client.delete("async_sine")
                with pytest.raises(farfunc.FunctionNotFound):
                    await client.function("async_sine")

        asyncio.run(main())

    def test_many_at_once(self, server_url):
        async def main():
            async with farfunc.AsyncClient(server_url) as client:
                jacobian = client.jacfwd(np.sin)
                results = await asyncio.gather(*(jacobian(X + step) for step in range(100)))
            for step, result in enumerate(results):
                np.testing.assert_allclose(result, np.diag(np.cos(X + step)))

        asyncio.run(main())

    def test_a_cancelled_call_leaves_the_client_usable(self, server_url):
        async def main():
            async with farfunc.AsyncClient(server_url) as client:
                jacobian = client.jacfwd(np.sin)
                await jacobian(X)
                tasks = [asyncio.create_task(jacobian(X)) for _ in range(20)]
                await asyncio.sleep(0)  # they are on their way
                for task in tasks[::2]:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
                assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])
                for result in results[1::2]:
                    np.testing.assert_allclose(result, DIAGONAL)
                np.testing.assert_allclose(await jacobian(X), DIAGONAL)

        asyncio.run(main())

    def test_an_error_is_raised_where_the_call_is_awaited(self, server_url):
        async def main():
            async with farfunc.AsyncClient(server_url) as client:
                with pytest.raises(farfunc.FunctionNotFound):
                    await client.function("nobody_registered_this")

        asyncio.run(main())

    def test_closed(self, server_url):
        async def main():
            async with farfunc.AsyncClient(server_url) as client:
                pass
            with pytest.raises(farfunc.ConnectionFailed, match="has been closed"):
                await client.jacfwd(np.sin)(X)

        asyncio.run(main())


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """The address of a server that wants the token "open"."""
    folder = tmp_path_factory.mktemp("guarded")
    with RunningServer(full_python(), folder, "--spare", "false", environment={"FARFUNC_TOKEN": "open"}) as server:
        yield server.url


class TestTokens:
    def test_the_right_one(self, guarded):
        with farfunc.connect(guarded, token="open") as client:
            np.testing.assert_allclose(farfunc.jacfwd(np.sin)(X), DIAGONAL)
            assert client.functions() == []

    def test_from_the_variable(self, guarded, monkeypatch):
        monkeypatch.setenv("FARFUNC_URL", guarded)
        monkeypatch.setenv("FARFUNC_TOKEN", "open")
        np.testing.assert_allclose(farfunc.jacfwd(np.sin)(X), DIAGONAL)

    @pytest.mark.parametrize(("token", "words"), [("shut", "not one that this server takes"), (None, "is missing")])
    def test_a_wrong_one_is_said_at_once(self, guarded, token, words):
        with pytest.raises(farfunc.Unauthorized, match=words) as caught:
            farfunc.connect(guarded, token=token)
        assert "FARFUNC_TOKEN" in caught.value.remedy
        with farfunc.Client(guarded, token=token) as client, pytest.raises(farfunc.Unauthorized):
            client.jacfwd(np.sin)(X)
