"""Which plan serves a batch: that of its own size, or a larger one that is faster as it is.

Every size has a plan of its own, which takes a second to make where the function is long, and some calls until it is
fast. As long as a larger plan takes less time than the own one, or there is no own one yet, the rows are filled up
to the larger size. Once in a while the own plan has its turn.
"""

from __future__ import annotations

from ..batch_form import MOST_ROWS, BatchForm, bucket
from .plan_cache import PlanCache, Types
from .plans import Plan
from .program import Program

__all__ = ["plan_for_rows"]

_LARGEST_FACTOR = 4
_LEAST_CALLS = 3
"""A plan that ran less often tells nothing about its time."""
_TURN = 16


def plan_for_rows(plans: PlanCache, program: Program, form: BatchForm, kinds: Types, rows: int) -> tuple[Plan, int]:
    """The plan for a batch of so many rows, and the rows that it takes.

    Raises
    ------
    LimitExceeded
        So many rows at once would take more than they may.
    """
    own = bucket(rows)
    program.wanted[own] = program.wanted.get(own, 0) + 1
    measured: dict[int, Plan] = {}
    for size in (own << shift for shift in range(_LARGEST_FACTOR.bit_length())):
        if size <= max(MOST_ROWS, own):
            plan = plans.known(program, form.types(size), kinds)
            if plan is not None and plan.calls >= _LEAST_CALLS and plan.seconds is not None:
                measured[size] = plan
            elif plan is not None and size == own:
                return plans.plan(program, form.types(own), kinds), own  # it is being learnt
    if measured and program.wanted[own] % _TURN:
        size = min(measured, key=lambda size: measured[size].seconds or 0.0)
        return plans.plan(program, form.types(size), kinds), size
    return plans.plan(program, form.types(own), kinds), own
