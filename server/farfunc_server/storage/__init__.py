"""What outlives a process: a database for what is known, an object store for what is large."""

from __future__ import annotations

from .storage import Storage

__all__ = ["Storage"]
