"""``x[mask]`` by a traced mask: values as in NumPy, derivatives as by finite differences, the rest refused."""

import numpy as np
import pytest

import farfunc
from support.numpy_graphs import trace_of

torch = pytest.importorskip("torch")
from support.numpy_graphs import check, torch_callable  # noqa: E402

X = np.array([0.5, -1.0, 2.0, -3.0, 0.25])
A = np.arange(24.0).reshape(2, 3, 4) % 7 - 2.5
TABLE = np.linspace(1.0, 3.0, 5)

VALUES = """
x[m].sum()
x[m].mean()
x[m].prod()
x[m].max()
x[m].min()
np.max(x[m], initial=1.0)
np.min(x[m], initial=1.0, keepdims=True)
np.ptp(x[m])
x[m].std()
np.var(x[m], ddof=1)
np.average(x[m])
np.average(x[m], weights=x[m] ** 2)
np.linalg.norm(x[m])
np.linalg.norm(x[m], 1)
np.linalg.norm(x[m], np.inf)
(x[m] > 1).any()
np.all(x[m] > 0)
np.count_nonzero(x[m] > 1)
x[m].size
x[m].shape[0]
x[m].sum() / x[m].size
np.size(x[m])
x[m].dtype == np.float64
x[m].ndim
isinstance(x[m], np.ndarray)
x[m] @ x[m]
np.dot(x[m], np.sin(x)[m])
x[m].dot(x[m] + 1)
np.vdot(x[m], x[m])
np.inner(x[m], x[m])
np.add.reduce(x[m])
np.maximum.reduce(x[m])
np.sum(x[m], keepdims=True)
np.sum(x[m], initial=2.0)
np.sum(x[m], dtype=np.float32)
(x[m] - x[m].mean()).sum()
np.sum(x[m] / x[m].max())
np.nansum(np.sqrt(x[~m] + 2))
np.nanmean(np.sqrt(x[~m] + 2))
np.nanmax(np.sqrt(x[~m] + 2))
np.sum(-x[m])
np.sum(abs(x[~m]))
np.sum(2 ** x[m])
np.sum(2.0 / x[m])
np.sum(x[m] // 0.3)
np.sum(x[m] % 0.3)
sum(np.divmod(x[m], 0.3))[()].sum()
np.sum(np.where(x[m] > 1, x[m], -x[m]))
np.sum(np.where(m[m], x[m], 0.0))
np.sum(np.clip(x[m], 0.3, 1.0))
x[m].clip(0.3, 1.0).sum()
x[m].clip(max=1.0).sum()
np.sum(np.select([x[m] > 1, x[m] > 0.3], [x[m], 2 * x[m]], 0.0))
np.sum(np.interp(x[m], [0.0, 1.0, 3.0], [1.0, 0.5, 4.0]))
np.sum(np.polyval([1.0, 2.0, 3.0], x[m]))
np.sum(np.digitize(x[m], [0.3, 1.0]))
np.sum(np.zeros_like(x[m]) + 1)
np.sum(np.ones_like(x[m]))
np.sum(np.full_like(x[m], 2.5))
np.sum(x[m].copy())
np.sum(x[m].astype(np.float32))
np.sum(x[m].astype(int))
np.sum(np.round(x[m]))
x[m].round(1).sum()
np.sum(np.real(x[m] * 1j).real + (x[m] * 1j).imag)
np.sum(np.abs(x[m] * 1j))
np.sum(np.arctan2(x[m], 2.0))
np.sum(np.hypot(x[m], x[m]))
np.sum(np.arccosh(x[m] + 1))
np.sum(np.sinc(x[m]))
np.sum(np.maximum(x[m], 1.0))
np.sum(x[m] * x.sum())
np.sum(x.sum() ** 2 * x[m])
np.sum(np.float32(2) * x[m])
np.sum(x[m] * TABLE.sum())
np.sum(np.array([2.0]) * x[m])
np.sum(x[m] * np.array(TABLE)[m])
np.sum(np.array(TABLE)[m])
np.sum(np.arange(5)[m])
np.sum(x[m][x[m] > 1])
np.sum(x[x > 0] * x[x > 0])
np.sum(x[0 < x] * x[x > 0])
np.sum(x[m][:, None] * np.ones(3), axis=0)
(x[m][:, None] * np.ones(3)).sum(axis=1).sum()
np.sum(np.extract(x > 0, x))
np.sum(np.compress(x > 0, x))
np.sum(x[np.where(m)])
np.sum(x[np.where(m)[0]])
np.sum(x[np.nonzero(m)])
np.sum(x[m.nonzero()[0]])
np.sum(x[np.flatnonzero(m)])
np.sum(np.where(m)[0])
np.sum(np.take(np.append(x, 1.0), np.arange(5))[np.where(m)[0]])
np.sum(np.append(x, 1.0)[np.where(m)[0] + 1] - x[np.where(m)[0]])
np.sum(x[~m])
np.sum(x[(x > 0) & (x < 1)])
np.sum(x[np.logical_or(x > 1, x < -1)])
np.sum(x[x > 100])
np.sum(x[x < 100])
np.sum(x[::-1][m])
np.sum(x[:3][m[:3]])
np.sum(x[[x[0] > 0, False, x[1] > 0, True, True]])
np.sum(x[x[0] > 0])
np.sum(x[x[0] < 0])
np.sum(np.ravel(x[m]) + x[m].flatten() + x[m].ravel() + x[m].T + np.atleast_1d(x[m]))
np.sum(A[:, 0, m4])
np.sum(a[a > 0])
np.sum(a[a > 0] ** 2 / a[a > 0])
np.sum(a[:, m3], axis=1)
a[:, m3].sum(axis=1)
a[:, m3].mean(axis=(0, 1))
a[:, m3, 0].sum(axis=1)
a[0, m3].max(axis=0)
a[0, :, m4].sum(axis=0)
a[0, :, m4].sum(axis=1).sum()
a[..., m4].sum(axis=-1)
a[..., 1, m4].sum(axis=-1)
a[m23].sum(axis=0)
a[m23, 1].sum()
a[m23, 1:3].sum(axis=0)
a[m23][:, 0].sum()
a[m23][:, ::2].sum(axis=0)
a[m23][..., None].sum(axis=0)
a[None, m23].sum(axis=1)
a[m23, None].sum(axis=0)
a[m23, np.newaxis, 1:].sum(axis=0)
a[m2, :, 0].sum(axis=0)
a[m2, 1, 2].sum()
a[m2, -1].sum(axis=0)
(a[m23] * np.arange(4.0)).sum(axis=0)
(a[m23] @ np.ones((4, 2))).sum(axis=0)
(a[m23] @ np.ones(4)).sum()
(np.ones(4) @ a[m23].sum(axis=0))
(np.ones((2, 3)) @ a[0][:, m4]).sum(axis=1)
a[0][:, m4] @ a[0, 0, m4]
np.linalg.norm(a[m23], axis=1).sum()
np.linalg.norm(a[m23], axis=-1, keepdims=True).sum()
(a[m23] / np.linalg.norm(a[m23], axis=1, keepdims=True)).sum(axis=0)
(a[m23] - a[m23].mean(axis=0)).std(axis=0)
a[m23].max(axis=1).max()
a[m23].mean(axis=1).sum()
a[np.where(m23)].sum(axis=0)
a[np.nonzero(a > 0)].sum()
a[(a > 0).nonzero()].sum()
a[:, np.where(m3)[0]].sum(axis=1)
a[np.where(m2)[0], 1].sum(axis=0)
(a[0, 0] > 0)[a[0, 0] > 0].sum()
(i[i > 2] // 2).sum()
(i[i > 2] / i[i > 2]).sum()
(5 // i[i > 0]).sum()
(5 % i[i > 0]).sum()
(i[i > 2] * 0.5).sum()
np.log(i[i > 1]).sum()
np.max(i[i > 1], initial=0)
(f[f > 0] * 2.5).sum()
(f[f > 0] * np.float64(2.5)).sum()
np.sqrt(f[f > 0]).mean()
(f[f > 0] ** 2).sum()
f[f > 0].max()
z[z.real > 0].sum()
(z[z.real > 0] ** 2 / z[z.real > 0]).sum()
np.vdot(z[z.real > 0], z[z.real > 0])
"""


