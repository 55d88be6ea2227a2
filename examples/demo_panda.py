"""The main job: 1,000 Jacobians of a robot arm, from a client without torch.

FARFUNC_URL=http://127.0.0.1:8017 python examples/demo_panda.py
"""

import importlib.util
import os
import statistics
import sys
import textwrap
import time

import numpy as np

import farfunc
from panda import READY, finite_differences, forward_kinematics, random_states

STATES = 1000


def since(started):
    """Seconds since a moment."""
    return time.perf_counter() - started


def milliseconds(call, repeats=9):
    """The median time of a call."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(since(started))
    return 1e3 * statistics.median(times)


def main():
    torch = "torch installed" if importlib.util.find_spec("torch") else "no torch"
    print(f"Franka Panda on {os.environ.get('FARFUNC_URL', 'a private server')}")
    print(f"  this client: Python {sys.version.split()[0]}, NumPy {np.__version__}, {torch}")

    states = random_states(STATES)
    jacobian = farfunc.jacfwd(forward_kinematics)
    started = time.perf_counter()
    one = jacobian(READY)
    print(f"\njacfwd(forward_kinematics)(q): {READY.shape} -> {one.shape}, first call {since(started):.2f} s")
    print("  (traced here, sent as a graph, differentiated there)")
    print(textwrap.indent(np.array2string(one, precision=4, suppress_small=True), "  "))

    batched = farfunc.vmap(jacobian)
    started = time.perf_counter()
    jacobians = batched(states)
    print(f"\nvmap(jacfwd(forward_kinematics))(q): {states.shape} -> {jacobians.shape}, {since(started):.2f} s")

    print(f"\nchecking all {STATES:,} against central differences made here ...", flush=True)
    started = time.perf_counter()
    expected = np.stack([finite_differences(q) for q in states])
    differences_ms = 1e3 * since(started)
    error = np.abs(jacobians - expected) / np.maximum(1.0, np.abs(expected).max(axis=(1, 2), keepdims=True))
    print(f"  largest difference, relative to the largest entry of its Jacobian: {error.max():.1e}")
    if error.max() > 1e-5:
        print("  THE JACOBIANS ARE WRONG", file=sys.stderr)
        return 1

    one_ms, batch_ms = milliseconds(lambda: jacobian(READY)), milliseconds(lambda: batched(states))
    print("\nwarm, medians:")
    print(f"  one state                  {one_ms:8.2f} ms")
    print(f"  {STATES:,} states               {batch_ms:8.2f} ms   ({1e3 * batch_ms / STATES:.1f} us each)")
    print(
        f"  {STATES:,} by differences here  {differences_ms:8.2f} ms   "
        f"({differences_ms / batch_ms:.1f} times as long, and half the digits)"
    )

    print("\na mistake, and what it says:")
    try:
        farfunc.jacfwd(lambda q: q * 2.0 if q[0] > 0 else q)(READY)
    except farfunc.FarfuncError as error:
        print(textwrap.indent(str(error), "  "))
    return 0


if __name__ == "__main__":
    sys.exit(main())
