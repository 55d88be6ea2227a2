"""Ordinary NumPy models, as their authors write them: values as in NumPy, Jacobians as by finite differences."""

import math

import numpy as np
import pytest

pytest.importorskip("torch")
import torch

from farfunc_protocol.pytree import flatten
from support.numpy_graphs import check, torch_callable, trace_of

RANDOM = np.random.default_rng(11)


# Robotics.

PANDA = [
    # a, d, alpha of the Franka Emika Panda, from its control parameters (modified Denavit-Hartenberg).
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -np.pi / 2),
    (0.0, 0.316, np.pi / 2),
    (0.0825, 0.0, np.pi / 2),
    (-0.0825, 0.384, -np.pi / 2),
    (0.0, 0.0, np.pi / 2),
    (0.088, 0.0, np.pi / 2),
]


def panda(q):
    pose = np.eye(4)
    for (a, d, alpha), theta in zip(PANDA, q, strict=True):
        ct, st, ca, sa = np.cos(theta), np.sin(theta), np.cos(alpha), np.sin(alpha)
        pose = pose @ np.array(
            [[ct, -st, 0, a], [st * ca, ct * ca, -sa, -d * sa], [st * sa, ct * sa, ca, d * ca], [0, 0, 0, 1]]
        )
    return np.concatenate([pose[:3, 3], pose[:3, :3].ravel()])


def panda_with_assignment(q):
    pose = np.identity(4)
    for i in range(len(q)):
        a, d, alpha = PANDA[i]
        link = np.zeros((4, 4))
        link[0, 0] = np.cos(q[i])
        link[0, 1] = -np.sin(q[i])
        link[0, 3] = a
        st, ct, sa, ca = np.sin(q[i]), np.cos(q[i]), math.sin(alpha), math.cos(alpha)
        link[1] = [st * ca, ct * ca, -sa, -d * sa]
        link[2, :] = st * sa, ct * sa, ca, d * ca
        link[-1, -1] = 1
        pose = pose.dot(link)
    return pose[:3, 3]


def two_link_arm(state):
    q, dq = state[:2], state[2:]
    m1, m2, l1, l2, g = 1.0, 0.8, 0.5, 0.4, 9.81
    c2, s2 = np.cos(q[1]), np.sin(q[1])
    mass = np.array([[m1 * l1**2 + m2 * (l1**2 + 2 * l1 * l2 * c2 + l2**2), 0], [0, m2 * l2**2]])
    mass[0, 1] = mass[1, 0] = m2 * (l1 * l2 * c2 + l2**2)
    coriolis = np.array([-m2 * l1 * l2 * s2 * (2 * dq[0] * dq[1] + dq[1] ** 2), m2 * l1 * l2 * dq[0] ** 2 * s2])
    gravity = np.zeros(2)
    gravity[1] = m2 * g * l2 * np.cos(q.sum())
    gravity[0] = (m1 + m2) * l1 * g * np.cos(q[0]) + gravity[1]
    return np.hstack((dq, np.linalg.solve(mass, -coriolis - gravity)))


def quaternion_rotation(x):
    w, a, b, c = x[:4] / np.linalg.norm(x[:4])
    rotation = np.array([
        [1 - 2 * (b * b + c * c), 2 * (a * b - c * w), 2 * (a * c + b * w)],
        [2 * (a * b + c * w), 1 - 2 * (a * a + c * c), 2 * (b * c - a * w)],
        [2 * (a * c - b * w), 2 * (b * c + a * w), 1 - 2 * (a * a + b * b)],
    ])  # fmt: skip
    return rotation @ x[4:]


# Ordinary differential equations.


def robertson(y):
    return np.array([
        -0.04 * y[0] + 1e4 * y[1] * y[2],
        0.04 * y[0] - 1e4 * y[1] * y[2] - 3e7 * y[1] ** 2,
        3e7 * y[1] ** 2,
    ])  # fmt: skip


