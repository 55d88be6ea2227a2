"""Tells of the ends of jobs: https://www.standardwebhooks.com, version 1.

An address is the client's word, and this server may reach what the client cannot: its own loopback, the private
network, the cloud's metadata. So the name is looked up here, each address it stands for must be public, and the
connection goes to the one that was looked at. Redirects are not followed, and of an answer only the status is read.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import logging
import socket
import time
from urllib.parse import urlsplit, urlunsplit

import httpx

from farfunc_protocol._version import __version__
from farfunc_protocol.errors import StorageFailed

from ..logs import event
from ..storage.deliveries import Delivery, DeliveryStore
from .webhook_targets import is_public, key_of

__all__ = ["Webhooks", "signature"]

_log = logging.getLogger("farfunc.webhooks")

_SECONDS = 15.0
_LOOK_SECONDS = 1.0
_MOST_AT_ONCE = 8


def signature(secret: str, id: str, timestamp: int, payload: str) -> str:
    """What the header ``webhook-signature`` says.

    >>> secret = "whsec_" + base64.b64encode(bytes(32)).decode()
    >>> signature(secret, "msg_1", 1700000000, "{}")
    'v1,LzeNxZHo3O8fwpFJpLh/0B99ugILNFJw+/9lTgx0APs='
    """
    signed = hmac.new(key_of(secret), f"{id}.{timestamp}.{payload}".encode(), hashlib.sha256)
    return f"v1,{base64.b64encode(signed.digest()).decode()}"


class _Refused(Exception):
    """It is not to be sent there; the message says why."""


class Webhooks:
    """Sends what is due, some at a time.

    Parameters
    ----------
    store:
        What is to be told; several servers may share it.
    allow_private:
        Whether private addresses are sent to.
    """

    def __init__(self, store: DeliveryStore, *, allow_private: bool) -> None:
        self._store = store
        self._allow_private = allow_private
        self._task: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to send."""
        self._task = asyncio.create_task(self._serve(), name="webhooks")

    async def stop(self) -> None:
        """What is not sent is sent by another server, or later."""
        tasks = [*self._sending, *([] if self._task is None else [self._task])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self) -> None:
        while True:
            try:
                await self._send_due()
            except StorageFailed:
                pass  # it has been logged
            except Exception:  # noqa: BLE001 - whatever it is, others are to be sent
                _log.exception("webhooks met an error of ours")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _send_due(self) -> None:
        while len(self._sending) < _MOST_AT_ONCE:
            wait = await asyncio.to_thread(self._store.wait)  # to look costs less than to take
            if wait is None or wait > 0:
                return
            delivery = await asyncio.to_thread(self._store.due)
            if delivery is None:
                return
            task = asyncio.create_task(self._deliver(delivery))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _deliver(self, delivery: Delivery) -> None:
        error, is_final = None, False
        try:
            async with asyncio.timeout(_SECONDS):
                status = await self._send(delivery)
            if not 200 <= status < 300:
                error, is_final = f"the receiver answered {status}", status == 410
        except _Refused as reason:
            error = str(reason)
        except TimeoutError:
            error = f"the receiver did not answer within {_SECONDS:g} s"
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as failure:
            error = f"the receiver was not reached: {type(failure).__name__}"
        with contextlib.suppress(StorageFailed):  # then it is sent once more
            if error is None:
                await asyncio.to_thread(self._store.succeeded, delivery)
            else:
                await asyncio.to_thread(self._store.failed, delivery, error, is_final=is_final)
        event(_log, logging.INFO, "webhook", id=delivery.id, attempt=delivery.attempts, error=error)

    async def _send(self, delivery: Delivery) -> int:
        parts = urlsplit(delivery.url)
        assert parts.hostname is not None
        address = await self._address(parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
        literal = f"[{address}]" if ":" in address else address
        place = literal if parts.port is None else f"{literal}:{parts.port}"
        timestamp = int(time.time())
        headers = {
            "host": parts.netloc,
            "content-type": "application/json",
            "user-agent": f"farfunc/{__version__}",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(delivery.secret, delivery.id, timestamp, delivery.payload),
        }
        # The certificate is that of the name, though the connection goes to the address that was looked at.
        extensions = {"sni_hostname": parts.hostname}
        async with (
            httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=_SECONDS) as client,
            client.stream(
                "POST",
                urlunsplit((parts.scheme, place, parts.path or "/", parts.query, "")),
                content=delivery.payload.encode(),
                headers=headers,
                extensions=extensions,
            ) as response,
        ):
            return response.status_code

    async def _address(self, host: str, port: int) -> str:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(item[4][0]).partition("%")[0] for item in found]
        if not self._allow_private and not all(map(is_public, addresses)):
            raise _Refused("the address is not public, and this server sends to public ones only")
        return addresses[0]
