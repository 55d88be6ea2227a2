"""Models with masks that are traced: derivatives as by finite differences, whatever lies where a mask is false."""

import numpy as np
import pytest

from support.numpy_graphs import trace_of

torch = pytest.importorskip("torch")
from support.numpy_graphs import check, torch_callable  # noqa: E402

X = np.array([0.5, -1.0, 2.0, -3.0, 0.25])


def piecewise_elasticity(x):
    strain = 0.01 * x
    stress = np.zeros(5)
    yielded = np.abs(strain) > 0.008
    stress[~yielded] = 200.0 * strain[~yielded]
    stress[yielded] = np.sign(strain[yielded]) * (1.6 + 10 * (np.abs(strain[yielded]) - 0.008))
    return stress


def return_mapping(x):
    strain = np.reshape(x, (2, 3))
    trial = 100.0 * (strain - strain.mean(axis=1, keepdims=True))
    norm = np.linalg.norm(trial, axis=1)
    excess = norm - 60.0
    plastic = excess > 0
    stress = trial * 1.0
    multiplier = np.zeros(2)
    multiplier[plastic] = excess[plastic] / (2 * 50.0 + 10.0)
    direction = trial[plastic] / norm[plastic][:, None]
    stress[plastic] -= 2 * 50.0 * multiplier[plastic][:, None] * direction
    return stress, multiplier


def upwind_flux(x):
    right = np.roll(x, -1)
    speed = 0.5 * (x + right)
    flux = np.empty(5)
    left_to_right = speed > 0
    flux[left_to_right] = 0.5 * x[left_to_right] ** 2
    flux[~left_to_right] = 0.5 * right[~left_to_right] ** 2
    return -(flux - np.roll(flux, 1)) / 0.1


def van_leer_limiter(x):
    before, after = x - np.roll(x, 1), np.roll(x, -1) - x
    slope = np.zeros_like(x)
    same = before * after > 0
    slope[same] = 2 * before[same] * after[same] / (before[same] + after[same])
    return x + 0.5 * slope


def saturating_actuator(x):
    u = 3.0 * x
    u[u > 2] = 2
    u[u < -2] = -2
    dead = abs(u) < 1.6
    u[dead] *= 0.1
    return u - x


def huber_loss(x):
    residual = x * np.arange(1.0, 6.0) - 1
    small = np.abs(residual) <= 1.5
    loss = np.empty(5)
    loss[small] = 0.5 * residual[small] ** 2
    loss[~small] = 1.5 * (np.abs(residual[~small]) - 0.75)
    return loss.mean(), residual[small].sum() / small.sum(), np.sqrt(loss[~small]).sum()


def leaky_network(x):
    W = np.sin(np.arange(20.0)).reshape(5, 4)
    h = x @ W
    h[h < 0] *= 0.01
    g = h @ np.cos(np.arange(12.0)).reshape(4, 3)
    negative = g < 0
    g[negative] = np.expm1(g[negative])
    return g


def option_payoff(x):
    spot = 100 * np.exp(0.1 * x)
    payoff = np.zeros(5)
    in_the_money = spot > 100.0
    payoff[in_the_money] = spot[in_the_money] - 100.0
    moneyness = np.log(spot[in_the_money] / 100.0)
    return payoff.mean(), np.sqrt(moneyness).sum(), payoff[in_the_money].mean(), moneyness.max(), moneyness.std()


def threshold_neuron(x):
    v, w = x * 20 - 50, 0.1 * x
    fired = v > -30
    dv = -(v + 65) / 10 + w
    dv[fired] = 0.0
    w = np.where(fired, w + 1, w)
    current = np.zeros(5)
    i = np.where(fired)[0]
    current[i] += np.log(v[i] + 31)
    return dv, w, current.sum()


def enthalpy(x):
    T = 2.2 * x
    h = 2.0 * T
    liquid, mushy = T > 1.0, (T > 0) & (T <= 1.0)
    h[liquid] = 4.2 * (T[liquid] - 1.0) + 334 + 2.0
    h[mushy] = 334 * T[mushy] ** 1.5 + 2.0 * T[mushy]
    return h, h[liquid].sum() - h[mushy].prod()


