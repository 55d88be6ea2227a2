"""Flat programs as machine code: compiled once, kept in a folder, and there again after a restart.

Compiling takes seconds to minutes, so it is done by a process that does nothing else
(:mod:`farfunc_server.workers`). It makes the plan anew from data, the function's file, the chain and the types,
so no code passes between processes; what it leaves in the folder is a package of torch's own
ahead-of-time compiler (AOTInductor), which needs neither Python nor a check of its arguments to run.

A package is named by a digest of all that it depends on, the version of torch and the kind of processor included:
one that was made elsewhere or by another version is not looked at.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import stat
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from farfunc_protocol.graph import Function, TensorType
from farfunc_protocol.graph_json import tensor_type_from_text
from farfunc_protocol.strict_json import canonical_json
from farfunc_protocol.transforms import FlatTransform

from .flattening import NotFlat, flatten
from .plans import Run
from .program import Program
from .tensors import TORCH_DTYPES
from .value_checks import checks_values, refuse_negative_indices, why_not_compiled

__all__ = ["NotCompiled", "PackageFolder", "PlanSpec", "compile_plan", "why_not_here"]

VERSION = 3
"""Counts up when a package of the same plan would be another: flattening, simplification, calling convention."""

_MAX_EXAMPLE_BYTES = 1 << 30
_FOLDER_BYTES = 2 << 30


class NotCompiled(Exception):
    """Why a plan has no machine code."""


@dataclass(frozen=True, slots=True)
class PlanSpec:
    """All that a plan is made from.

    Attributes
    ----------
    function:
        The function's identity.
    chain:
        The transforms, outermost first.
    types, capture_types:
        Of the argument leaves and of the captures.
    device:
        ``"cpu"``, ``"cuda:0"``.
    threads:
        How many threads an operator of a CPU takes, which is part of the code.
    """

    function: str
    chain: tuple[FlatTransform, ...]
    types: tuple[TensorType, ...]
    capture_types: tuple[TensorType, ...]
    device: str
    threads: int

    def to_json(self) -> dict[str, Any]:
        """As a message carries it."""
        return {
            "function": self.function,
            "chain": [flat.to_json() for flat in self.chain],
            "types": [str(type) for type in self.types],
            "capture_types": [str(type) for type in self.capture_types],
            "device": self.device,
            "threads": self.threads,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> PlanSpec:
        """Back."""
        return cls(
            document["function"],
            tuple(map(_flat_from_json, document["chain"])),
            tuple(map(tensor_type_from_text, document["types"])),
            tuple(map(tensor_type_from_text, document["capture_types"])),
            document["device"],
            document["threads"],
        )

    @property
    def digest(self) -> str:
        """Names the plan's package: the same wherever it would be the same."""
        key = {"plan": self.to_json(), "version": VERSION, "torch": torch.__version__, "host": _host(self.device)}
        return hashlib.sha256(canonical_json(key)).hexdigest()


def _flat_from_json(document: dict[str, Any]) -> FlatTransform:
    """A transform of a worker's plan, which may be one that no request can name."""
    attributes = {name: tuple(value) if isinstance(value, list) else value for name, value in document.items()}
    name = document["transform"]
    del attributes["transform"]
    return FlatTransform(name, attributes)


@functools.cache
def _host(device: str) -> list[str]:
    """What of this machine is in the code."""
    if device.startswith("cuda"):
        major, minor = torch.cuda.get_device_capability(device)
        return [torch.cuda.get_device_name(device), f"{major}.{minor}", str(torch.version.cuda)]
    return [platform.machine(), torch.backends.cpu.get_cpu_capability(), _cpu_flags()]


def _cpu_flags() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            flags = next((line for line in info if line.startswith(("flags", "Features"))), "")
    except OSError:
        flags = ""
    return hashlib.sha256(flags.encode()).hexdigest()[:16]


@functools.cache
def why_not_here(device: str = "cpu") -> str | None:
    """Why this machine cannot compile for a kind of device, ``cpu`` or ``cuda``; None if it can."""
    from torch._inductor import config

    compilers = [name for name in config.cpp.cxx if name]
    if not any(shutil.which(name) for name in compilers):
        return f"this machine has no C++ compiler ({', '.join(compilers)})"
    if device == "cuda":
        if importlib.util.find_spec("triton") is None:
            return "this machine has no triton, which compiles for GPUs: install the one that torch names"
        if not any(shutil.which(name) for name in (os.environ.get("CC", ""), "gcc", "clang", "cc") if name):
            return "this machine has no C compiler, which triton needs (gcc, clang)"
    return None


