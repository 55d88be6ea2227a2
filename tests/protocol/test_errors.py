"""The exception tree and the one form in which errors travel."""

import copy
import inspect
import json
import pickle
import re

import pytest

from farfunc_protocol import errors
from farfunc_protocol.errors import FarfuncError, from_problem

_CLASSES = [getattr(errors, name) for name in errors.__all__ if inspect.isclass(getattr(errors, name))]


def test_every_class_is_exported_and_drawn_in_the_tree():
    def below(cls):
        return [cls, *(child for direct in cls.__subclasses__() for child in below(direct))]

    ours = {cls for cls in below(FarfuncError) if cls.__module__ == errors.__name__}
    assert ours == set(_CLASSES)
    drawn = re.findall(r"[├└]── (\w+)", errors.__doc__)
    assert sorted(drawn) == sorted(cls.__name__ for cls in ours - {FarfuncError})


def test_codes_are_unique_and_statuses_are_errors():
    assert len({cls.code for cls in _CLASSES}) == len(_CLASSES)
    assert all(400 <= cls.status < 600 and cls.title for cls in _CLASSES)


@pytest.mark.parametrize(
    ("code", "builtin"),
    [
        ("unsupported_operator", NotImplementedError),
        ("data_dependent", TypeError),
        ("mutation", RuntimeError),
        ("transform", RuntimeError),
        ("transform_value", ValueError),
        ("transform_type", TypeError),
        ("protocol", ValueError),
        ("evaluation", RuntimeError),
        ("forward_mode_unsupported", NotImplementedError),
        ("function_not_found", LookupError),
        ("server", RuntimeError),
        ("time_limit_exceeded", TimeoutError),
        ("connection_failed", ConnectionError),
    ],
)
def test_programs_that_catch_the_usual_types_still_do(code, builtin):
    assert isinstance(from_problem({"code": code, "detail": "d"}), builtin)


@pytest.mark.parametrize("cls", _CLASSES, ids=lambda cls: cls.__name__)
def test_an_error_survives_the_wire(cls):
    error = cls("what", where="args[0]", remedy="do", rule="G1", retry_after=1.5, request_id="r1")
    problem = json.loads(json.dumps(error.to_problem()))
    assert problem["type"] == f"urn:farfunc:error:{cls.code}"
    assert problem["status"] == cls.status
    again = from_problem(problem)
    assert type(again) is cls
    assert vars(again) == vars(error)
    assert str(again) == str(error)


@pytest.mark.parametrize("cls", _CLASSES, ids=lambda cls: cls.__name__)
def test_an_error_can_be_copied(cls):
    # concurrent.futures and pytest-xdist do so between processes.
    error = cls("what", where="args[0]", remedy="do")
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(again) is cls
        assert str(again) == str(error)


def test_the_text_has_a_line_for_each_part():
    error = FarfuncError("what", where="here", remedy="do", rule="G1", request_id="r")
    assert str(error).splitlines() == ["what", "  where: here", "  rule: G1", "  remedy: do", "  request id: r"]
    assert str(FarfuncError("what")) == "what"
    assert FarfuncError("what").to_problem().keys() == {"type", "title", "status", "code", "detail"}


@pytest.mark.parametrize(
    "problem",
    [
        {},
        {"code": "of a later version", "detail": "d"},
        {"code": ["list"], "detail": {"a": 1}},
        {"code": None, "where": 3, "retry_after": "soon", "remedy": []},
    ],
)
def test_any_problem_document_becomes_an_error(problem):
    error = from_problem(problem)
    assert type(error) is FarfuncError
    assert error.detail
    assert error.where is error.remedy is error.retry_after is None


def test_a_problem_is_short_however_much_it_quotes():
    problem = errors.InvalidRequest(
        f"in_dims={'0, ' * 1_000_000} does not fit", where=f"args.{'k' * 1_000_000}"
    ).to_problem()
    assert len(str(problem)) < 10_000
    assert problem["detail"].startswith("in_dims=0, 0")
    assert problem["detail"].endswith("does not fit")
