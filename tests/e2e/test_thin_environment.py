"""The environment without torch: what is in it, and every test marked ``thin`` run inside it."""

import os
import subprocess

import pytest

from support.environments import is_marked_thin
from support.paths import ROOT, TESTS

_THIN_FILES = sorted(path.relative_to(ROOT).as_posix() for path in TESTS.rglob("test_*.py") if is_marked_thin(path))
_SERVER_EXTRA = ["torch", "fastapi", "uvicorn", "pydantic", "prometheus_client"]


def test_has_nothing_of_the_server_extra(thin_python):
    script = "import importlib.util, sys; print(*[m for m in sys.argv[1:] if importlib.util.find_spec(m)])"
    ran = subprocess.run([thin_python, "-c", script, *_SERVER_EXTRA], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


@pytest.mark.parametrize("arguments", [("-m", "farfunc_server"), ("-m", "farfunc_server", "serve")])
def test_a_server_without_its_extra_is_one_sentence(thin_python, arguments):
    ran = subprocess.run([thin_python, *arguments], capture_output=True, text=True, timeout=60)
    assert ran.returncode != 0
    assert "pip install 'farfunc[server]'" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_console_script_is_there(thin_python):
    ran = subprocess.run([thin_python.parent / "farfunc", "serve"], capture_output=True, text=True, timeout=60)
    assert ran.returncode != 0
    assert "pip install 'farfunc[server]'" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.timeout(600)
@pytest.mark.parametrize("file", _THIN_FILES)
def test_runs_without_torch(thin_python, file, request):
    text = (ROOT / file).read_text(encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    if "server_url" in text:
        environment["FARFUNC_TEST_URL"] = request.getfixturevalue("server_url")
    ran = subprocess.run(
        [thin_python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "thin and not gpu and not stack", file],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=590,
    )
    assert ran.returncode == 0, f"{file} in the environment without torch:\n{ran.stdout}{ran.stderr}"
