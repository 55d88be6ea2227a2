"""The examples in the docstrings of the three packages, run as doctests."""

import doctest
import importlib

import pytest

from support.imports import Source, sources
from support.paths import CLIENT, PROTOCOL, SERVER

_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _with_examples(package) -> list[str]:
    return [source.module for source in sources(package) if _has_examples(source)]


def _has_examples(source: Source) -> bool:
    return ">>> " in source.path.read_text(encoding="utf-8")


def _run(module: str) -> None:
    results = doctest.testmod(importlib.import_module(module), optionflags=_OPTIONS)
    assert results.attempted, f"{module} has a '>>>' that is not part of a docstring"
    assert not results.failed, f"{results.failed} of the examples in {module} failed; they are printed above"


@pytest.mark.parametrize("module", [*_with_examples(PROTOCOL), *_with_examples(SERVER)])
def test_examples(module):
    _run(module)


@pytest.mark.parametrize("module", _with_examples(CLIENT))
def test_examples_of_the_client(module, server_url, monkeypatch):
    monkeypatch.setenv("FARFUNC_URL", server_url)
    _run(module)