class PackageFolder:
    """Packages on disk, by the digests of their plans.

    Only what this user has written, and no one else can write to, is loaded: a package is code.

    Parameters
    ----------
    path:
        Made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def package(self, digest: str) -> Path:
        """Where a package lies, or will."""
        return self.path / f"{digest}.pt2"

    def failure(self, digest: str) -> str | None:
        """Why a plan could not be compiled; None if it was not tried."""
        try:
            return json.loads((self.path / f"{digest}.json").read_text(encoding="utf-8"))["reason"]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def note_failure(self, digest: str, reason: str) -> None:
        """Remember that it need not be tried again."""
        (self.path / f"{digest}.json").write_text(json.dumps({"reason": reason[:500]}), encoding="utf-8")

    def forget_failure(self, digest: str) -> None:
        """Let it be tried again."""
        (self.path / f"{digest}.json").unlink(missing_ok=True)

    def load(self, digest: str, device: torch.device) -> tuple[Run, int] | None:
        """A package's program for its device, and its size; None where there is none, or none that is ours.

        Raises
        ------
        Exception
            torch cannot load it.
        """
        package = self.package(digest)
        if not package.exists() or not _is_ours(package):
            return None
        # torch._inductor.aoti_load_package wraps this in Python, and imports the whole compiler for it: a second.
        from torch._C._aoti import AOTIModelPackageLoader

        os.utime(package)  # used last, removed last
        index = torch.cuda.current_device() if device.type == "cuda" else -1
        loader = AOTIModelPackageLoader(str(package), "model", True, 1, index)

        def run(leaves: Sequence[torch.Tensor], captures: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
            return tuple(loader.run([*leaves, *captures]))

        return run, package.stat().st_size

    def trim(self, most: int = _FOLDER_BYTES) -> None:
        """Remove the packages that were used longest ago, until no more than ``most`` bytes are left."""
        found = sorted(((path.stat(), path) for path in self.path.glob("*.pt2")), key=lambda item: -item[0].st_mtime)
        total = 0
        for status, path in found:
            total += status.st_size
            if total > most:
                path.unlink(missing_ok=True)


def _is_ours(path: Path) -> bool:
    status = path.stat()
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def compile_plan(spec: PlanSpec, function: Function, folder: PackageFolder) -> float:
    """Make a plan's package; returns the seconds that it took.

    Raises
    ------
    NotCompiled
        With the reason, which is noted in the folder, too.
    """
    started = time.perf_counter()
    try:
        if (reason := why_not_here(torch.device(spec.device).type)) is not None:
            raise NotCompiled(reason)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's own, which have no reader here
            _compile(spec, function, folder)
    except NotCompiled as error:
        folder.note_failure(spec.digest, str(error))
        raise
    except NotFlat as error:
        folder.note_failure(spec.digest, str(error))
        raise NotCompiled(str(error)) from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        folder.note_failure(spec.digest, reason)
        raise NotCompiled(reason) from error
    folder.trim()
    return time.perf_counter() - started


def _compile(spec: PlanSpec, function: Function, folder: PackageFolder) -> None:
    from torch._inductor import aoti_compile_and_package

    _let_onednn_multiply_what_varies()
    device = torch.device(spec.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.set_num_threads(spec.threads)
    program = Program(function, spec.chain, device)
    flat = flatten(program.run, spec.types, spec.capture_types, device, fold=False)
    if flat.is_random:
        raise NotCompiled("compiled code draws other random numbers")
    if (reason := why_not_compiled(flat.module.graph)) is not None:
        raise NotCompiled(reason)
    refuse_negative_indices(flat.module)
    if any(map(checks_values, flat.module.graph.nodes)):
        torch.set_num_threads(1)  # an error that one of several threads raises ends the process
    types = (*spec.types, *spec.capture_types)
    if sum(_bytes(type) for type in types) > _MAX_EXAMPLE_BYTES:
        raise NotCompiled("its arguments are too large")
    examples = tuple(
        torch.zeros([int(length) for length in type.shape], dtype=TORCH_DTYPES[type.dtype], device=device)
        for type in types
    )
    exported = torch.export.export(flat.module, examples, strict=False)
    with tempfile.TemporaryDirectory(dir=folder.path, prefix="making-") as making:
        package = aoti_compile_and_package(exported, package_path=str(Path(making) / "plan.pt2"))
        os.chmod(package, 0o600)
        os.replace(package, folder.package(spec.digest))


@functools.cache
def _let_onednn_multiply_what_varies() -> None:
    """Compile oneDNN's product, see :mod:`.products`, for any operands; torch's own rule is for constant weights."""
    from torch._inductor import ir
    from torch._inductor.lowering import register_lowering
    from torch._inductor.mkldnn_ir import LinearUnary

    @register_lowering(torch.ops.mkldnn._linear_pointwise.default, type_promotion_kind=None)
    def product(left: Any, right: Any, bias: Any, attribute: str, scalars: Any, algorithm: str) -> Any:
        return ir.TensorBox.create(LinearUnary.create(left, right, bias, attribute, scalars, algorithm))


def _bytes(type: TensorType) -> int:
    count = TORCH_DTYPES[type.dtype].itemsize
    for length in type.shape:
        count *= int(length)
    return count
