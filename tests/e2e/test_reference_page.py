"""The examples of torch.func's own reference pages, word for word but for the import, and the same in NumPy."""

import contextlib
import io
import re
import textwrap
import warnings

import numpy as np
import pytest
import torch
import torch.func

import farfunc

PAGES = {"jacfwd": 6, "jacrev": 8, "hessian": 1, "grad": 5, "jvp": 2, "vjp": 6, "linearize": 2, "vmap": 9}
"""How many of a page's blocks run by themselves; the others name things that the page does not define."""


def _blocks(name):
    """The pieces of code of a page; ``>>>`` stands before each line of them, also inside a function."""
    block = []
    for line in [*textwrap.dedent(getattr(torch.func, name).__doc__).splitlines(), ""]:
        text = line.strip()
        if text.startswith((">>>", "...")):
            block.append(text[4:])
        elif block:
            yield "\n".join(block)
            block = []


def _run(source, namespace):
    """Run a block from a known state of the random numbers; None, or what it raised."""
    torch.manual_seed(0)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own linearize warns
            exec(compile(source, "reference page", "exec"), namespace)
    except Exception as error:  # noqa: BLE001 (the page may contain anything)
        return error
    return None


@pytest.fixture(autouse=True)
def _on_the_server(server_url, monkeypatch):
    monkeypatch.setenv("FARFUNC_URL", server_url)


@pytest.mark.parametrize("name", PAGES)
def test_the_page_runs_with_only_the_import_changed(name):
    local = {"torch": torch, name: getattr(torch.func, name)}
    remote = {"torch": torch, name: getattr(farfunc, name)}
    ran = 0
    for block in _blocks(name):
        if _run(block, local) is not None:
            continue
        ours = re.sub(r"from torch\.func import", "from farfunc import", block)
        ours = re.sub(r"\btorch\.(func\.)?(?=vmap\b)", "farfunc.", "import farfunc\n" + ours)
        error = _run(ours, remote)
        assert error is None, f"{error!r} in\n{ours}"
        ran += 1
        for variable, value in local.items():
            if isinstance(value, torch.Tensor):
                torch.testing.assert_close(remote[variable], value)
        transforms = [
            key for key, value in remote.items() if getattr(value, "__module__", None) == "torch._functorch.apis"
        ]
        assert not transforms, "torch's own transform was used"
    assert ran == PAGES[name]


def test_numpy_sin():
    x = np.random.default_rng(0).standard_normal(5)
    np.testing.assert_allclose(farfunc.jacfwd(np.sin)(x), np.diag(np.cos(x)), rtol=1e-14)


def test_numpy_batch():
    x = np.random.default_rng(0).standard_normal((64, 5))
    jacobian = farfunc.vmap(farfunc.jacfwd(np.sin))(x)
    assert jacobian.shape == (64, 5, 5)
    np.testing.assert_allclose(jacobian, [np.diag(np.cos(row)) for row in x], rtol=1e-14)


def test_numpy_aux():
    def f(x):
        return np.sin(x)

    def g(x):
        result = f(x)
        return result, result

    x = np.random.default_rng(0).standard_normal(5)
    jacobian, f_x = farfunc.jacfwd(g, has_aux=True)(x)
    np.testing.assert_allclose(f_x, f(x), rtol=1e-14)
    np.testing.assert_allclose(jacobian, np.diag(np.cos(x)), rtol=1e-14)


def test_numpy_hessian():
    def f(x):
        return np.sin(x).sum()

    x = np.random.default_rng(0).standard_normal(5)
    np.testing.assert_allclose(farfunc.jacfwd(farfunc.jacrev(f))(x), np.diag(-np.sin(x)), rtol=1e-14)


def test_numpy_argnums():
    def f(x, y):
        return x + y**2

    x, y = np.random.default_rng(0).standard_normal((2, 5))
    np.testing.assert_allclose(farfunc.jacfwd(f, argnums=1)(x, y), np.diag(2 * y), rtol=1e-14)
    by_x, by_y = farfunc.jacfwd(f, argnums=(0, 1))(x, y)
    np.testing.assert_allclose(by_x, np.eye(5))
    np.testing.assert_allclose(by_y, np.diag(2 * y), rtol=1e-14)


def test_an_operator_without_forward_mode_points_to_jacrev():
    def distances(x):
        return torch.cdist(x, torch.ones(2, 3))

    x = torch.randn(4, 3)
    with pytest.raises(farfunc.ForwardModeUnsupported, match="jacrev") as caught:
        farfunc.jacfwd(distances)(x)
    assert "cdist" in str(caught.value)
    assert isinstance(caught.value, NotImplementedError), "what torch.func raises"
    torch.testing.assert_close(farfunc.jacrev(distances)(x), torch.func.jacrev(distances)(x))
