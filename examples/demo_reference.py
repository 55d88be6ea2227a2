"""The examples of torch.func's reference page for jacfwd, with only the import changed.

FARFUNC_URL=http://127.0.0.1:8017 python examples/demo_reference.py
"""

import statistics
import sys
import time

import torch
import torch.func

from farfunc import jacfwd, jacrev, vmap


def milliseconds(functions, argument, repeats=15):
    """The median times of calls, made in turn."""
    times = [[] for _ in functions]
    for _ in range(repeats):
        for function, seconds in zip(functions, times, strict=True):
            started = time.perf_counter()
            function(argument)
            seconds.append(time.perf_counter() - started)
    return [1e3 * statistics.median(seconds) for seconds in times]


def show(text, result):
    shapes = ", ".join(str(tuple(part.shape)) for part in (result if isinstance(result, tuple) else (result,)))
    print(f"  {text:<42} -> {shapes}")


def main():
    torch.manual_seed(0)
    print("The reference page of torch.func.jacfwd, from the torch client")

    x = torch.randn(5)
    jacobian = jacfwd(torch.sin)(x)
    expected = torch.diag(torch.cos(x))
    assert torch.allclose(jacobian, expected)
    show("jacfwd(torch.sin)(x)", jacobian)

    x = torch.randn(64, 5)
    jacobian = vmap(jacfwd(torch.sin))(x)
    assert jacobian.shape == (64, 5, 5)
    show("vmap(jacfwd(torch.sin))(x)", jacobian)

    def f(x):
        return x.sin()

    def g(x):
        result = f(x)
        return result, result

    x = torch.randn(5)
    jacobian_f, f_x = jacfwd(g, has_aux=True)(x)
    assert torch.allclose(f_x, f(x))
    show("jacfwd(g, has_aux=True)(x)", (jacobian_f, f_x))

    def f(x):
        return x.sin().sum()

    x = torch.randn(5)
    hessian = jacfwd(jacrev(f))(x)
    assert torch.allclose(hessian, torch.diag(-x.sin()))
    show("jacfwd(jacrev(f))(x)", hessian)

    def f(x, y):
        return x + y**2

    x, y = torch.randn(5), torch.randn(5)
    jacobian = jacfwd(f, argnums=1)(x, y)
    expected = torch.diag(2 * y)
    assert torch.allclose(jacobian, expected)
    show("jacfwd(f, argnums=1)(x, y)", jacobian)

    jacobian = jacfwd(f, argnums=(0, 1))(x, y)
    expected_x = torch.diag(torch.ones_like(x))
    expected_y = torch.diag(2 * y)
    assert torch.allclose(jacobian[0], expected_x)
    assert torch.allclose(jacobian[1], expected_y)
    show("jacfwd(f, argnums=(0, 1))(x, y)", jacobian)

    print("\nwarm, medians, beside torch.func in this process:")
    network = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.Tanh(), torch.nn.Linear(64, 8))
    batch = torch.randn(256, 16)
    for text, here, there, argument in (
        ("jacfwd(torch.sin), n = 5", torch.func.jacfwd(torch.sin), jacfwd(torch.sin), x),
        (
            "vmap(jacrev(network)), 256 samples",
            torch.func.vmap(torch.func.jacrev(network)),
            vmap(jacrev(network)),
            batch,
        ),
    ):
        assert torch.allclose(here(argument), there(argument), atol=1e-6)
        local, remote = milliseconds((here, there), argument)
        print(f"  {text:<36} local {local:7.2f} ms   remote {remote:7.2f} ms   remote / local {remote / local:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
