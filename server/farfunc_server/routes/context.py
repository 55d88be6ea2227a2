"""What the routes of one application share."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from fastapi import Request

from farfunc_protocol.errors import FarfuncError

from ..access.principal import Principal
from ..jobs.changes import Changes
from ..jobs.runner import JobRunner
from ..metrics import Metrics
from ..registry import Registry
from ..scheduling.dispatcher import Dispatcher
from ..scheduling.plan_board import PlanBoard
from ..settings import Settings
from ..storage import Storage
from ..workers.pool import Pool

__all__ = ["Context", "context_of", "principal_of"]


_MOST_PROBLEMS = 256


class LateProblems:
    """Errors that came when the answer had begun, so that it could not tell them.

    Clients may choose the ids of their requests, and two tenants the same: each is told of its own.
    """

    def __init__(self) -> None:
        self._errors: OrderedDict[tuple[str, str], FarfuncError] = OrderedDict()

    def add(self, tenant: str, request_id: str, error: FarfuncError) -> None:
        """Remember one, for those who ask soon."""
        self._errors[tenant, request_id] = error
        while len(self._errors) > _MOST_PROBLEMS:
            self._errors.popitem(last=False)

    def get(self, tenant: str, request_id: str) -> FarfuncError | None:
        """The error that ended the answer to a tenant's request, if it is remembered."""
        return self._errors.get((tenant, request_id))


@dataclass(slots=True)
class Context:
    """The parts of a running server.

    Attributes
    ----------
    jobs, changes:
        The jobs that this server runs, and who waits for theirs to change.
    late_problems:
        Why answers ended before they were complete, by request id.
    is_closing:
        Whether it is shutting down.
    """

    settings: Settings
    metrics: Metrics
    storage: Storage
    registry: Registry
    pool: Pool
    dispatcher: Dispatcher
    board: PlanBoard
    jobs: JobRunner
    changes: Changes
    late_problems: LateProblems = field(default_factory=LateProblems)
    is_closing: bool = False


def context_of(request: Request) -> Context:
    """The parts of the server that answers a request."""
    return request.app.state.context


def principal_of(request: Request) -> Principal:
    """Who makes a request; known to every route that is not open."""
    return request.scope["state"]["principal"]