def hertz_contact(x):
    gap = -x
    force = np.zeros(5)
    touching = gap < 0
    depth = -gap[touching]
    force[touching] = 1e2 * depth**1.5 * (1 + 0.3 * np.sqrt(depth))
    nodes = np.array([0, 1, 0, 2, 1])
    total = np.zeros(3)
    np.add.at(total, nodes[touching], force[touching])
    return force, total


def lennard_jones_cutoff(x):
    position = np.cumsum(np.reshape(np.append(x, 0.3), (3, 2)) + 1.0, axis=0)
    d = position[:, None] - position
    r2 = (d**2).sum(axis=-1)
    near = (r2 > 0) & (r2 < 12.0)
    inverse = 1 / r2[near] ** 3
    force = np.zeros((3, 3, 2))
    force[near] = d[near] * (24 * (2 * inverse**2 - inverse) / r2[near])[:, None]
    return force.sum(axis=1), (4 * (inverse**2 - inverse)).sum() / 2


def infinity_on_the_other_side(x):
    y = np.zeros(5)
    m = x > 0
    scale = np.exp(x[m].sum() * 0.1)
    y[m] = np.log(x[m] * scale) / np.sqrt(x[m]) + x[m] ** scale + np.arctanh(x[m] / (x[m] + scale))
    y[~m] = 1 / (scale - 1 / x[~m]) + np.exp(-(x[~m] ** 2) * scale)
    return y, (np.arccosh(1 + x[m] * scale) * scale).sum(), np.linalg.norm(np.sqrt(x[m] * scale)), x[m] @ np.log(x[m])


MODELS = [
    piecewise_elasticity, upwind_flux, van_leer_limiter, saturating_actuator, huber_loss, leaky_network,
    option_payoff, threshold_neuron, enthalpy, hertz_contact, lennard_jones_cutoff, infinity_on_the_other_side,
]  # fmt: skip
CASES = [(model, X) for model in MODELS] + [(return_mapping, np.array([0.5, -1.0, 2.0, -0.1, 0.2, 0.25]))]


def _outputs(function, x):
    result = function(x.copy())
    parts = result if isinstance(result, tuple) else (result,)
    return np.concatenate([np.ravel(part) for part in parts])


def _finite_differences(function, x):
    columns = []
    for i in range(x.size):
        step = np.zeros_like(x)
        step[i] = 1e-6
        columns.append((_outputs(function, x + step) - _outputs(function, x - step)) / 2e-6)
    return np.stack(columns, axis=1)


