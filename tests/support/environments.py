"""The two Python environments of the tests.

*full*: the server extra and the tools; it runs pytest and the servers. *thin*: what a plain
``pip install farfunc`` brings, and pytest; it has no torch.
"""

from __future__ import annotations

import fcntl
import importlib.util
import re
import subprocess
import sys
import venv
from pathlib import Path

from support.paths import ROOT

__all__ = ["full_python", "in_thin_environment", "is_marked_thin", "thin_python"]

_CONSTRAINTS = ROOT / "constraints.txt"
_PYPROJECT = ROOT / "pyproject.toml"
_MARK = re.compile(r"^pytestmark = .*pytest\.mark\.thin\b", re.MULTILINE)


def is_marked_thin(test_file: Path) -> bool:
    """Whether a test file says that it needs the client alone. Read as text: importing it may need torch."""
    return _MARK.search(test_file.read_text(encoding="utf-8")) is not None


def in_thin_environment() -> bool:
    """Whether this very process runs without torch."""
    return importlib.util.find_spec("torch") is None


def full_python() -> Path:
    """An interpreter that can run the server: this one, or that of the Makefile's ``.venv``."""
    if not in_thin_environment():
        return Path(sys.executable)
    python = ROOT / ".venv" / "bin" / "python"
    if not python.exists():
        raise RuntimeError("the thin environment cannot run a server, and there is no .venv: run `make test` once")
    return python


def thin_python() -> Path:
    """An interpreter without torch: the Makefile's, or one made in ``build/`` at first use."""
    if in_thin_environment():
        return Path(sys.executable)
    ready = ROOT / ".venv-thin" / ".ready"
    if not ready.exists():
        ready = _build(ROOT / "build" / "venv-thin")
    return ready.parent / "bin" / "python"


def _build(folder: Path) -> Path:
    """Do what the Makefile does for ``.venv-thin``, once for all processes of pytest-xdist."""
    ready = folder / ".ready"
    folder.parent.mkdir(exist_ok=True)
    with open(folder.parent / "venv-thin.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        newest = max(_CONSTRAINTS.stat().st_mtime, _PYPROJECT.stat().st_mtime)
        if not ready.exists() or ready.stat().st_mtime < newest:
            venv.create(folder, with_pip=True, symlinks=True)
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            what = ["-c", str(_CONSTRAINTS), "-e", str(ROOT), "pytest", "pytest-timeout"]
            subprocess.run([*pip, *what], check=True, timeout=600)
            ready.touch()
    return ready
