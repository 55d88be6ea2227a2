"""All that the package offers of clients and registered functions; imported when one of them is first used."""

from ._client import AsyncClient, Client
from ._default_client import connect, current_client, delete, describe, function, functions, register
from ._functions import FunctionHandle
from ._session import FunctionInfo

__all__ = [
    "AsyncClient",
    "Client",
    "FunctionHandle",
    "FunctionInfo",
    "connect",
    "current_client",
    "delete",
    "describe",
    "function",
    "functions",
    "register",
]
