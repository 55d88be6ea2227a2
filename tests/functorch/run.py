"""Run PyTorch's functorch test classes with farfunc's transforms in place of torch's.

    python tests/functorch/run.py                         # everything, and docs/functorch.md: `make functorch-tests`
    python tests/functorch/run.py --transforms torch      # the baseline: torch's own
    python tests/functorch/run.py --transforms make_fx    # a plain tracing stand-in
    python tests/functorch/run.py --transforms farfunc    # ours; FARFUNC_URL, or a private local server
    python tests/functorch/run.py --transforms farfunc --only 'TestJac.*' --verbose

A whole run of one kind writes build/functorch/<transforms>.json, from which report.py writes the page. The exit status
is 1 when a test failed that left_out.py does not name, and 2 when nothing could be run.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import io
import json
import signal
import subprocess
import sys
import time
import traceback
import unittest
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import left_out
import suite
from fetch import BUILD, TESTS

KINDS = ("torch", "make_fx", "farfunc")
"""Whose transforms are run: torch's own, the stand-in's, ours."""

FAST = (
    "TestGradTransform.*",
    "TestVmapOfGrad.*",
    "TestJac.*",
    "TestHessian.*",
    "TestJvp.*",
    "TestLinearize.*",
    "TestVmapJvpInplaceView.*",
    "TestComposability.*",
    "TestHigherOrderOperatorInteraction.*",
    "TestVmapAPI.*",
)
"""What every test run can afford: the transforms and their composition, without the many operators and examples."""


@dataclass(frozen=True)
class Outcome:
    """How one test went: `passed`, `failed`, `skipped` or `xfailed`, and the last line it said."""

    test: str
    result: str
    said: str
    seconds: float
    view_unchecked: bool = False
    """Whether its assertion that the result is a view of the argument was switched off (see suite.py)."""


class OutOfTime(BaseException):
    """A test took longer than it may; not an Exception, so that no test takes it for the error it expects."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    def expired(number: int, frame: FrameType | None) -> None:
        raise OutOfTime(f"took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Recorder(unittest.TestResult):
    """Keeps what became of a single test."""

    def __init__(self) -> None:
        super().__init__()
        self.result, self.said = "passed", ""

    def _fail(self, test: Any, error: Any) -> None:
        self.result, self.said = "failed", _last_line(error[1])

    addError = addFailure = _fail

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            self._fail(test, err)

    def addSkip(self, test: Any, reason: str) -> None:
        self.result, self.said = "skipped", reason

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        self.result, self.said = "xfailed", _last_line(err[1])

    def addUnexpectedSuccess(self, test: Any) -> None:
        self.result, self.said = "failed", "expected to fail, and passed"


def _last_line(error: BaseException) -> str:
    lines = "".join(traceback.format_exception_only(error)).strip().splitlines()
    return " ".join(line.strip() for line in lines[:3])[:400]


def run_one(
    identity: str, test: unittest.TestCase, loader: suite.Loader, limit_s: float = 60, verbose: bool = False
) -> Outcome:
    """Run one test; whatever it prints is dropped."""
    import torch

    recorder = _Recorder()
    views_before = loader.unchecked_views
    began = time.perf_counter()
    printed = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        warnings.simplefilter("default")
        try:
            with time_limit(limit_s):
                test.run(recorder)
        except OutOfTime as error:
            recorder.result, recorder.said = "failed", str(error)
    seconds = time.perf_counter() - began
    if _clean_up(torch) and recorder.result == "passed":
        recorder.result, recorder.said = "failed", "left a functorch transform open"
    if verbose:
        print(f"{recorder.result:8} {seconds:7.2f} s  {identity}  {recorder.said}", flush=True)
    return Outcome(identity, recorder.result, recorder.said, round(seconds, 3), loader.unchecked_views > views_before)


def _clean_up(torch: Any) -> bool:
    """Leave nothing of a failed test to the next one; whether there was something."""
    dirty = False
    while torch._C._functorch.peek_interpreter_stack() is not None:
        torch._C._functorch.pop_dynamic_layer_stack_and_undo_to_depth(0)
        dirty = True
    torch.set_grad_enabled(True)
    torch.autograd.forward_ad._current_level = -1
    return dirty


def transforms(name: str) -> dict[str, Callable[..., Any]] | None:
    """The transforms of that name; None for torch's own, as the files import them."""
    if name == "torch":
        return None
    if name == "make_fx":
        import stand_in

        return dict(stand_in.TRANSFORMS)
    import farfunc

    if missing := [word for word in suite.TRANSFORMS if not hasattr(farfunc, word)]:
        print(f"farfunc offers no {', '.join(missing)}", file=sys.stderr)
        raise SystemExit(2)
    return {word: getattr(farfunc, word) for word in suite.TRANSFORMS}


def write(name: str, torch_version: str, outcomes: list[Outcome]) -> None:
    """Keep a whole run for report.py."""
    record = {"torch": torch_version, "outcomes": [asdict(each) for each in outcomes]}
    BUILD.joinpath(f"{name}.json").write_text(json.dumps(record, indent=0) + "\n")


def run_all() -> int:
    """Fetch the tests, run each kind in a process of its own, and write the page; the exit status of ours."""
    here = Path(__file__)
    if status := subprocess.run([sys.executable, here.with_name("fetch.py")]).returncode:
        return status
    for kind in KINDS:
        print(f"with the transforms of {kind}:", flush=True)
        status = subprocess.run([sys.executable, here, "--transforms", kind]).returncode
        if status == 2:
            return status
    return subprocess.run([sys.executable, here.with_name("report.py")]).returncode or status


def main() -> int:
    parser = argparse.ArgumentParser(description="Run PyTorch's functorch test classes.")
    parser.add_argument("--transforms", choices=KINDS, help="one kind only; without it all of them, and the page")
    parser.add_argument("--only", action="append", metavar="PATTERN", help="tests to run, like 'TestJac.*'")
    parser.add_argument("--fast", action="store_true", help="the transforms and their composition only")
    parser.add_argument("--everything", action="store_true", help="also run what left_out.py names; no record")
    parser.add_argument("--limit", type=float, default=60, metavar="SECONDS", help="the time one test may take")
    parser.add_argument("--verbose", action="store_true", help="one line for each test")
    given = parser.parse_args()
    if given.transforms is None:
        return run_all()
    if not TESTS.is_dir():
        print("PyTorch's tests are not there yet: run tests/functorch/fetch.py first", file=sys.stderr)
        return 2

    import torch

    torch.set_num_threads(1)
    loader = suite.Loader(TESTS, transforms(given.transforms))
    tests = dict(loader.tests())
    if stale := left_out.stale(list(tests)):
        print(f"left_out.py names what no test is called: {', '.join(stale)}", file=sys.stderr)
        return 2
    baseline = given.transforms == "torch"
    patterns = list(given.only or (FAST if given.fast else ("*",)))
    outcomes = [
        run_one(identity, test, loader, given.limit, given.verbose)
        for identity, test in tests.items()
        if any(fnmatch.fnmatchcase(identity, pattern) for pattern in patterns)
        and (baseline or given.everything or left_out.reason(identity) is None)
    ]
    if not (given.only or given.fast or given.everything):
        write(given.transforms, torch.__version__, outcomes)

    failed = [each for each in outcomes if each.result == "failed" and left_out.reason(each.test) is None]
    for each in failed:
        print(f"FAILED {each.test}: {each.said}")
    counts = Counter(each.result for each in outcomes)
    print(", ".join(f"{count} {result}" for result, count in sorted(counts.items())) or "no test has such a name")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
