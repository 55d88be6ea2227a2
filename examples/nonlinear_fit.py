"""A damped oscillation fitted by SciPy's least_squares, with farfunc's Jacobian."""

import numpy as np
from scipy.optimize import least_squares

import farfunc

TIMES = np.linspace(0.0, 10.0, 200)
TRUTH = np.array([2.0, 0.3, 3.0, 0.5, 1.0])


def model(parameters):
    """The signal (200,) of amplitude, decay, frequency, phase and offset."""
    amplitude, decay, frequency, phase, offset = parameters
    return amplitude * np.exp(-decay * TIMES) * np.cos(frequency * TIMES + phase) + offset


def main():
    measured = model(TRUTH) + 0.01 * np.random.default_rng(0).standard_normal(len(TIMES))

    def residuals(parameters):
        return model(parameters) - measured

    start = np.array([1.5, 0.2, 2.9, 0.2, 0.8])
    fit = least_squares(residuals, start, jac=farfunc.jacfwd(residuals))
    print(f"found: {np.round(fit.x, 3)}, truth: {TRUTH}")
    print(f"calls: {fit.nfev} of the residuals, {fit.njev} of the Jacobian")
    np.testing.assert_allclose(fit.x, TRUTH, atol=0.02)
    return fit


if __name__ == "__main__":
    main()