def _value(text):
    def function(x, a, i, f, z):
        m = x > 0
        m4, m3, m2, m23 = a[0, 0] > 0, a[0, :, 0] > 0, a[:, 0, 0] > -3, a[:, :, 1] > 0
        known = {"m": m, "m4": m4, "m3": m3, "m2": m2, "m23": m23, "x": x, "a": a, "i": i, "f": f, "z": z}
        return eval(text, {"np": np, "TABLE": TABLE, "A": np.array(A), **known})

    return function


@pytest.mark.parametrize("text", VALUES.strip().splitlines())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_values(text):
    check(_value(text), X, A, np.array([0, 3, 1, 5]), X.astype(np.float32), X - 1j * X**2)


PROGRAMS = """
y[m] += 1
y[m] -= x[m]
y[m] *= 2
y[m] /= x[m]
y[m] **= 2
y[m] = x[m] ** 2
y[x < 0] = 0.0
y[m] = np.sqrt(x[m]) + y[m]
y[m] = x[m].mean()
y[m] = x[m] - x[m].mean()
y[m] = 3
y[m] = x[0]
y[m] = np.array([2.0])
y[m], y[~m] = np.sqrt(x[m]), -np.sqrt(-x[~m])
y[m] = np.where(x[m] > 1, 1.0, x[m])
y[np.where(m)] = x[m]
y[np.where(m)[0]] += 1
y[np.flatnonzero(m)] = 0
y[m.nonzero()] *= x[np.where(x > 0)]
y[m & (x < 1)] = x[m & (x < 1)] * 3
y[::2][m[::2]] = x[::2][m[::2]] * 3
y[1:][x[1:] > x[:-1]] += 1
y[m] = y[::-1][m]
y[x[0] > 0] = 1
y[x[0] < 0] = 1
np.add.at(y, m, 2.0)
np.add.at(y, m, x[m])
np.subtract.at(y, np.where(m)[0], x[m])
np.add.at(y, np.asarray([0, 1, 1, 0, 2])[m], x[m])
np.add.at(y, np.asarray([0, 1, 1, 0, 2])[m], 1.0)
np.add.at(b, (np.asarray([0, 1, 1, 0, 1])[m], np.asarray([0, 1, 2, 2, 0])[m], 1), x[m])
s = x[m]; s += 1; s *= s; y[m] = s
s = x[m]; s[:] = 2; y[m] = s
s = x[m]; s[s > 1] = 1; y[m] = s
s = x[m]; s[s > 1] *= 5; y[m] = s
s = x[m]; s[...] = x[m] ** 2; y[m] = s
s = x[m]; np.sqrt(s, out=s); y[m] = s
s = x[m]; x[m] = 0.0; y[m] = s
s = y[m]; y[m] = 5; y[m] = s + y[m]
v = m.copy(); s = x[v]; v[0] = False; y[m] = s
b[m23] = 0
b[m23] += a[m23]
b[m23, 1] = a[m23, 0]
b[m23, 1:] *= 2
b[m23] = a[m23] / np.linalg.norm(a[m23], axis=1, keepdims=True)
b[m23] = a[m23] @ np.eye(4)[::-1]
b[m23] = np.arange(4.0)
b[m23] = x[:1]
b[m23] = a[m23].sum(axis=1, keepdims=True)
b[m23, 0] = a[m23].sum(axis=1)
b[m23, None] = 3
b[:, m3] = a[:, m3] ** 2
b[:, m3, 0] = 7
b[:, m3, 0] = a[:, m3, 1]
b[0, m3] = a[1, m3]
b[0, :, m4] = a[1, :, m4] * 2
b[0, :, m4] = 3
b[..., m4] += 1
b[..., m4] = a[..., m4] * 2
b[a > 0] = np.log(a[a > 0])
b[a > 0] -= 1
b[np.where(a > 0)] = a[a > 0] * 2
b[np.where(m23)] = a[m23]
b.T[m4] = 3
b.T[m4] = a.T[m4] * 2
b[m2] = a[m2] * 2
b[m2, :, 0] = a[m2, :, 1]
t = b[m23]; t[:, 0] = 1; t[:, 1] += t[:, 2]; b[m23] = t
n = (a > 0).astype(int); n[m23] += 2; n[a < 0] = a[a < 0]; b += n
"""


