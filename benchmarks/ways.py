"""Ways of making a call, and which environment has which.

A way opens a case once for each client and binds arguments to it: what is then timed is a call without
arguments. The modules that implement the ways are imported in the environment of each only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cases import Case

__all__ = ["TITLES", "Addresses", "Opened", "Way", "ways_of"]

TITLES: Mapping[str, str] = {
    "eager": "local, eager",
    "compiled": "local, compiled",
    "numpy": "NumPy client",
    "numpy-httpx": "NumPy client over httpx",
    "torch": "torch client",
    "raw": "raw HTTP",
    "echo-farfunc": "echo, farfunc's transport",
    "echo-httpx": "echo, httpx",
    "echo-raw": "echo, http.client",
    "tesseract": "Tesseract",
    "umbridge": "UM-Bridge",
}
"""All ways, as the tables show them."""


@dataclass(frozen=True)
class Addresses:
    """Where the servers listen, and where Tesseract's writes its files; empty where there is none."""

    farfunc: str = ""
    echo: str = ""
    tesseract: str = ""
    tesseract_files: str = ""
    umbridge: str = ""


class Opened(Protocol):
    """One client of one case.

    Attributes
    ----------
    note:
        What the table should say of it: the encoding that was chosen, how long compiling took.
    function:
        The identity of the function that the farfunc server evaluates; None for other servers.
    """

    note: str
    function: str | None

    def bind(self, argument: np.ndarray) -> Callable[[], Any]:
        """A call, ready to be timed."""
        ...

    def array(self, result: Any) -> np.ndarray | None:
        """A call's result as an array; None for an echo."""
        ...

    def close(self) -> None:
        """Close its connections."""
        ...


class Way(Protocol):
    """A way of making calls."""

    def __call__(self, case: Case, addresses: Addresses) -> Opened:
        """Open a case."""
        ...


def ways_of(environment: str) -> Mapping[str, Way]:
    """The ways of one environment: ``local`` and ``torch`` (with torch), ``thin``, ``peers``."""
    if environment == "local":
        import ways_local

        return {"eager": ways_local.Local, "compiled": ways_local.Compiled}
    if environment == "torch":
        import ways_farfunc

        return {"torch": ways_farfunc.TorchClient}
    if environment == "thin":
        import ways_echo
        import ways_farfunc

        return {
            "numpy": ways_farfunc.NumpyClient,
            "numpy-httpx": ways_farfunc.NumpyClientOverHttpx,
            "raw": ways_farfunc.Raw,
            "echo-farfunc": ways_echo.EchoFarfunc,
            "echo-httpx": ways_echo.EchoHttpx,
            "echo-raw": ways_echo.EchoRaw,
        }
    import ways_peers

    return {"tesseract": ways_peers.TesseractClient, "umbridge": ways_peers.UmbridgeClient}
