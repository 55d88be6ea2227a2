"""What to do when a request fails on the way: try again, or say in one sentence what happened."""

from __future__ import annotations

import random
from dataclasses import dataclass

import httpx

from farfunc_protocol.errors import ConnectionFailed, FarfuncError, TimeLimitExceeded

from ._session import HttpRequest, HttpResponse

__all__ = ["RetryPolicy"]

_BUSY = 503


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a request is sent again.

    A connection that could not be made is retried only where the server may be about to appear;
    one that broke, only if the request is repeatable; 503 only with its ``Retry-After``.

    Attributes
    ----------
    attempts:
        How often a request is sent at most.
    longest_wait:
        Seconds; a longer ``Retry-After`` is left to the caller.
    """

    attempts: int = 3
    longest_wait: float = 10.0

    def after_response(self, response: HttpResponse, attempt: int) -> float | None:
        """Seconds to wait before sending again; None to take the response as it is."""
        if response.status != _BUSY or attempt >= self.attempts:
            return None
        try:
            wait = float(response.headers.get("retry-after", ""))
        except ValueError:
            return None
        if not 0 <= wait <= self.longest_wait:
            return None
        return wait * (1 + 0.25 * random.random())  # clients refused together do not come back together

    def after_failure(self, request: HttpRequest, error: httpx.TransportError, attempt: int) -> float | None:
        """Seconds to wait before sending again; None to raise :meth:`explain`'s error."""
        broken = isinstance(error, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError | httpx.CloseError)
        if broken and request.repeatable and attempt < self.attempts:
            return 0.1 * attempt
        return None

    def explain(self, error: httpx.HTTPError | httpx.InvalidURL, url: str) -> FarfuncError:
        """The error that the user sees."""
        if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout | httpx.PoolTimeout):
            return TimeLimitExceeded(
                f"{url} did not answer in time ({type(error).__name__})",
                remedy="give the client a longer timeout: farfunc.connect(url, timeout=seconds)",
            )
        reason = str(error) or type(error).__name__
        return ConnectionFailed(
            f"no farfunc server answers at {url} ({reason})",
            remedy="start one with `farfunc serve`, and give its address to farfunc.connect(url) or FARFUNC_URL",
        )
