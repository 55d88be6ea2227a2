"""A response that is made while the rest of it is still computed.

Blocks that come in the order of the bytes are sent as they come. Others are put together first: see
:mod:`farfunc_server.scheduling.gathering`.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from farfunc_protocol.errors import FarfuncError
from farfunc_protocol.messages import BINARY_MEDIA_TYPE

from ..scheduling.gathering import Layout
from ..scheduling.slices import Slices
from .connected import while_connected

__all__ = ["GatheredResponse", "SlicedResponse"]

_SENT_AT_ONCE = 1 << 20


class GatheredResponse(Response):
    """A response that is there, sent in parts, so that no more than one of them is copied at a time."""

    def __init__(self, data: memoryview) -> None:
        super().__init__(media_type=BINARY_MEDIA_TYPE)
        self._data = data
        self.headers["content-length"] = str(data.nbytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        for start in range(0, self._data.nbytes, _SENT_AT_ONCE):
            part = self._data[start : start + _SENT_AT_ONCE]
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class SlicedResponse(Response):
    """A response of slices that come in order, sent as they come.

    What goes wrong once it has begun cannot be told in it: the connection is closed before it is complete, and
    ``on_failure`` is told.
    """

    def __init__(
        self, slices: Slices, on_failure: Callable[[FarfuncError], None], on_success: Callable[[], None]
    ) -> None:
        super().__init__(media_type=BINARY_MEDIA_TYPE)
        self._slices = slices
        self._on_failure = on_failure
        self._on_success = on_success
        self._layout = Layout(slices.outputs)
        self.headers["content-length"] = str(self._layout.size)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        async with self._slices as slices:
            await while_connected(receive, self._send(slices, send))

    async def _send(self, slices: Slices, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._layout.header, "more_body": True})
        try:
            async for _, data in slices:
                await send({"type": "http.response.body", "body": data, "more_body": True})
        except FarfuncError as error:
            self._on_failure(error)
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        self._on_success()
