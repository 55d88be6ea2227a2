"""What the routes of one application share."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from ..metrics import Metrics
from ..registry import Registry
from ..scheduling.dispatcher import Dispatcher
from ..scheduling.plan_board import PlanBoard
from ..settings import Settings
from ..workers.pool import Pool

__all__ = ["Context", "context_of"]


@dataclass(slots=True)
class Context:
    """The parts of a running server.

    Attributes
    ----------
    is_closing:
        Whether it is shutting down.
    """

    settings: Settings
    metrics: Metrics
    registry: Registry
    pool: Pool
    dispatcher: Dispatcher
    board: PlanBoard
    is_closing: bool = False


def context_of(request: Request) -> Context:
    """The parts of the server that answers a request."""
    return request.app.state.context