def robertson_in_place(y):
    dy = np.empty_like(y)
    a, b, c = y
    dy[0] = -0.04 * a + 1e4 * b * c
    dy[2] = 3e7 * b**2
    dy[1] = -dy[0] - dy[2]
    return dy


def brusselator(y):
    n = y.size // 2
    u, v = y[:n], y[n:]
    alpha = (n + 1) ** 2 / 50
    du, dv = np.zeros(n), np.zeros(n)
    du[1:-1] = u[2:] - 2 * u[1:-1] + u[:-2]
    du[0], du[-1] = u[1] - 2 * u[0] + 1.0, 1.0 - 2 * u[-1] + u[-2]
    dv[1:-1] = v[2:] - 2 * v[1:-1] + v[:-2]
    dv[[0, -1]] = v[[1, -2]] - 2 * v[[0, -1]] + 3.0
    reaction = u**2 * v
    return np.concatenate((1 + reaction - 4 * u + alpha * du, 3 * u - reaction + alpha * dv))


def van_der_pol(y, mu=5.0):
    return np.array([y[1], mu * (1 - y[0] ** 2) * y[1] - y[0]])


def heat_equation(u):
    field = u.reshape(4, 4)
    laplacian = -4 * field
    for shift, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
        laplacian += np.roll(field, shift, axis=axis)
    return (0.1 * laplacian).ravel()


def runge_kutta(y):
    def rhs(t, y):
        return np.array([y[1], -np.sin(y[0]) - 0.1 * y[1] * abs(y[1]) + np.cos(t)])

    t, h = 0.0, 0.05
    path = [y]
    for _ in range(4):
        k1 = rhs(t, y)
        k2 = rhs(t + h / 2, y + h / 2 * k1)
        k3 = rhs(t + h / 2, y + h / 2 * k2)
        k4 = rhs(t + h, y + h * k3)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        t += h
        path.append(y)
    return np.array(path)


def n_bodies(x):
    positions = x.reshape(-1, 3)
    difference = positions[None, :, :] - positions[:, None, :]
    squared = np.sum(difference**2, axis=-1)
    np.fill_diagonal(squared, 1.0)
    return (difference / squared[..., None] ** 1.5).sum(axis=1)


# Vision.


POINTS = RANDOM.normal(size=(6, 3)) + np.array([0.0, 0.0, 5.0])


def project(camera, points=POINTS):
    """Bundle adjustment in the large: rotation vector, translation, focal length, two distortions."""
    rotation, translation, (f, k1, k2) = camera[:3], camera[3:6], camera[6:9]
    theta = np.linalg.norm(rotation)
    axis = rotation / theta
    dot = points @ axis
    turned = (
        np.cos(theta) * points
        + np.sin(theta) * np.cross(axis, points)
        + dot[:, np.newaxis] * (1 - np.cos(theta)) * axis
    )
    moved = turned + translation
    flat = -moved[:, :2] / moved[:, 2, np.newaxis]
    n = np.sum(flat**2, axis=1)
    return (flat * (1 + k1 * n + k2 * n**2)[:, np.newaxis] * f).ravel()


def rodrigues_by_matrix(x):
    theta = np.sqrt(x @ x)
    k = np.array([[0, -x[2], x[1]], [x[2], 0, -x[0]], [-x[1], x[0], 0]]) / theta
    return np.eye(3) + np.sin(theta) * k + (1 - np.cos(theta)) * np.linalg.matrix_power(k, 2)


# Learning and statistics.

INPUTS, LABELS = RANDOM.normal(size=(5, 4)), np.array([0, 2, 1, 1, 0])


def network(parameters):
    w1, b1, w2, b2 = (
        parameters[:24].reshape(4, 6), parameters[24:30], parameters[30:48].reshape(6, 3), parameters[48:51],
    )  # fmt: skip
    hidden = np.tanh(INPUTS @ w1 + b1)
    logits = np.maximum(hidden, 0.1 * hidden) @ w2 + b2
    logits -= logits.max(axis=1, keepdims=True)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return -np.log(probabilities[np.arange(len(LABELS)), LABELS]).mean()


