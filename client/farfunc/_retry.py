"""What to do when a request fails on the way: try again, or say in one sentence what happened."""

from __future__ import annotations

import random
import urllib.request
from dataclasses import dataclass
from urllib.parse import urlsplit

from farfunc_protocol.errors import ConnectionFailed, FarfuncError, TimeLimitExceeded, WorkerDied

from ._address import Address
from ._answers import HttpResponse, error_of
from ._failures import AllTaken, Broken, Silent, TransportFailure
from ._session import HttpRequest

__all__ = ["RetryPolicy", "explain", "proxy_before"]

_BUSY = (429, 503)

_SEE_LOG = "see whether the server still runs, and what its log says"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a request is sent again.

    503 and 429 are what a server says that has not begun: it is taken at its ``Retry-After``, but
    for a request that has killed its workers. A connection that broke is tried again if the request is
    repeatable. One that could not be made, or a server that was silent for too long, is not: the
    user wants to know.

    Attributes
    ----------
    attempts:
        How often a request is sent at most.
    longest_wait:
        Seconds; a longer ``Retry-After`` is left to the caller.
    pause:
        Seconds before a request is sent again whose connection broke; longer each time.
    """

    attempts: int = 3
    longest_wait: float = 10.0
    pause: float = 0.1

    def after_response(self, response: HttpResponse, attempt: int) -> float | None:
        """Seconds to wait before sending again; None to take the response as it is."""
        if response.status not in _BUSY or attempt >= self.attempts or isinstance(error_of(response), WorkerDied):
            return None
        try:
            wait = float(response.headers.get("retry-after", ""))
        except ValueError:
            return None
        if not 0 <= wait <= self.longest_wait:
            return None
        return wait * (1 + 0.25 * random.random())  # clients refused together do not come back together

    def after_failure(self, request: HttpRequest, error: TransportFailure, attempt: int) -> float | None:
        """Seconds to wait before sending again; None to raise :func:`explain`'s error."""
        if isinstance(error, Broken) and request.repeatable and attempt < self.attempts:
            return self.pause * attempt
        return None


def explain(
    error: TransportFailure, request: HttpRequest, address: Address, attempts: int, broken: bool
) -> FarfuncError:
    """The error that the user sees; ``broken`` tells whether an earlier attempt had a connection, which broke."""
    url, reason = address.url, str(error) or type(error).__name__
    if isinstance(error, AllTaken):
        return TimeLimitExceeded(
            f"all connections to {url} were taken for {request.seconds:g} seconds",
            remedy="make fewer calls at once: vmap computes many in one",
        )
    if isinstance(error, Silent):
        length = "" if request.seconds is None else f" for {request.seconds:g} seconds"
        return TimeLimitExceeded(
            f"{url} was silent{length or ', and the system has given it up'}",
            remedy="give the client a longer timeout: farfunc.connect(url, timeout=seconds)",
        )
    if isinstance(error, Broken):
        times = f" {attempts} times" if attempts > 1 else ""
        return ConnectionFailed(
            f"the connection to {url} broke{times} before the answer was complete ({reason})",
            remedy=_SEE_LOG,
        )
    if broken:
        return ConnectionFailed(
            f"the connection to {url} broke before the answer was complete, and now no server answers there ({reason})",
            remedy=_SEE_LOG,
        )
    if "WRONG_VERSION_NUMBER" in reason and address.url.startswith("https:"):
        return ConnectionFailed(
            f"no farfunc server answers at {url} ({reason})",
            remedy=f"it speaks no TLS: give http:{url.removeprefix('https:')}",
        )
    if "CERTIFICATE" in reason:
        return ConnectionFailed(
            f"the certificate of {url} is not trusted ({reason})",
            remedy="set SSL_CERT_FILE to the certificate of the authority that signed it",
        )
    proxy = proxy_before(address)
    if proxy is not None:
        return ConnectionFailed(
            f"no farfunc server answers at {url} through the proxy {proxy} of the environment ({reason})",
            remedy=f"set NO_PROXY={urlsplit(url).hostname} to pass it by",
        )
    return ConnectionFailed(
        f"no farfunc server answers at {url} ({reason})",
        remedy="start one with `farfunc serve`, and give its address to farfunc.connect(url) or FARFUNC_URL",
    )


def proxy_before(address: Address) -> str | None:
    """The proxy that the environment names for an address, as ``host:port``."""
    parts = urlsplit(address.url)
    if address.is_this_machine or urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return urlsplit(proxy).netloc.rpartition("@")[2] or proxy if proxy else None
