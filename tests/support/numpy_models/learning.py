"""Statistics, machine learning, finance, and ways to write things in Python."""

import functools
import itertools
import operator

import numpy as np
from numpy import array, cos, exp, sin
from numpy.linalg import norm

from ._collection import model

R = np.random.default_rng(0)


def logsumexp(a, axis=None, keepdims=False):
    m = np.max(a, axis=axis, keepdims=True)
    m = np.where(np.isfinite(m), m, 0)
    s = np.log(np.sum(np.exp(a - m), axis=axis, keepdims=True)) + m
    return s if keepdims else np.squeeze(s, axis=axis)


@model(R.normal(size=3 + 9 + 12))
def hmm_forward(x):
    pi_, A, B = np.split(x, [3, 12])
    A = A.reshape(3, 3)
    B = B.reshape(3, 4)
    lp = pi_ - logsumexp(pi_)
    lA = A - logsumexp(A, axis=1, keepdims=True)
    lB = B - logsumexp(B, axis=1, keepdims=True)
    obs = [0, 2, 1, 3, 3, 0]
    alpha = lp + lB[:, obs[0]]
    for o in obs[1:]:
        alpha = logsumexp(alpha[:, None] + lA, axis=0) + lB[:, o]
    return logsumexp(alpha)


def ncdf(x):
    k = 1 / (1 + 0.2316419 * np.abs(x))
    w = 1 - 1 / np.sqrt(2 * np.pi) * np.exp(-x * x / 2) * (
        0.31938153 * k - 0.356563782 * k**2 + 1.781477937 * k**3 - 1.821255978 * k**4 + 1.330274429 * k**5
    )
    return np.where(x < 0, 1 - w, w)


@model(np.array([100.0, 0.2, 0.03, 1.5]))
def black_scholes(p, strikes=np.arange(80, 121, 10)):
    S, sigma, r, T = p
    d1 = (np.log(S / strikes) + (r + sigma**2 / 2) * T) / (sigma * np.sqrt(T))
    d2 = d1 - sigma * np.sqrt(T)
    call = S * ncdf(d1) - strikes * np.exp(-r * T) * ncdf(d2)
    return {"call": call, "put": call - S + strikes * np.exp(-r * T)}


@model(R.normal(size=2 * 9 + 8 + 2) * 0.4)
def cnn(params):
    img = np.sin(np.arange(36.0)).reshape(6, 6)
    W = params[:18].reshape(2, 3, 3)
    fc = params[18:26].reshape(2, 4)
    b = params[26:]
    win = np.lib.stride_tricks.sliding_window_view(img, (3, 3))
    h = np.einsum("ijkl,ckl->cij", win, W) + b[:, None, None]
    h = np.maximum(h, 0)
    h = h.reshape(2, 2, 2, 2, 2).max(axis=(2, 4))
    return np.tanh((fc * h.reshape(2, 4)).sum(axis=-1))


@model(R.normal(size=25))
def im2col(x):
    img = x.reshape(5, 5)
    cols = np.array([img[i : i + 3, j : j + 3].ravel() for i in range(3) for j in range(3)])
    k = np.array([0, 1, 0, 1, -4, 1, 0, 1, 0])
    return (cols @ k).reshape(3, 3)


def make_loss(X, y, lam):
    def loss(w):
        z = X @ w[:-1] + w[-1]
        return np.mean(np.logaddexp(0, z) - y * z) + lam * np.dot(w, w) / 2

    return loss


XX = R.normal(size=(20, 3))


YY = (R.uniform(size=20) > 0.5).astype(float)


def logreg(w):
    return make_loss(XX, YY, 0.1)(w)


@model(np.log([0.5, 1.0, 0.1]))
def gp(theta):
    l, s, n = np.exp(theta)
    X = np.linspace(0, 1, 7)[:, None]
    y = np.sin(5 * X[:, 0])
    sq = np.sum(X**2, 1).reshape(-1, 1) + np.sum(X**2, 1) - 2 * X @ X.T
    K = s**2 * np.exp(-0.5 / l**2 * sq) + n**2 * np.eye(len(X))
    L = np.linalg.cholesky(K)
    z = np.zeros_like(y)
    for i in range(len(y)):
        z[i] = (y[i] - L[i, :i] @ z[:i]) / L[i, i]
    return 0.5 * z @ z + np.sum(np.log(np.diagonal(L))) + len(y) / 2 * np.log(2 * np.pi)