def network_of_a_dict(parameters):
    x = INPUTS
    for name in ("first", "second"):
        layer = parameters[name]
        x = np.einsum("bi,io->bo", x, layer["w"]) + layer["b"]
        x = x / (1 + np.exp(-x))
    return x.std(axis=0)


def mixture_log_likelihood(parameters):
    weights, means, logs = parameters[:3], parameters[3:9].reshape(3, 2), parameters[9:12]
    data = INPUTS[:, :2]
    log_weights = weights - np.log(np.sum(np.exp(weights)))
    squared = ((data[:, None, :] - means[None]) ** 2).sum(-1) / np.exp(2 * logs)
    terms = log_weights - 0.5 * squared - 2 * logs - np.log(2 * np.pi)
    top = np.max(terms, axis=1, keepdims=True)
    return np.sum(np.squeeze(top, 1) + np.log(np.exp(terms - top).sum(axis=1)))


def kalman_step(x):
    state, covariance = x[:2], x[2:6].reshape(2, 2)
    covariance = covariance @ covariance.T + np.eye(2)
    dt = 0.1
    transition = np.array([[1.0, dt], [0.0, 1.0]])
    observe = np.array([[1.0, 0.0]])
    noise = np.diag([0.01, 0.1])
    state = transition @ state
    covariance = transition @ covariance @ transition.T + noise
    innovation = x[6] - observe @ state
    total = observe @ covariance @ observe.T + 0.5
    gain = covariance @ observe.T @ np.linalg.inv(total)
    state = state + gain @ innovation
    covariance = (np.eye(2) - gain @ observe) @ covariance
    _, logdet = np.linalg.slogdet(total)
    return state, covariance, -0.5 * (logdet + innovation @ np.linalg.solve(total, innovation))


def gaussian_process(h):
    length, scale, noise = np.exp(h)
    grid = np.linspace(0.0, 1.0, 6)
    kernel = scale * np.exp(-0.5 * np.subtract.outer(grid, grid) ** 2 / length**2)
    kernel[np.diag_indices(6)] += noise
    factor = np.linalg.cholesky(kernel)
    target = np.sin(6 * grid)
    alpha = np.linalg.solve(factor.T, np.linalg.solve(factor, target))
    return -0.5 * target @ alpha - np.log(np.diag(factor)).sum() - 3 * np.log(2 * np.pi)


def table_look_up(x):
    knots = np.array([0.0, 0.5, 1.2, 2.0])
    linear = np.interp(x, knots, np.array([1.0, 3.0, 2.0, 5.0]))
    moved = np.interp(0.7, knots, x[:4] ** 2)
    return np.append(linear, moved)


def cubic_spline(y):
    n = len(y)
    matrix, right = np.zeros((n, n)), np.zeros(n)
    matrix[0, 0] = matrix[-1, -1] = 1
    for i in range(1, n - 1):
        matrix[i, i - 1 : i + 2] = [1, 4, 1]
        right[i] = 6 * (y[i + 1] - 2 * y[i] + y[i - 1])
    m = np.linalg.solve(matrix, right)
    t = 0.3
    return np.array([
        (m[i] * (1 - t) ** 3 + m[i + 1] * t**3) / 6 + (y[i] - m[i] / 6) * (1 - t) + (y[i + 1] - m[i + 1] / 6) * t
        for i in range(n - 1)
    ])  # fmt: skip


def moving_average_model(x):
    phi, theta, series = x[0], x[1], x[2:]
    residuals = np.zeros(len(series))
    for t in range(1, len(series)):
        residuals[t] = series[t] - phi * series[t - 1] - theta * residuals[t - 1]
    return residuals, np.sum(residuals**2)


def power_spectrum(x):
    window = np.hanning(len(x))
    spectrum = np.fft.rfft(x * window)
    return 10 * np.log10(np.abs(spectrum) ** 2 + 1e-3)


