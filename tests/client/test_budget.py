"""What the thin client costs: the time of ``import farfunc`` and the size of what it needs."""

import os
import statistics
import subprocess
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_MAX_IMPORT_RATIO = 1.5
_MAX_INSTALLED_BYTES = 80_000_000
_PAIRS = 11


def _import_seconds(python: Path, modules: str) -> float:
    script = f"from time import perf_counter as t; a = t(); import {modules}; print(t() - a)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FARFUNC_"))}
    ran = subprocess.run(
        [python, "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return float(ran.stdout)


def test_import_time(thin_python):
    # Each pair runs back to back, so that another load on the machine falls on both; the median
    # leaves out the pairs that it did not.
    _import_seconds(thin_python, "numpy, httpx, farfunc")  # the first import compiles
    pairs = [
        (_import_seconds(thin_python, "numpy, httpx"), _import_seconds(thin_python, "farfunc")) for _ in range(_PAIRS)
    ]
    ratio = statistics.median(ours / base for base, ours in pairs)
    print(f"import farfunc: {ratio:.2f} times what numpy and httpx take")
    assert ratio <= _MAX_IMPORT_RATIO, f"import farfunc takes {ratio:.2f} times what numpy and httpx take: {pairs}"


def _needed(installed: dict[str, Distribution]) -> set[str]:
    """farfunc's requirements without extras, theirs, and so on."""
    environment = default_environment() | {"extra": ""}
    found: set[str] = set()
    waiting = ["farfunc"]
    while waiting:
        for line in installed[waiting.pop()].requires or []:
            requirement = Requirement(line)
            name = canonicalize_name(requirement.name)
            if name not in found and (not requirement.marker or requirement.marker.evaluate(environment)):
                found.add(name)
                waiting.append(name)
    return found


def _size(distribution: Distribution) -> int:
    paths = [Path(str(distribution.locate_file(file))) for file in distribution.files or []]
    return sum(path.stat().st_size for path in paths if path.exists())


def test_installed_size(thin_python):
    site_packages = next((thin_python.parents[1] / "lib").glob("python3*/site-packages"))
    installed = {canonicalize_name(found.name): found for found in distributions(path=[str(site_packages)])}
    sizes = {name: _size(installed[name]) for name in sorted(_needed(installed))}
    total = sum(sizes.values())
    print(f"the client needs {total / 1e6:.1f} MB")
    assert {"numpy", "httpx"} <= sizes.keys()
    assert total < _MAX_INSTALLED_BYTES, f"{total / 1e6:.1f} MB: {sizes}"
