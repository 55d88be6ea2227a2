"""Two samples of every seventh entry of torch's operator database; `make conformance` takes all of both."""

from __future__ import annotations

import pytest

from conformance.cases import cases_of, entries
from conformance.compare import AGREE, LOCAL_FAILS, UNSUPPORTED, compare
from conformance.page import core_operators
from farfunc_protocol.ops import DECOMPOSED, EXCLUDED, OPS

REFUSED = {"as_strided.partial_views"}
"""Of those below: why, says docs/operators.md."""


@pytest.mark.parametrize("name", sorted(entries())[::7])
def test_entry(name):
    for case in cases_of(entries()[name], 2):
        outcome = compare(case)
        expected = (AGREE, LOCAL_FAILS, UNSUPPORTED) if name in REFUSED else (AGREE, LOCAL_FAILS)
        assert outcome.kind in expected, outcome.reason


def test_core_operators_are_accounted_for():
    missing = [name for name in core_operators() if not (name in OPS or name in DECOMPOSED or name in EXCLUDED)]
    assert not missing