def smoothed(x):
    kernel = np.array([0.25, 0.5, 0.25])
    return np.convolve(np.pad(x, 1, mode="edge"), kernel, mode="valid") ** 2


def guarded(x):
    safe = np.where(x > 0, x, 1.0)
    logs = np.where(x > 0, np.log(safe), 0.0)
    ratio = np.divide(1.0, x, where=x > 0.2, out=np.zeros_like(x))
    return logs + ratio + np.clip(x, -0.5, 0.5) + np.select([x < -1, x < 1], [x**2, np.sin(x)], default=0.0)


def rosenbrock(x):
    return sum(100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(len(x) - 1))


def sorted_statistics(x):
    return np.median(x), np.percentile(x, [20, 70]), np.sort(x)[:3], np.ptp(x), np.cumsum(x)[-1]


def complex_impedance(x):
    resistance, inductance, capacity = x[:3]
    omega = np.array([1.0, 2.0, 5.0])
    z = resistance + 1j * omega * inductance + 1 / (1j * omega * capacity)
    return np.abs(z), np.angle(z), z.real**2 + z.imag**2


MODELS = [
    (panda, RANDOM.uniform(-1, 1, 7)),
    (panda_with_assignment, RANDOM.uniform(-1, 1, 7)),
    (two_link_arm, RANDOM.uniform(-1, 1, 4)),
    (quaternion_rotation, RANDOM.normal(size=7)),
    (robertson, np.array([0.9, 2e-5, 0.1])),
    (robertson_in_place, np.array([0.9, 2e-5, 0.1])),
    (brusselator, RANDOM.uniform(0.5, 2, 12)),
    (van_der_pol, np.array([2.0, 0.3])),
    (heat_equation, RANDOM.normal(size=16)),
    (runge_kutta, np.array([0.5, 0.2])),
    (n_bodies, RANDOM.normal(size=12)),
    (project, np.array([0.1, -0.3, 0.2, 0.1, 0.2, -0.4, 500.0, 0.01, -0.02])),
    (rodrigues_by_matrix, np.array([0.3, -0.2, 0.5])),
    (network, RANDOM.normal(size=51) * 0.5),
    (mixture_log_likelihood, RANDOM.normal(size=12) * 0.5),
    (kalman_step, RANDOM.normal(size=7)),
    (gaussian_process, np.array([-1.0, 0.1, -2.0])),
    (table_look_up, np.array([0.1, 0.6, 1.3, 1.9, -1.0, 3.0])),
    (cubic_spline, RANDOM.normal(size=6)),
    (moving_average_model, RANDOM.normal(size=9) * 0.5),
    (power_spectrum, RANDOM.normal(size=8)),
    (smoothed, RANDOM.normal(size=6)),
    (guarded, np.array([-1.5, -0.7, -0.1, 0.1, 0.3, 0.9, 1.7])),
    (rosenbrock, RANDOM.normal(size=5)),
    (sorted_statistics, RANDOM.normal(size=7)),
    (complex_impedance, np.array([1.0, 0.5, 0.2])),
]


def _outputs(function, x):
    """All outputs in one vector."""
    is_array = lambda leaf: isinstance(leaf, np.ndarray | np.generic | float)  # noqa: E731
    return np.concatenate([np.ravel(leaf) for leaf in flatten(function(x), is_array=is_array)[0]])


def _finite_differences(function, x):
    columns = []
    for i in range(x.size):
        h = 1e-5 * max(abs(x[i]), 1e-2)
        step = np.zeros_like(x)
        step[i] = h
        columns.append((_outputs(function, x + step) - _outputs(function, x - step)) / (2 * h))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize(("model", "x"), MODELS, ids=lambda value: getattr(value, "__name__", ""))