@pytest.mark.parametrize(("model", "x"), CASES, ids=[model.__name__ for model, _ in CASES])
def test_derivatives(model, x):
    def function(x):
        return model(x * 1.0)

    check(function, x)
    call = torch_callable(trace_of(function, x))

    def flat(t):
        return torch.cat([output.reshape(-1) for output in call(t)])

    points = np.stack([x, 1.01 * x, np.roll(x, 1)])
    expected = [_finite_differences(function, point) for point in points]
    assert all(np.isfinite(jacobian).all() for jacobian in expected)
    for transform in (torch.func.jacrev, torch.func.jacfwd):
        jacobian = transform(flat)(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(jacobian, expected[0], rtol=1e-5, atol=1e-6 * np.abs(expected[0]).max())
        batched = torch.func.vmap(transform(flat))(torch.from_numpy(points)).numpy()
        for found, wanted in zip(batched, expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6 * np.abs(wanted).max())


SINGULAR = {
    "sqrt": lambda x, s, m: np.sqrt(x[m] + s),
    "log": lambda x, s, m: np.log(x[m] * s),
    "quotient": lambda x, s, m: s / x[m],
    "a quotient by zero": lambda x, s, m: s / (x[m] * s),
    "power": lambda x, s, m: (x[m] * s) ** 0.3,
    "traced power": lambda x, s, m: x[m] ** s,
    "base": lambda x, s, m: s ** np.log(x[m]),
    "exp": lambda x, s, m: s * np.exp(1000 / x[m] - 1000 / x[m]),
    "overflow": lambda x, s, m: np.exp(-(x[m] ** 3) * s),
    "arcsin": lambda x, s, m: np.arcsin(s * x[m] / 5),
    "product of infinities": lambda x, s, m: (1 / x[m]) * s * np.log(x[m]),
    "a product of the elements": lambda x, s, m: x[m] * s,
    "in place": lambda x, s, m: np.sqrt(x[m], out=x[m]) * s,
    "norm": lambda x, s, m: np.linalg.norm(x[m][:, None] * s * np.ones(2), axis=1),
    "variance": lambda x, s, m: np.var(x[m] * s) + x[m] * 0,
    "product": lambda x, s, m: np.prod(x[m] * s) + x[m] * 0,
    "dot": lambda x, s, m: (x[m] * s) @ x[m] + x[m] * 0,
    "matmul": lambda x, s, m: (x[m][:, None] @ (s * np.ones((1, 1))))[:, 0],
    "where": lambda x, s, m: np.where(x[m] > 1, np.sqrt(x[m] * s), s * x[m]),
    "interp": lambda x, s, m: np.interp(x[m], [0.0, 1.0, 4.0], [1.0, 0.5, 4.0]) * s,
    "a mean of infinities": lambda x, s, m: np.mean(x[m] * s) + x[m] * 0,
    "an int divided": lambda x, s, m: s * (x[m].astype(int) % 3),
    "assigned": lambda x, s, m: _assigned(x, s, m),
}


def _assigned(x, s, m):
    t = x[m]
    t[:] = t * s
    t[t > 1] = np.log(t[t > 1])
    return np.sqrt(np.abs(t)) * s


@pytest.mark.parametrize("name", SINGULAR)
def test_what_is_left_out_poisons_no_derivative(name):
    """NaN, infinities and zeros lie where the mask is false; a shared scalar's derivative sums over all places."""
    x = np.array([0.5, np.nan, 2.25, np.inf, -np.inf, 0.0, -1.0, -1e200, 3.25])
    chosen = np.array([0, 2, 8])
    function = SINGULAR[name]

    def of_all(x, s):
        y = np.zeros(9)
        m = (x > 0) & (x < 10)
        y[m] = function(x, s, m)
        return y, function(x, s, m).sum()

    def of_some(p):
        return _outputs_of(function(p[:3], p[3], np.array([True, True, True])))

    def _outputs_of(selected):
        return np.append(selected, np.sum(selected))

    point = np.append(x[chosen], 0.7)
    expected = np.stack([(of_some(point + h) - of_some(point - h)) / 2e-6 for h in 1e-6 * np.eye(4)], axis=1)
    call = torch_callable(trace_of(of_all, x, np.float64(0.7)))

    def flat(x, s):
        y, total = call(x, s)
        return torch.cat([y[torch.from_numpy(chosen)], total.reshape(1)]), y

    for transform in (torch.func.jacrev, torch.func.jacfwd):
        jacobian = transform(lambda x, s: flat(x, s)[0], (0, 1))(torch.from_numpy(x), torch.tensor(0.7).double())
        by_x, by_s = (block.numpy() for block in jacobian)
        assert np.isfinite(by_x).all()
        found = np.concatenate([by_x[:, chosen], by_s[:, None]], axis=1)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        others = np.setdiff1d(np.arange(9), chosen)
        assert (by_x[:, others] == 0).all()


def test_nothing_is_selected():
    """Sums are neutral, NaN where NumPy has none; the derivatives are zero."""

    def function(x):
        m = x > 100
        return x[m].sum(), x[m].prod(), np.max(x[m], initial=2.0), x[m] @ x[m], x[m].size, np.linalg.norm(x[m])

    check(function, X)
    call = torch_callable(trace_of(function, X))
    for transform in (torch.func.jacrev, torch.func.jacfwd):
        for jacobian in transform(lambda t: tuple(o.double() for o in call(t)))(torch.from_numpy(X)):
            assert (jacobian == 0).all()
    (greatest,) = torch_callable(trace_of(lambda x: x[x > 100].max(), X))(torch.from_numpy(X))
    assert torch.isnan(greatest)
