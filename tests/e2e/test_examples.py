"""Every file of examples/ runs, against a real server, as its reader would run it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
HELPERS = {"panda.py", "run_demo.py"}


def _run(python, path, server_url):
    return subprocess.run(
        [python, path],
        env={**os.environ, "FARFUNC_URL": server_url},
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py") if path.name not in HELPERS))
def test_the_example_runs(name, server_url):
    ran = _run(sys.executable, EXAMPLES / name, server_url)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout


def test_the_main_job_runs_without_torch(thin_python, server_url):
    ran = _run(thin_python, EXAMPLES / "demo_panda.py", server_url)
    assert ran.returncode == 0, ran.stderr
    assert "no torch" in ran.stdout
    assert "(1000, 7) -> (1000, 6, 7)" in ran.stdout
    assert "where: " in ran.stdout
