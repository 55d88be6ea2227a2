"""Two samples of every seventh entry of torch's operator database, and the flat programs of one of every 23rd;
`make conformance` takes all of them."""

from __future__ import annotations

import pytest

from conformance.cases import cases_of, entries
from conformance.compare import AGREE, LOCAL_FAILS, UNSUPPORTED, compare
from conformance.flat import compare_flat
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


@pytest.mark.parametrize("name", sorted(entries())[3::23])
def test_flat_programs_of_entry(name):
    for case in cases_of(entries()[name], 1):
        for kind, reason in compare_flat(case):
            assert kind in (AGREE, UNSUPPORTED, LOCAL_FAILS), reason


@pytest.mark.parametrize(
    ("name", "samples"),
    [("native_group_norm", 1), ("nn.functional.embedding_bag", 2), ("max_pool2d_with_indices_backward", 2)],
)
def test_flat_programs_that_were_wrong_once(name, samples):
    for case in cases_of(entries()[name], samples):
        assert {kind for kind, _ in compare_flat(case)} == {AGREE}


def test_core_operators_are_accounted_for():
    missing = [name for name in core_operators() if not (name in OPS or name in DECOMPOSED or name in EXCLUDED)]
    assert not missing
