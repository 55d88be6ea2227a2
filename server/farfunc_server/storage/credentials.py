"""Who may ask: tenants, their tokens and their members, and what of it was checked a moment ago."""

from __future__ import annotations

from typing import Any

from .database import Database
from .members import Members
from .recent import Recent
from .tenants import Tenants
from .tokens import Tokens

__all__ = ["Credentials"]


class Credentials:
    """The rows that let somebody in.

    Parameters
    ----------
    database:
        Where they are.
    is_guest:
        Whether a server may go by the same rows, so that what is taken away waits until it does no more.

    Attributes
    ----------
    recent:
        What was checked: whatever takes something away here has it forgotten.
    tenants, tokens, members:
        The rows.
    """

    def __init__(self, database: Database, *, is_guest: bool = False) -> None:
        # SQLite has one server, and beside it the command line: that it has written is seen by the database's number.
        changes = None if database.is_shared else database.changes
        self.recent: Recent[bytes, Any] = Recent(is_shared=database.is_shared or is_guest, changes=changes)
        self.tenants = Tenants(database, self.recent.forget)
        self.tokens = Tokens(database, self.recent.forget)
        self.members = Members(database, self.recent.forget)
