"""Why answers were cut off, told to those whose they were."""

from farfunc_protocol.errors import WorkerDied
from farfunc_server.routes.context import LateProblems


def test_two_tenants_may_choose_the_same_id():
    problems = LateProblems()
    first, second = WorkerDied("first"), WorkerDied("second")
    problems.add("a", "id", first)
    assert problems.get("b", "id") is None
    problems.add("b", "id", second)
    assert (problems.get("a", "id"), problems.get("b", "id")) == (first, second)