@model(np.array([0.1, 0.5, 1.0]))
def kalman(theta):
    q, r, p0 = theta
    F = np.array([[1, 1], [0, 1.0]])
    H = np.array([[1.0, 0]])
    Q = q * np.array([[1 / 3, 1 / 2], [1 / 2, 1]])
    x = np.zeros((2, 1))
    P = p0 * np.eye(2)
    ll = 0.0
    for z in [1.0, 2.1, 2.9, 4.2]:
        x = F @ x
        P = F @ P @ F.T + Q
        S = H @ P @ H.T + r**2
        K = P @ H.T / S
        res = z - H @ x
        x = x + K * res
        IKH = np.identity(2) - K @ H
        P = IKH @ P @ IKH.T + r**2 * K @ K.T
        ll += (-0.5 * (np.log(2 * np.pi * S) + res**2 / S))[0, 0]
    return ll, x.ravel(), P


@model(R.normal(size=(3, 6)))
def detrend(x):
    t = np.arange(x.shape[1])

    def f(row):
        p = np.polyfit(t, row, 1)
        return row - np.polyval(p, t)

    return np.apply_along_axis(f, 1, x)


@model([(R.normal(size=(4, 3)), R.normal(size=4)), (R.normal(size=(2, 4)), R.normal(size=2))])
def mlp(params):
    act = {"tanh": np.tanh, "id": lambda z: z}
    h = np.array([0.1, 0.2, 0.3])
    for (W, b), a in zip(params, ["tanh", "id"]):
        h = act[a](W @ h + b)
    return h / np.linalg.norm(h)


@model(R.normal(size=(5, 4)))
def attention(x):
    d = x.shape[-1]
    q, k, v = x @ np.eye(d) * 0.5, x[::-1], x * 2
    s = q @ k.T / np.sqrt(d)
    s = np.where(np.tril(np.ones_like(s)) == 1, s, -1e9)
    s -= s.max(axis=-1, keepdims=True)
    p = np.exp(s)
    p /= p.sum(-1, keepdims=True)
    y = p @ v
    return (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-5)


@model(R.normal(size=2 + 4 + 8) * 0.3)
def gmm_full(x):
    lw, mu, Lp = x[:2], x[2:6].reshape(2, 2), x[6:].reshape(2, 2, 2)
    X = np.array([[0.0, 1], [1, 0.5], [-0.3, 0.2]])
    ll = np.empty((len(X), 2))
    for k in range(2):
        L = np.tril(Lp[k], -1) + np.diag(np.exp(np.diag(Lp[k])))
        S = L @ L.T
        d = X - mu[k]
        maha = np.einsum("ni,ij,nj->n", d, np.linalg.inv(S), d)
        sign, logdet = np.linalg.slogdet(S)
        ll[:, k] = lw[k] - 0.5 * (maha + logdet + 2 * np.log(2 * np.pi))
    return logsumexp(ll, axis=1).sum() - len(X) * logsumexp(lw)


@model(np.array([100.0, 0.25, 0.02]))
def binomial_tree(p):
    S, sig, r = p
    N = 6
    T = 1.0
    K = 100
    dt = T / N
    u = np.exp(sig * np.sqrt(dt))
    d = 1 / u
    q = (np.exp(r * dt) - d) / (u - d)
    ST = S * u ** np.arange(N, -N - 1, -2)
    V = np.maximum(K - ST, 0)
    for i in range(N - 1, -1, -1):
        V = np.exp(-r * dt) * (q * V[:-1] + (1 - q) * V[1:])
        V = np.maximum(V, K - S * u ** np.arange(i, -i - 1, -2))
    return V[0]


@model(np.array([0.1, 0.3]))
def monte_carlo(p):
    rng = np.random.default_rng(42)
    z = rng.standard_normal((50, 4))
    mu, s = p
    paths = np.cumprod(1 + mu / 4 + s / 2 * z, axis=1)
    return paths[:, -1].mean(), np.std(paths[:, -1]), np.quantile(paths, 0.25)


