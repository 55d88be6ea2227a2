"""The programs of a plan beside eager torch.func and torch.compile, in one process, without HTTP.

``python benchmarks/programs.py [case ...]`` prints, for each case, the median seconds of eager torch.func and how
much of that each other way takes: torch.compile, and the worker's plain, flat and compiled programs. The ways are
timed in interleaved rounds; every result is compared with eager torch.func's.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cases import CASES, Case, case_named
from farfunc._torch import TorchFrontEnd
from farfunc._tracing import trace
from farfunc_protocol.document import function_from_bytes, function_to_bytes
from farfunc_protocol.graph import Function, TensorType
from farfunc_protocol.transforms import FlatTransform
from farfunc_server.batch_form import BatchForm
from farfunc_server.evaluation.compilation import NotCompiled, PackageFolder, PlanSpec, compile_plan
from farfunc_server.evaluation.flattening import NotFlat, flatten
from farfunc_server.evaluation.program import Program
from ways_local import Compiled, Local

__all__ = ["main"]

CPU = torch.device("cpu")
WAYS = ("compile", "plain", "flat", "compiled")

Call = Callable[[], Any]


def traced(case: Case, argument: np.ndarray) -> tuple[Function, tuple[FlatTransform, ...]]:
    """The function as the server reads it, and its chain of transforms."""
    front_end, tensor = TorchFrontEnd(), torch.from_numpy(argument)
    row = tensor[0] if case.chain[0] == "vmap" else tensor
    function = trace(case.function(torch), [front_end.type_of(row)], {}, front_end).function
    attributes = {"vmap": {"in_dims": (0,), "out_dims": (0,)}}
    chain = tuple(FlatTransform(name, attributes.get(name, {"argnums": (0,)})) for name in case.chain)
    return function_from_bytes(function_to_bytes(function)), chain


def calls(case: Case, argument: np.ndarray, rows: int, ways: tuple[str, ...], folder: Path) -> dict[str, Call | str]:
    """The ways of computing a case's derivative, or why there is none; for ``rows`` of it at once if not 0."""
    made: dict[str, Call | str] = {}
    function, chain = traced(case, argument)
    type = TensorType(argument.dtype.name, argument.shape)
    if rows:
        form = BatchForm.of(chain, [type])
        assert form is not None
        chain, (type,) = form.common_chain(1), form.types(rows)
        argument = np.stack(case.arguments(rows))
    program = Program(function, chain, CPU, "sha256:benchmark")
    leaves = [torch.from_numpy(argument)]
    captures = [tensor for tensor in program.constants if tensor is not None]
    kinds = tuple(TensorType(str(t.dtype).removeprefix("torch."), tuple(t.shape)) for t in captures)
    eager = _local(Local, case)
    if rows:
        call = torch.func.vmap(eager.call)
        made["eager"] = lambda: call(leaves[0])
    else:
        made["eager"] = eager.bind(argument)
    if "compile" in ways and not rows:
        try:
            made["compile"] = _local(Compiled, case).bind(argument)
        except Exception as error:  # noqa: BLE001 - what torch.compile raises is many things
            made["compile"] = f"{type_name(error)}"
    if "plain" in ways:
        made["plain"] = lambda: program.run(leaves, captures)
    if "flat" in ways:
        try:
            flat = flatten(program.run, (type,), kinds, CPU, constants=program.constants)
        except NotFlat as error:
            made["flat"] = str(error)
        else:
            made["flat"] = lambda: flat(leaves, captures)
    if "compiled" in ways:
        packages = PackageFolder(folder)
        spec = PlanSpec(f"sha256:{case.key}", chain, (type,), kinds, "cpu", torch.get_num_threads())
        try:
            compile_plan(spec, function, packages)
            loaded = packages.load(spec.digest, CPU)
            assert loaded is not None
        except NotCompiled as error:
            made["compiled"] = str(error)
        else:
            made["compiled"] = lambda: loaded[0](leaves, captures)
    return made


def _local(kind: type[Local], case: Case) -> Local:
    return kind(case, None)  # type: ignore[arg-type]  # what is local has no use for addresses


def type_name(error: Exception) -> str:
    """The first line of an error, with its type."""
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:100]


def seconds(made: dict[str, Call | str], rounds: int, least: float) -> dict[str, list[float]]:
    """The median seconds of a call in each round, by way."""
    runs = {name: call for name, call in made.items() if not isinstance(call, str)}
    for call in runs.values():
        call()
        call()
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, call in runs.items():
            samples: list[float] = []
            deadline = time.perf_counter() + least
            while not samples or time.perf_counter() < deadline:
                started = time.perf_counter()
                call()
                samples.append(time.perf_counter() - started)
            found[name].append(statistics.median(samples))
    return found


def difference(result: Any, expected: Any) -> float:
    """How far a result lies from another, relative to its largest element."""
    left = result[0] if isinstance(result, tuple | list) else result
    scale = expected.abs().max().item() or 1.0
    return (left - expected).abs().max().item() / scale


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help="keys of cases.py, or key:rows for a batch of calls; default: all")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.2, help="of one round of one way")
    options = parser.parse_args()
    torch.set_num_threads(1)
    ways = tuple(options.ways.split(","))
    keys = options.cases or [case.key for case in CASES if case.key not in ("seconds", "memory")]
    print(f"{'case':18} {'eager, ms':>10}  " + "  ".join(f"{way:>9}" for way in ways) + "   largest difference")
    for key in keys:
        name, _, rows = key.partition(":")
        case = case_named(name)
        with tempfile.TemporaryDirectory() as folder:
            made = calls(case, case.argument, int(rows or 0), ways, Path(folder))
            eager = made["eager"]
            assert not isinstance(eager, str)
            expected = eager()
            worst = max(difference(call(), expected) for call in made.values() if not isinstance(call, str))
            found = seconds(made, options.rounds, options.seconds)
        milliseconds = 1e3 * statistics.median(found["eager"])
        shown = [
            f"{statistics.median(a / b for a, b in zip(found[way], found['eager'], strict=True)):9.3f}"
            if way in found
            else f"{'-':>9}"
            for way in ways
        ]
        print(f"{key:18} {milliseconds:10.3f}  " + "  ".join(shown) + f"   {worst:.0e}", flush=True)
        for way, reason in made.items():
            if isinstance(reason, str):
                print(f"    {way}: {reason}", flush=True)


if __name__ == "__main__":
    main()