@pytest.mark.parametrize("text", PROGRAMS.strip().splitlines())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_programs(text):
    def program(x, a):
        x = x.copy()
        y, b = x * 2 + 0.25, a * 3 + 1
        m = x > 0
        m4, m3, m2, m23 = a[0, 0] > 0, a[0, :, 0] > 0, a[:, 0, 0] > -3, a[:, :, 1] > 0
        scope = {"x": x, "a": a, "y": y, "b": b, "m": m, "m4": m4, "m3": m3, "m2": m2, "m23": m23, "np": np}
        exec(text, scope)
        return scope["x"], scope["y"], scope["b"]

    check(program, X, A)
    check(program, -X, -A)


def _random_case(random):
    """A shape, the shape of a mask of some of its axes, and an index in which "mask" stands for that."""
    rank = int(random.integers(1, 4))
    shape = tuple(int(length) for length in random.integers(1, 4, rank))
    start = int(random.integers(0, rank))
    stop = int(random.integers(start + 1, rank + 1))
    before = [(slice(None), int(random.integers(n)), slice(None, None, -1))[random.integers(3)] for n in shape[:start]]
    after = [(slice(None), int(random.integers(n)), slice(None, None, 2))[random.integers(3)] for n in shape[stop:]]
    index = [*before, "mask", *after[: random.integers(len(after) + 1)]]
    if random.random() < 0.3:
        index.insert(int(random.integers(len(index) + 1)), None)
    if random.random() < 0.2:
        index.append(...)
    return shape, shape[start:stop], index


