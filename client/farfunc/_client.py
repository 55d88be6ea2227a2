"""Clients: torch.func's transforms on one server.

A client runs the conversation of :mod:`farfunc._session` over a connection. Which client serves a
call that names none is decided in :mod:`farfunc._default_client`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from farfunc_protocol.arrays import Array
from farfunc_protocol.graph import Function
from farfunc_protocol.transforms import FlatTransform

from ._address import Address
from ._connection import AsyncConnection, Connection, Deferred
from ._default_address import default_address
from ._functions import FunctionHandle, trace_for_registration
from ._map import DEFAULT_CONCURRENCY, check_concurrency, map_async, map_calls
from ._memory import as_they_are
from ._session import FunctionInfo, Session
from ._transforms import Transforms

if TYPE_CHECKING:
    import httpx

__all__ = ["DEFAULT_TIMEOUT", "AsyncClient", "Client"]

DEFAULT_TIMEOUT = 300.0
"""Seconds that one evaluation may take."""


def _address(url: str | None, token: str | None) -> Address:
    if url is None:
        found = default_address()
        return found if token is None else Address.parse(found.url, token)
    return Address.parse(url, os.environ.get("FARFUNC_TOKEN") if token is None else token)


class Client(Transforms):
    """A connection to a farfunc server, with torch.func's transforms as methods.

    Any number of threads may use it, and a forked process makes connections of its own.

    Parameters
    ----------
    url:
        ``http://host:port``, or ``unix:///path/of/a/socket`` on this machine; None for the server of calls that
        name none (:func:`farfunc.current_client`).
    token:
        Sent as a bearer token; None for the variable ``FARFUNC_TOKEN``.
    timeout:
        Seconds that one evaluation may take, on the server too; None for the server's limit.
    compress:
        Whether arrays travel compressed (zstd), which pays where the network is slower than a few hundred
        megabits per second. Needs ``pip install 'farfunc[zstd]'``.
    transport:
        An httpx transport to use instead of the network, for tests.

    Raises
    ------
    ConnectionFailed
        If ``url`` is no URL. Whether a server answers there is seen at the first call.
    InvalidRequest
        If it is to compress, and the package for it is not installed.

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
        compress: bool = False,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.address = _address(url, token)
        self._session = Session(timeout=timeout, compress=compress)
        self._connection = Connection(self.address, transport)

    def __repr__(self) -> str:
        return f"<farfunc client of {self.url}{', closed' if self.is_closed else ''}>"

    @property
    def url(self) -> str:
        """The URL of the server."""
        return self.address.url

    @property
    def is_closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._connection.is_closed

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

    def map(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        *iterables: Iterable[Any],
        concurrency: int = DEFAULT_CONCURRENCY,
    ) -> Iterator[Any]:
        """Call a function with each item, with several calls on their way at once.

        As the builtin ``map``: results come in the order of the items, nothing is called before the first is
        asked for, and the shortest iterable ends it. The calls are independent, so that functions and shapes
        that ``vmap`` cannot take will do; where it can, ``vmap`` is one call, and faster.

        Parameters
        ----------
        func:
            What a transform has returned; of another function its value is computed. The handle of a registered
            function is one, too.
        iterable, iterables:
            One for each argument.
        concurrency:
            How many calls may be on their way. At most twice as many items are taken ahead of the next result.

        Yields
        ------
        result:
            That of each call. Where one fails, its error is raised in its turn, and names the item:
            ``items[3]``. What comes after it is not waited for.

        >>> import numpy as np
        >>> import farfunc
        >>> with farfunc.Client() as client:
        ...     for gradient in client.map(client.grad(lambda x: x**3), [1.0, 2.0]):
        ...         print(gradient)
        3.0
        12.0
        """
        limit = check_concurrency(concurrency)
        return map_calls(func, tuple(map(iter, (iterable, *iterables))), self._later, limit)

    def _later(self, question: Mapping[str, Any]) -> Deferred[list[Array]]:
        own = {**question, "arrays": as_they_are(question["arrays"])}
        return self._connection.later(self._session.evaluate(**own))

    def register(
        self, function: Callable[..., Any], *example_args: Any, name: str | None = None, **example_kwargs: Any
    ) -> FunctionHandle:
        """Trace a function for arguments like the examples, and store it on the server.

        Parameters
        ----------
        function:
            What could be given to a transform.
        example_args, example_kwargs:
            Arrays whose dtypes and shapes, not values, fix the signature. An argument that is
            itself called ``name`` cannot be given by keyword.
        name:
            A name; if it exists and the function differs, this becomes its next version.
        """
        traced, outputs = trace_for_registration(function, example_args, example_kwargs)
        info = self._connection.run(self._session.upload(traced, name))
        return FunctionHandle(self, info, traced, outputs)

    def function(self, reference: str) -> FunctionHandle:
        """The handle of a registered function: ``"arm"`` (its latest version), ``"arm@3"`` or its identity.

        Raises
        ------
        FunctionNotFound
        """
        info, stored = self._connection.run(self._session.fetch(reference))
        return FunctionHandle(self, info, stored, info.outputs)

    def describe(self, reference: str) -> FunctionInfo:
        """What the server knows of a registered function: its size, names and versions, operators, cost.

        Raises
        ------
        FunctionNotFound
        """
        return self._connection.run(self._session.describe(reference))

    def functions(self) -> list[FunctionInfo]:
        """All named functions on the server, in the order of names and versions."""
        return self._connection.run(self._session.list())

    def delete(self, reference: str) -> None:
        """Delete a version (``"arm@3"``), a name with all its versions, or an identity."""
        self._connection.run(self._session.delete(reference))

    def download(self, reference: str) -> Function:
        """A registered function's graph and constants."""
        return self._connection.run(self._session.download(reference))

    def greet(self) -> None:
        """See whether a farfunc server answers, and takes the token.

        Raises
        ------
        ConnectionFailed, Unauthorized
        """
        self._connection.run(self._session.greet())

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
        compress: bool = False,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.address = _address(url, token)
        self._session = Session(timeout=timeout, compress=compress)
        self._connection = AsyncConnection(self.address, transport)

    def __repr__(self) -> str:
        return f"<farfunc client of {self.url}, asynchronous{', closed' if self.is_closed else ''}>"

    @property
    def url(self) -> str:
        """The URL of the server."""
        return self.address.url

    @property
    def is_closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._connection.is_closed

    def evaluate(
        self,
        function: Function,
        transforms: Sequence[FlatTransform],
        arrays: Sequence[Array],
        seed: int | None = None,
        captures: Mapping[int, Array] | None = None,
        generator: Array | None = None,
    ) -> Awaitable[list[Array]]:
        """Evaluate a traced function (:class:`farfunc._evaluator.Evaluator`): what each transform comes down to.

        With the arrays as they are now, not when it is awaited.
        """
        own = as_they_are(arrays)
        return self._connection.run(self._session.evaluate(function, transforms, own, seed, captures, generator))

    def map(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        *iterables: Iterable[Any],
        concurrency: int = DEFAULT_CONCURRENCY,
    ) -> AsyncIterator[Any]:
        """Call a function with each item, with several calls on their way at once: for ``async for``.

        Parameters are those of :meth:`Client.map`, and so is what it yields.

        >>> import asyncio
        >>> import farfunc
        >>> async def main():
        ...     async with farfunc.AsyncClient() as client:
        ...         async for gradient in client.map(client.grad(lambda x: x**3), [1.0, 2.0]):
        ...             print(gradient)
        >>> asyncio.run(main())
        3.0
        12.0
        """
        limit = check_concurrency(concurrency)
        return map_async(func, tuple(map(iter, (iterable, *iterables))), self, limit)

    async def register(
        self, function: Callable[..., Any], *example_args: Any, name: str | None = None, **example_kwargs: Any
    ) -> FunctionHandle:
        """Trace a function for arguments like the examples, and store it on the server."""
        traced, outputs = trace_for_registration(function, example_args, example_kwargs)
        info = await self._connection.run(self._session.upload(traced, name))
        return FunctionHandle(self, info, traced, outputs)

    async def function(self, reference: str) -> FunctionHandle:
        """The handle of a registered function: ``"arm"`` (its latest version), ``"arm@3"`` or its identity."""
        info, stored = await self._connection.run(self._session.fetch(reference))
        return FunctionHandle(self, info, stored, info.outputs)

    async def describe(self, reference: str) -> FunctionInfo:
        """What the server knows of a registered function: its size, names and versions, operators, cost."""
        return await self._connection.run(self._session.describe(reference))

    async def functions(self) -> list[FunctionInfo]:
        """All named functions on the server, in the order of names and versions."""
        return await self._connection.run(self._session.list())

    async def delete(self, reference: str) -> None:
        """Delete a version (``"arm@3"``), a name with all its versions, or an identity."""
        await self._connection.run(self._session.delete(reference))

    async def download(self, reference: str) -> Function:
        """A registered function's graph and constants."""
        return await self._connection.run(self._session.download(reference))

    async def greet(self) -> None:
        """See whether a farfunc server answers, and takes the token."""
        await self._connection.run(self._session.greet())

    async def close(self) -> None:
        """Close the connections; the client cannot be used after it."""
        await self._connection.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
