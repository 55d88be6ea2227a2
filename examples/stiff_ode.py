"""A stiff chemical reaction (Robertson, 1966) through SciPy's Radau, with farfunc's Jacobian.

Without a Jacobian Radau estimates one by finite differences, at n + 1 calls each time.
"""

import numpy as np
from scipy.integrate import solve_ivp

import farfunc


def robertson(t, y):
    """The rates of the three species."""
    a, b, c = y
    return np.stack([-0.04 * a + 1e4 * b * c, 0.04 * a - 1e4 * b * c - 3e7 * b**2, 3e7 * b**2])


def main():
    y0 = np.array([1.0, 0.0, 0.0])
    jacobian = farfunc.jacfwd(robertson, argnums=1)
    solution = solve_ivp(robertson, (0.0, 1e5), y0, method="Radau", jac=jacobian, rtol=1e-8, atol=1e-12)
    by_differences = solve_ivp(robertson, (0.0, 1e5), y0, method="Radau", rtol=1e-8, atol=1e-12)

    print(f"y(1e5) = {solution.y[:, -1]}")
    print(f"mass lost: {abs(solution.y[:, -1].sum() - 1):.1e}")
    print(f"steps: {len(solution.t) - 1}, Jacobians: {solution.njev}")
    np.testing.assert_allclose(solution.y[:, -1], by_differences.y[:, -1], rtol=1e-5)
    return solution


if __name__ == "__main__":
    main()