def test_model(model, x):
    check(model, x)
    call = torch_callable(trace_of(model, x))

    def flat(t):
        return torch.cat([output.reshape(-1) for output in call(t)])

    expected = _finite_differences(model, x)
    scale = np.abs(expected).max()
    for transform in (torch.func.jacrev, torch.func.jacfwd):
        jacobian = transform(flat)(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(jacobian, expected, rtol=2e-5, atol=2e-6 * scale)
    batched = torch.func.vmap(torch.func.jacrev(flat))(torch.from_numpy(np.stack([x, 1.01 * x]))).numpy()
    np.testing.assert_allclose(batched[0], expected, rtol=2e-5, atol=2e-6 * scale)


def test_network_of_a_dict():
    parameters = {
        "first": {"w": RANDOM.normal(size=(4, 3)), "b": RANDOM.normal(size=3)},
        "second": {"w": RANDOM.normal(size=(3, 2)).astype(np.float32), "b": 0.5},
    }
    check(network_of_a_dict, parameters)


def test_python_numbers_among_the_arguments():
    x = np.linspace(0.0, 1.0, 4, dtype=np.float32)
    check(lambda x, a: 2 * a * x + a**2, x, 0.5)
    check(lambda t, y: np.array([y[1] * t, -y[0]]), 0.3, np.ones(2))
    check(lambda a, x: np.float32(a) * x if False else a * x, 1j, np.ones(3, np.complex64))
    check(lambda n, x: sum(x**k for k in range(n)), 4, np.ones(3) * 0.5)


def test_masked_places_have_no_derivative():
    """NumPy does not compute where ``where=`` is false; a derivative of NaN there would poison the others."""
    x = np.array([-1.0, 0.0, 2.0, 4.0])

    def f(x):
        return np.sqrt(x, where=x > 0, out=np.zeros(4)) + np.log(x, where=x > 0, out=np.zeros(4))

    call = torch_callable(trace_of(f, x))
    gradient = torch.func.jacrev(lambda t: call(t)[0].sum())(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(gradient, [0, 0, 0.5 / np.sqrt(2) + 0.5, 0.25 + 0.25])


def from_lower_triangle(p):
    matrix = np.zeros((3, 3))
    matrix[np.tril_indices(3)] = p
    return np.linalg.cholesky(matrix), np.linalg.eigvalsh(matrix), np.linalg.eigh(matrix).eigenvalues


def from_upper_triangle(p):
    matrix = np.zeros((3, 3))
    matrix[np.triu_indices(3)] = p
    return np.linalg.eigvalsh(matrix, UPLO="U"), np.linalg.cholesky(matrix, upper=True)


@pytest.mark.parametrize(
    ("function", "x"),
    [
        (from_lower_triangle, np.array([2.0, 0.3, 3.0, -0.4, 0.5, 4.0])),
        (from_upper_triangle, np.array([2.0, 0.3, -0.4, 3.0, 0.5, 4.0])),
    ],
)
def test_matrices_of_which_one_triangle_is_filled_in(function, x):
    """NumPy looks at one triangle; torch's derivatives are those of a matrix that is symmetric as a whole."""
    check(function, x)
    call = torch_callable(trace_of(function, x))

    def flat(t):
        return torch.cat([output.reshape(-1) for output in call(t)])

    expected = _finite_differences(function, x)
    for transform in (torch.func.jacrev, torch.func.jacfwd):
        np.testing.assert_allclose(transform(flat)(torch.from_numpy(x)).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_order_statistics_have_derivatives():
    x = np.array([0.3, np.nan, -1.0, 2.0, np.nan, 0.7])
    call = torch_callable(trace_of(lambda x: np.nanmedian(x) + np.nanquantile(x, 0.1), x))
    gradient = torch.func.grad(lambda t: call(t)[0])(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(gradient, [0.5 + 0.3, 0, 0.7, 0, 0, 0.5])


def test_largest_of_complex_numbers():
    z = np.array([1 + 2j, 1 + 5j, -3 + 9j])
    call = torch_callable(trace_of(lambda z: np.max(z).imag + np.min(z).real, z))
    gradient = torch.func.grad(lambda t: call(t)[0])(torch.from_numpy(z)).numpy()
    np.testing.assert_allclose(gradient, [0, 1j, 1])
