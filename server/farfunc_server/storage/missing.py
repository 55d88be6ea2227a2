"""What is said of something that is not there, or is another tenant's: the same."""

from __future__ import annotations

from farfunc_protocol.errors import FarfuncError

__all__ = ["NotFound"]


class NotFound(FarfuncError):
    """There is nothing of the kind, for the one who asks."""

    code, status, title = "not_found", 404, "Not found"
