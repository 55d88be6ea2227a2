"""PyTorch's tests of the transforms and their composition pass with ours, where they have been fetched."""

import os
import subprocess
import sys

import pytest

from support.paths import ROOT

RUN = ROOT / "tests" / "functorch" / "run.py"
FETCHED = ROOT / "build" / "functorch" / "fetched"


@pytest.mark.skipif(not FETCHED.is_file(), reason="PyTorch's tests are not there: `make functorch-tests` fetches them")
@pytest.mark.timeout(600)
def test_the_transforms_and_their_composition(server_url: str) -> None:
    done = subprocess.run(
        [sys.executable, RUN, "--transforms", "farfunc", "--fast"],
        env=os.environ | {"FARFUNC_URL": server_url},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
