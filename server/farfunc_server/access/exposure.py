"""Whether a server may listen where it is told to: beyond this machine it has to know who asks, behind TLS."""

from __future__ import annotations

import ipaddress

from farfunc_protocol.errors import ServerError

from ..settings import Settings

__all__ = ["check_exposure", "is_loopback"]


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach an address.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "", "10.0.0.1", "gpu.example")]
    [True, True, True, False, False, False, False]
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may stand for anything tomorrow


def check_exposure(settings: Settings) -> None:
    """See that nobody on a network is let in without a token, and that no token crosses one in plain text.

    Raises
    ------
    ServerError
        In one sentence that says what to do.
    """
    if settings.uds is not None or is_loopback(settings.host) or settings.insecure:
        return
    missing = []
    if not settings.knows_identities:
        missing.append("set FARFUNC_TOKEN (or --access tokens, or --oidc-issuer), so that it knows who asks")
    if not settings.behind_tls:
        missing.append("put a proxy that speaks TLS before it and say so with --behind-tls")
    if missing:
        danger = "and tokens would cross the network in plain text" if settings.knows_identities else "open to everyone"
        raise ServerError(
            f"the server would listen on {settings.host or 'every address'}, beyond this machine, {danger}",
            where="host",
            remedy=f"{', and '.join(missing)}; or, where everyone who reaches it may do everything, say --insecure",
        )