@pytest.mark.parametrize("seed", range(60))
def test_masks_beside_other_indices(seed):
    random = np.random.default_rng(seed)
    shape, mask_shape, index = _random_case(random)

    def program(a, b, condition):
        m = condition > 0
        place = tuple(m if isinstance(item, str) else item for item in index)
        y, z, w = b * 1.0, b * 1.0, b * 1.0
        y[place] = np.exp(a[place]) - b[place] * a[place].sum()
        z[place] += a[place] ** 2
        w[place] = 0.0
        return y, z, w, a[place].sum(), (np.abs(a[place]) + 1).prod()

    check(program, random.normal(size=shape), random.normal(size=shape), random.normal(size=mask_shape))


def test_integers_are_not_divided_by_zero_where_a_ufunc_is_not_applied():
    """torch raises an error for it, wherever it is."""

    def function(i):
        out = np.zeros(4, int)
        np.floor_divide(7, i, where=i != 0, out=out)
        return out, np.remainder(i * 0 + 5, i, where=i != 0, out=np.zeros(4, int))

    check(function, np.array([0, 3, -2, 0]))


# Derivatives.


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


def test_the_same_mask_in_a_transformed_function():
    def function(x):
        m = x > 0
        s = x[m]

        def inner(t):
            y = t * 1.0
            y[m] = t[x > 0] * s + t[m]
            return y

        return farfunc.jacfwd(inner)(x).sum(axis=1)

    ops = [equation.op for equation in trace_of(function, X).function.graph.walk()]
    assert "jacfwd" in ops


def test_selections_are_arrays_of_their_own():
    seen = []

    def function(x):
        s = x[x > 0]
        seen.extend([repr(s), f"{s}", hasattr(s, "sum"), hasattr(s, "nonsense"), s.itemsize, np.shape(s)[1:]])
        torch_spelling = (s.sin() + s.exp()).sum()
        return s.sum() + torch_spelling

    trace_of(function, X)
    assert seen[:4] == ["traced float64[?], selected by a mask"] * 2 + [True, False]
    assert seen[4:] == [8, ()]
