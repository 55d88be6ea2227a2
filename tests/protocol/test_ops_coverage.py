"""Every operator that PyTorch's own operator database reaches, and every core operator, is accounted for."""

import warnings
from itertools import islice

import pytest
import torch
from torch._dispatch.python import enable_python_dispatcher

from farfunc_protocol.ops import DECOMPOSED, EXCLUDED, OPS, SYNONYMS
from support.operator_calls import Recorder, core_operators, entries, op_db, overload, wire_name


def functional(name: str) -> str:
    """The form of an operator that writes nothing in place: add_.Tensor is add.Tensor."""
    base, dot, suffix = name.partition(".")
    if name in DECOMPOSED or name in EXCLUDED or not base.endswith("_") or base.endswith("__"):
        return name
    return base.removesuffix("_") + dot + suffix


class Accountant(Recorder):
    """Decomposes what has no row, as a tracer does, and notes what then is left."""

    def __init__(self) -> None:
        super().__init__()
        self.unaccounted: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = functional(wire_name(func))
        known = name in OPS or name in SYNONYMS or name in DECOMPOSED or name in EXCLUDED
        if func.namespace == "aten" and not known:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
            self.unaccounted.add(name)
        return func(*args, **kwargs)


def unaccounted(dtype: torch.dtype, samples: int) -> set[str]:
    accountant = Accountant()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for entry in entries(dtype):
            torch.manual_seed(0)
            for sample in islice(entry.sample_inputs("cpu", dtype, requires_grad=False), samples):
                with enable_python_dispatcher(), accountant:
                    entry.op(sample.input, *sample.args, **sample.kwargs)
    return accountant.unaccounted


def test_operators_of_op_db_are_rows_or_accounted_for() -> None:
    assert unaccounted(torch.float64, samples=4) == set()


@pytest.mark.conformance
@pytest.mark.timeout(900)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.int64, torch.bool, torch.complex64])
def test_operators_of_all_samples_are_accounted_for(dtype: torch.dtype) -> None:
    assert unaccounted(dtype, samples=1000) == set()


def test_op_db_is_the_one_that_was_counted() -> None:
    differentiable = [entry for entry in op_db if entry.supports_autograd]
    assert len(differentiable) == 547
    # The others take complex numbers or integers, or run on CUDA only.
    assert len(list(entries(torch.float64, differentiable=True))) == 540


def test_core_operators_are_accounted_for() -> None:
    core = core_operators()
    assert len(core) == 193
    homes = [[name in table for table in (OPS, DECOMPOSED, EXCLUDED)] for name in core]
    assert all(sum(home) == 1 for home in homes), [n for n, home in zip(core, homes, strict=True) if sum(home) != 1]
    assert [sum(column) for column in zip(*homes, strict=True)] == [180, 4, 9]


def test_what_stands_for_an_operator_is_a_row() -> None:
    for name, stand_ins in DECOMPOSED.items():
        assert overload(name) is not None
        assert all(stand_in in OPS for stand_in in stand_ins), name
    for name, stand_in in SYNONYMS.items():
        given, row = overload(name)._schema, OPS[stand_in].schema
        assert [argument.name for argument in given.arguments] == [argument.name for argument in row.arguments]


def test_exclusions_are_operators_of_torch_and_no_rows() -> None:
    for name, reason in EXCLUDED.items():
        assert overload(name) is not None
        assert name not in OPS
        assert reason
