"""``x[mask]`` by a traced mask: values and dtypes as in NumPy."""

import numpy as np
import pytest

import farfunc
from support.numpy_graphs import trace_of

pytest.importorskip("torch")
from support.numpy_graphs import check

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
