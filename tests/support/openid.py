"""An OpenID provider: its configuration, its keys, and tokens that it signs."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

__all__ = ["AUDIENCE", "Provider"]

AUDIENCE = "farfunc"

_ALGORITHMS = {
    "RS256": jwt.algorithms.RSAAlgorithm,
    "PS256": jwt.algorithms.RSAAlgorithm,
    "ES256": jwt.algorithms.ECAlgorithm,
    "EdDSA": jwt.algorithms.OKPAlgorithm,
}


class Provider:
    """Serves on a port of its own from ``with`` to the end of the block.

    Attributes
    ----------
    fetched:
        How often its keys were asked for.
    is_down:
        Whether it answers with errors.
    """

    def __init__(self) -> None:
        self.fetched = 0
        self.is_down = False
        self.document: dict[str, Any] = {"keys": []}
        self._private: dict[str, tuple[Any, str]] = {}
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                document: Any = provider.document
                if self.path == "/.well-known/openid-configuration":
                    document = {"issuer": provider.issuer, "jwks_uri": f"{provider.issuer}/keys"}
                else:
                    provider.fetched += 1
                body = json.dumps(document).encode()
                self.send_response(503 if provider.is_down else 200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.add_key("first", "RS256")

    def __enter__(self) -> Provider:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add_key(self, kid: str, algorithm: str, **members: Any) -> None:
        """Publish another key."""
        key: Any
        if algorithm == "ES256":
            key = ec.generate_private_key(ec.SECP256R1())
        elif algorithm == "EdDSA":
            key = ed25519.Ed25519PrivateKey.generate()
        else:
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._private[kid] = key, algorithm
        public = json.loads(_ALGORITHMS[algorithm].to_jwk(key.public_key()))
        self.document["keys"].append({**public, "kid": kid, "alg": algorithm, "use": "sig", **members})

    def public_pem(self, kid: str = "first") -> bytes:
        """A public key, as an attacker knows it."""
        return (
            self._private[kid][0]
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )

    def token(self, subject: str = "ada", kid: str = "first", named: str | None = None, **claims: Any) -> str:
        """A token; ``named`` is the key id that its head claims. A claim that is None is left out."""
        key, algorithm = self._private[kid]
        now = time.time()
        whole = {"iss": self.issuer, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 300, **claims}
        present = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(present, key, algorithm=algorithm, headers={"kid": named or kid})
