"""The client of calls that name none, and the package's own functions that use it."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ._address import Address
from ._client import DEFAULT_TIMEOUT, Client
from ._default_address import default_address, set_connected
from ._functions import FunctionHandle
from ._job_session import JobInfo
from ._jobs import Job
from ._session import FunctionInfo
from ._transformed import peel
from ._transforms import Transforms

__all__ = [
    "connect",
    "current_client",
    "delete",
    "describe",
    "function",
    "functions",
    "job",
    "jobs",
    "register",
    "submit",
]

_REMEMBERED = 8
"""Clients that are kept for when a program changes ``FARFUNC_URL`` and goes back."""

_clients: OrderedDict[Address, Client] = OrderedDict()
_lock = threading.Lock()

_anyone = Transforms()
"""Evaluates with the current client of the moment: the server may be another one by then."""


def connect(
    url: str, *, token: str | None = None, timeout: float | None = DEFAULT_TIMEOUT, compress: bool = False
) -> Client:
    """Make ``url`` the server of all calls that name no client, and return its client.

    Parameters are those of :class:`Client`. The server must answer: what is wrong is said here
    and not at the first call. It holds until the client is closed, so ``with farfunc.connect(url):``
    is for a block.

    Raises
    ------
    ConnectionFailed
        If no farfunc server answers there.
    Unauthorized
        If the server does not take the token.
    """
    client = Client(url, token=token, timeout=timeout, compress=compress)
    try:
        client.greet()
    except BaseException:
        client.close()
        raise
    with _lock:
        _clients[client.address] = client
    set_connected(client)
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
    address = default_address()
    with _lock:
        client = _clients.get(address)
        if client is None or client.is_closed:
            client = _clients[address] = Client(address.url, token=address.token or "")
        _clients.move_to_end(address)
        if len(_clients) > _REMEMBERED:
            _clients.popitem(last=False)  # it closes its connections when nobody uses it any more
        return client


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
    return current_client().register(function, *example_args, name=name, **example_kwargs).bound_to(_anyone)


def function(reference: str) -> FunctionHandle:
    """The handle of a registered function; see :meth:`Client.function`."""
    return current_client().function(reference).bound_to(_anyone)


def describe(reference: str) -> FunctionInfo:
    """What the server knows of a registered function; see :meth:`Client.describe`.

    >>> import numpy as np
    >>> import farfunc
    >>> handle = farfunc.register(lambda x: np.sin(x) + np.sin(2 * x), np.zeros(2), name="described")
    >>> dict(farfunc.describe("described").operators)
    {'add.Tensor': 1, 'mul.Scalar': 1, 'sin': 2}
    """
    return current_client().describe(reference)


def functions() -> list[FunctionInfo]:
    """All named functions; see :meth:`Client.functions`."""
    return current_client().functions()


def submit(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Job:
    """Have a call computed by and by; see :meth:`Client.submit`.

    >>> import numpy as np
    >>> import farfunc
    >>> job = farfunc.submit(farfunc.hessian(lambda x: (x**3).sum()), np.array([1.0, 2.0]))
    >>> job.result(timeout=60)
    array([[ 6.,  0.],
           [ 0., 12.]])
    """
    return client_of(func).submit(func, *args, **kwargs)


def job(id: str) -> Job:
    """Attach to a job; see :meth:`Client.job`."""
    return current_client().job(id)


def jobs(state: str | None = None) -> list[JobInfo]:
    """All jobs, newest first; see :meth:`Client.jobs`."""
    return current_client().jobs(state)


def client_of(func: Callable[..., Any]) -> Client:
    """The client that a transform was asked of; the current one where it names none."""
    _, _, named = peel(func)
    return named if isinstance(named, Client) else current_client()


def delete(reference: str) -> None:
    """Delete a registered function; see :meth:`Client.delete`."""
    current_client().delete(reference)


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()  # a thread of the parent may have held it


os.register_at_fork(after_in_child=_renew_lock)
