"""Clients: where a call is computed.

A client runs the conversation of :mod:`farfunc._session` over a connection. The transforms of the
package (``farfunc.jacfwd``) use :func:`current_client`; a client has the same verbs as methods.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import httpx

from farfunc_protocol.arrays import Array
from farfunc_protocol.graph import Function
from farfunc_protocol.transforms import FlatTransform

from . import _local_server
from ._connection import AsyncConnection, Connection
from ._functions import FunctionHandle, trace_for_registration
from ._session import FunctionInfo, Session
from ._transforms import Transforms

__all__ = [
    "AsyncClient",
    "Client",
    "connect",
    "current_client",
    "delete",
    "function",
    "functions",
    "register",
]

DEFAULT_TIMEOUT = 300.0
"""Seconds that one evaluation may take."""


class Client(Transforms):
    """A connection to a farfunc server, with torch.func's transforms as methods.

    Parameters
    ----------
    url:
        ``http://host:port``; None for the variable ``FARFUNC_URL``.
    token:
        Sent as a bearer token; None for the variable ``FARFUNC_TOKEN``.
    timeout:
        Seconds that one evaluation may take, on the server too; None for the server's limit.
    transport:
        An httpx transport to use instead of the network, for tests.

    Raises
    ------
    ConnectionFailed
        If ``url`` is no URL. Whether a server answers there is seen at the first call.

    >>> import numpy as np
    >>> import farfunc
    >>> with farfunc.Client() as client:
    ...     client.jacfwd(np.sin)(np.zeros(2))
    array([[1., 0.],
           [0., 1.]])
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        url, token = _address(url, token)
        self._session = Session(timeout=timeout)
        self._connection = Connection(url, token=token, timeout=timeout, transport=transport)

    @property
    def url(self) -> str:
        """The address of the server."""
        return self._connection.url

    def evaluate(
        self,
        function: Function,
        transforms: Sequence[FlatTransform],
        arrays: Sequence[Array],
        seed: int | None = None,
        captures: Mapping[int, Array] | None = None,
        generator: Array | None = None,
    ) -> list[Array]:
        """Evaluate a traced function (:class:`farfunc._evaluator.Evaluator`): what each transform comes down to."""
        return self._connection.run(self._session.evaluate(function, transforms, arrays, seed, captures, generator))

    def register(
        self, function: Callable[..., Any], *example_args: Any, name: str | None = None, **example_kwargs: Any
    ) -> FunctionHandle:
        """Trace a function for arguments like the examples, and store it on the server.

        Parameters
        ----------
        function:
            What could be given to a transform.
        example_args, example_kwargs:
            Arrays whose dtypes and shapes, not values, fix the signature.
        name:
            A name; if it exists and the function differs, this becomes its next version.
        """
        traced = trace_for_registration(function, example_args, example_kwargs)
        info = self._connection.run(self._session.upload(self._session.encode(traced), name))
        return FunctionHandle(self, info, traced)

    def function(self, reference: str) -> FunctionHandle:
        """The handle of a registered function: ``"arm"``, ``"arm@3"`` or its identity.

        Raises
        ------
        FunctionNotFound
        """
        info = self._connection.run(self._session.describe(reference))
        return FunctionHandle(self, info, self.download(info.id))

    def functions(self) -> list[FunctionInfo]:
        """All named functions on the server."""
        return self._connection.run(self._session.list())

    def delete(self, reference: str) -> None:
        """Delete a version (``"arm@3"``), a name with all its versions, or an identity."""
        self._connection.run(self._session.delete(reference))

    def download(self, reference: str) -> Function:
        """A registered function's graph and constants."""
        return self._connection.run(self._session.download(reference))

    def close(self) -> None:
        """Close the connections; the client cannot be used after it."""
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(Transforms):
    """:class:`Client` for asyncio: the same verbs, whose calls are awaited.

    >>> import asyncio
    >>> import numpy as np
    >>> import farfunc
    >>> async def main():
    ...     async with farfunc.AsyncClient() as client:
    ...         return await client.grad(lambda x: (x**2).sum())(np.ones(2))
    >>> asyncio.run(main())
    array([2., 2.])
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        url, token = _address(url, token)
        self._session = Session(timeout=timeout)
        self._connection = AsyncConnection(url, token=token, timeout=timeout, transport=transport)

    @property
    def url(self) -> str:
        """The address of the server."""
        return self._connection.url

    async def evaluate(
        self,
        function: Function,
        transforms: Sequence[FlatTransform],
        arrays: Sequence[Array],
        seed: int | None = None,
        captures: Mapping[int, Array] | None = None,
        generator: Array | None = None,
    ) -> list[Array]:
        """Evaluate a traced function (:class:`farfunc._evaluator.Evaluator`): what each transform comes down to."""
        return await self._connection.run(
            self._session.evaluate(function, transforms, arrays, seed, captures, generator)
        )

    async def register(
        self, function: Callable[..., Any], *example_args: Any, name: str | None = None, **example_kwargs: Any
    ) -> FunctionHandle:
        """Trace a function for arguments like the examples, and store it on the server."""
        traced = trace_for_registration(function, example_args, example_kwargs)
        info = await self._connection.run(self._session.upload(self._session.encode(traced), name))
        return FunctionHandle(self, info, traced)

    async def function(self, reference: str) -> FunctionHandle:
        """The handle of a registered function: ``"arm"``, ``"arm@3"`` or its identity."""
        info = await self._connection.run(self._session.describe(reference))
        return FunctionHandle(self, info, await self.download(info.id))

    async def functions(self) -> list[FunctionInfo]:
        """All named functions on the server."""
        return await self._connection.run(self._session.list())

    async def delete(self, reference: str) -> None:
        """Delete a version (``"arm@3"``), a name with all its versions, or an identity."""
        await self._connection.run(self._session.delete(reference))

    async def download(self, reference: str) -> Function:
        """A registered function's graph and constants."""
        return await self._connection.run(self._session.download(reference))

    async def close(self) -> None:
        """Close the connections; the client cannot be used after it."""
        await self._connection.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