@model(np.array([0.3, 0.4]))
def early_bound(x):
    return array([sin(x[0]) * exp(x[1]), cos(x[1]), norm(x)])


@model(R.normal(size=(8, 3)))
def pca(X):
    C = np.cov(X, rowvar=False)
    w, v = np.linalg.eigh(C)
    w = w[::-1]
    A = np.c_[np.ones(8), X[:, :2]]
    beta, *_ = np.linalg.lstsq(A, X[:, 2], rcond=None)
    return w / w.sum(), np.abs(v[:, -1]), beta, np.linalg.pinv(A) @ X[:, 2] - beta


MASK = np.array([True, False, True, True, False, True])


@model(R.normal(size=6))
def masks(x):
    y = np.zeros(6)
    y[MASK] = x[MASK] ** 2
    y[~MASK] -= x[~MASK]
    z = x[np.flatnonzero(MASK)][:, None] * x[[0, -1]]
    w = np.where(MASK)[0]
    y[w[0]] *= 2
    return y, z, x[np.argsort([3, 1, 2, 0, 5, 4])], x[MASK].sum()


@model(R.normal(size=5))
def pythonic(x):
    a = sum(xi**2 for xi in x)
    b = np.prod([xi for xi in reversed(x)])
    c = functools.reduce(operator.add, map(np.sin, x))
    d = np.array(list(itertools.accumulate(x)))
    e = [xi * yi for xi, yi in zip(x, x[1:])]
    return a, b, c, d, np.array(e), np.stack(tuple(x[i : i + 2] for i in range(0, 4, 2)))


@model(R.normal(size=3))
def hessian_like(x):
    n = len(x)
    return np.array([[np.sin(x[i]) * x[j] if i <= j else 0.0 for j in range(n)] for i in range(n)])


@model(np.array([1.0, 2.0]))
def unrolled_gd(p):
    w = np.zeros(2)
    v = np.zeros(2)
    A = np.array([[3.0, 0.5], [0.5, 1]])
    for t in range(1, 11):
        g = A @ w - p
        v *= 0.9
        v += 0.1 * g
        w -= 0.5 * v / (1 - 0.9**t)
    return w


@model(np.array([3.5, -4.3, 7.2]))
def wrap_angle(a):
    return (
        (a + np.pi) % (2 * np.pi) - np.pi,
        np.mod(a, 1.0),
        a // 1,
        np.fmod(a, 2.0),
        np.unwrap(a * 1.1),
        divmod(a, 2)[1],
    )


@model(R.normal(size=(4, 3)))
def viterbi(s):
    tr = np.arange(9.0).reshape(3, 3) / 7
    d = s[0]
    for t in range(1, len(s)):
        d = (d[:, None] + tr).max(axis=0) + s[t]
    return d.max(), np.ptp(s, axis=0), np.sort(s, axis=1)[:, ::-1], np.median(s, axis=0)


DATA = np.array([1.0, np.nan, 3.0, 4.0, np.nan])


@model(np.array([0.5, 0.2]))
def nan_fit(p):
    t = np.arange(5.0)
    r = DATA - (p[0] * t + p[1])
    return (
        np.nansum(r) ** 2,
        np.nanmean(r),
        np.sum(np.where(np.isnan(r), 0, r)),
        np.nan_to_num(r)[2],
        np.nanmax(r),
        np.nanstd(r),
    )


@model(np.array([2.0, 3.0]))
def scalars(x):
    a = x[0]
    b = x[1]
    a += b
    a **= 2
    a /= np.float64(3)
    b = -b
    c = max(0, 3) * a
    return a, b, c, abs(b), pow(a, 2), +a, np.float32(2) * a


@model(np.array([0.5, 0.5, 0.3]))
def sdf(p):
    yy, xx = np.mgrid[0:1:5j, 0:1:5j]
    d = np.sqrt((xx - p[0]) ** 2 + (yy - p[1]) ** 2 + 1e-9) - p[2]
    oy, ox = np.ogrid[:3, :3]
    return 1 / (1 + np.exp(20 * d)), (ox * p[0] + oy * p[1]).sum()


model(R.normal(size=4))(logreg)