class _Default:
    """The client of calls that name none: connected, configured, or with a private server."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connected: Client | None = None
        self.configured: Client | None = None
        self.configuration: tuple[str | None, str | None] = (None, None)
        self.private: Client | None = None
        self.server: _local_server.LocalServer | None = None

    def get(self) -> Client:
        if self.connected is not None:
            return self.connected
        configuration = (os.environ.get("FARFUNC_URL"), os.environ.get("FARFUNC_TOKEN"))
        with self.lock:
            if configuration[0]:
                if self.configured is None or configuration != self.configuration:
                    self.configured, self.configuration = Client(), configuration
                return self.configured
            if self.private is None or self.server is None or not self.server.is_running:
                self.server = _local_server.LocalServer.start()
                self.private = Client(self.server.url, transport=httpx.HTTPTransport())
            return self.private


_default = _Default()


def _forget() -> None:
    """In a forked child: connections and locks are the parent's, the private server too."""
    global _default
    _default = _Default()


os.register_at_fork(after_in_child=_forget)


def connect(url: str, *, token: str | None = None, timeout: float | None = DEFAULT_TIMEOUT) -> Client:
    """Make ``url`` the server of all calls that name no client, and return its client.

    Parameters are those of :class:`Client`. The server must answer: what is wrong is said here
    and not at the first call.

    Raises
    ------
    ConnectionFailed
        If no farfunc server answers there.
    Unauthorized
        If the server does not take the token.
    """
    client = Client(url, token=token, timeout=timeout)
    try:
        client._connection.run(client._session.greet())
    except BaseException:
        client.close()
        raise
    _default.connected = client
    return client


def current_client() -> Client:
    """The client of calls that name none.

    In this order: that of :func:`connect`; the server that ``FARFUNC_URL`` (with
    ``FARFUNC_TOKEN``) names; where the server extra is installed, a private server, started now
    and stopped with this process.

    Raises
    ------
    ConnectionFailed
        If there is none of these.
    """
    return _default.get()


def register(
    function: Callable[..., Any], *example_args: Any, name: str | None = None, **example_kwargs: Any
) -> FunctionHandle:
    """Store a function on the server of :func:`current_client`; see :meth:`Client.register`.

    >>> import numpy as np
    >>> import farfunc
    >>> cube = farfunc.register(lambda x: x**3, np.zeros(2), name="cube")
    >>> farfunc.function("cube")(np.array([2.0, 3.0]))
    array([ 8., 27.])
    """
    return current_client().register(function, *example_args, name=name, **example_kwargs)


def function(reference: str) -> FunctionHandle:
    """The handle of a registered function; see :meth:`Client.function`."""
    return current_client().function(reference)


def functions() -> list[FunctionInfo]:
    """All named functions; see :meth:`Client.functions`."""
    return current_client().functions()


def delete(reference: str) -> None:
    """Delete a registered function; see :meth:`Client.delete`."""
    current_client().delete(reference)


def _address(url: str | None, token: str | None) -> tuple[str, str | None]:
    found = url or os.environ.get("FARFUNC_URL") or current_client().url
    return found, token if token is not None else os.environ.get("FARFUNC_TOKEN") or None
