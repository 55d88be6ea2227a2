"""Differential equations, linear algebra and signals."""

from collections import defaultdict, namedtuple
from dataclasses import dataclass, replace

import numpy as np

from ._collection import model

R = np.random.default_rng(0)


LV = namedtuple("LV", "a b c d")


@model(np.array([1.1, 0.4, 0.1, 0.4, 10.0, 5.0]))
def lotka_volterra(x):
    p = LV(*x[:4])
    traj = np.empty((21, 2))
    traj[0] = x[4:]
    dt = 0.05
    for n in range(20):
        u, v = traj[n]
        traj[n + 1, 0] = u + dt * (p.a * u - p.b * u * v)
        traj[n + 1, 1] = v + dt * (-p.d * v + p.c * u * v)
    return traj[-1], traj.mean(axis=0), traj.max(0)


def bspline_basis(i, k, t, x):
    if k == 0:
        return np.where((t[i] <= x) & (x < t[i + 1]), 1.0, 0.0)
    a = 0.0 if t[i + k] == t[i] else (x - t[i]) / (t[i + k] - t[i]) * bspline_basis(i, k - 1, t, x)
    b = (
        0.0
        if t[i + k + 1] == t[i + 1]
        else (t[i + k + 1] - x) / (t[i + k + 1] - t[i + 1]) * bspline_basis(i + 1, k - 1, t, x)
    )
    return a + b


KN = np.r_[0, 0, 0, 0, 0.3, 0.6, 1, 1, 1, 1.0]


@model(np.r_[R.normal(size=6), 0.15, 0.42, 0.77])
def bspline(x):
    c, t = x[:6], x[6:]
    return sum(c[i] * bspline_basis(i, 3, KN, t) for i in range(6))


@model(R.uniform(0.5, 2, 6))
def fem_assembly(k):
    n = len(k) + 1
    K = np.zeros((n, n))
    F = np.zeros(n)
    ke = np.array([[1.0, -1], [-1, 1]])
    conn = np.stack([np.arange(n - 1), np.arange(1, n)], axis=1)
    rows = np.repeat(conn, 2, axis=1).ravel()
    cols = np.tile(conn, (1, 2)).ravel()
    np.add.at(K, (rows, cols), (k[:, None, None] * ke).ravel())
    for e in range(n - 1):
        F[conn[e]] += 0.5 * k[e]
    free = np.arange(1, n)
    u = np.zeros(n)
    u[free] = np.linalg.solve(K[np.ix_(free, free)], F[free])
    return u, 0.5 * u @ K @ u


@model(np.array([0.3, 0.1, 0.05, 10.0]))
def pharmacokinetics(theta):
    ka, k12, k21, V = theta
    A = np.array([[-ka - k12, k21], [k12, -k21]])
    state = np.zeros(2)
    out = []
    dt = 0.25
    for step in range(24):
        if step % 8 == 0:
            state[0] += 100.0
        state = np.linalg.solve(np.eye(2) - dt / 2 * A, (np.eye(2) + dt / 2 * A) @ state)
        out.append(state[0] / V)
    conc = np.array(out)
    return np.trapezoid(conc, dx=dt), conc.max(), conc[::6]


@model(np.array([300.0, 1e-3, 0.364, 4.27e-5]))
def van_der_waals(x):
    T, v, a, b = x
    Rg = 8.314
    P = Rg * T / (v - b) - a / v**2
    Z = P * v / (Rg * T)
    lnphi = b / (v - b) - np.log(Z * (1 - b / v)) - 2 * a / (Rg * T * v)
    return P, Z, lnphi


@model(R.normal(size=16))
def fft_filter(x):
    X = np.fft.fft(x)
    f = np.fft.fftfreq(len(x), d=0.1)
    X[np.abs(f) > 2.5] = 0
    H = 1 / (1 + 1j * f / 1.5)
    y = np.fft.ifft(X * H)
    return y.real, np.abs(y).sum()


@model(np.array([10.0, 1e-1, 2e-2]))
def nodal_circuit(p):
    Rr, L, C = p
    out = []
    for w in np.logspace(0, 2, 4):
        Y = np.zeros((2, 2), dtype=complex)
        Y[0, 0] = 1 / Rr + 1j * w * C
        Y[0, 1] = Y[1, 0] = -1j * w * C
        Y[1, 1] = 1j * w * C + 1 / (1j * w * L)
        V = np.linalg.solve(Y, np.array([1.0, 0]))
        out.append(20 * np.log10(np.abs(V[1])))
    return np.array(out), np.angle(V)


@model(np.array([0.5, 20.0, 800.0, 5e5]))
def drag(Re):
    Cd = np.select(
        [Re < 1, Re < 400, Re < 3e5], [24 / Re, 24 / np.power(Re, 0.646), 0.5], default=0.000366 * Re**0.4275
    )
    return np.piecewise(Re, [Re < 10, Re >= 10], [lambda r: r**2, np.sqrt]) * Cd


@model(R.normal(size=(4, 5)))
def vorticity(psi):
    u, v = np.gradient(psi, 0.1, 0.2)
    dudy = np.gradient(u, 0.1, axis=0)
    dvdx = np.gradient(v, 0.2, axis=1)
    return dvdx - dudy, np.roll(psi, 1, axis=0) + np.roll(psi, -1, 0) - 2 * psi


@model(R.normal(size=(5, 5)))
def heat2d(u):
    u = u.copy()
    for _ in range(4):
        u[1:-1, 1:-1] += 0.1 * (u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2] - 4 * u[1:-1, 1:-1])
        u[0] = u[1]
        u[-1, :] = u[-2, :]
        u[:, [0, -1]] = 0.0
    return u


@model(R.normal(size=6))
def signal_ops(x):
    h = np.hanning(5)[1:-1]
    y = np.convolve(x, h, mode="same")
    a = np.correlate(x, x, "full")
    return y, a[len(x) - 1 :], np.kron(np.eye(2), np.outer(x[:2], x[2:4])), np.cumsum(x)[::-1], np.diff(x, n=2)


@model(np.r_[R.normal(size=5), 0.35, 1.2, 2.9])
def hermite(x):
    y, t = x[:5], x[5:]
    xs = np.arange(5.0)
    m = np.empty(5)
    m[1:-1] = (y[2:] - y[:-2]) / 2
    m[0] = y[1] - y[0]
    m[-1] = y[-1] - y[-2]
    k = np.searchsorted(xs, t, side="right") - 1
    s = t - xs[k]
    h00 = 2 * s**3 - 3 * s**2 + 1
    h10 = s**3 - 2 * s**2 + s
    h01 = -2 * s**3 + 3 * s**2
    h11 = s**3 - s**2
    return h00 * y[k] + h10 * m[k] + h01 * y[k + 1] + h11 * m[k + 1]


@model(np.array([0.5, 0.2, 0.1, 1e-2]))
def seir(th):
    par = dict(beta=th[0], sigma=th[1], gamma=th[2])
    S, E, I, Rr = 1 - th[3], 0.0, th[3], 0.0
    hist = defaultdict(list)
    for day in range(30):
        beta = par["beta"] * (0.5 if 10 <= day < 20 else 1.0)
        ne, ni, nr = beta * S * I, par["sigma"] * E, par["gamma"] * I
        S -= ne
        E += ne - ni
        I += ni - nr
        Rr += nr
        for k, v in zip("SEIR", (S, E, I, Rr)):
            hist[k].append(v)
    return {k: np.asarray(v)[-3:] for k, v in hist.items()}, np.max(hist["I"])


@model(R.uniform(0.2, 0.8, (2, 4, 4)))
def gray_scott(uv):
    u, v = uv

    def lap(z):
        return sum(np.roll(z, s, a) for s in (1, -1) for a in (0, 1)) - 4 * z

    for _ in range(3):
        r = u * v**2
        u, v = u + 0.1 * (0.16 * lap(u) - r + 0.035 * (1 - u)), v + 0.1 * (0.08 * lap(v) + r - 0.1 * v)
    return np.stack((u, v))


@model(R.normal(size=10))
def advection(u):
    def minmod(a, b):
        return np.where(a * b > 0, np.sign(a) * np.minimum(abs(a), abs(b)), 0)

    for _ in range(3):
        um, up = np.roll(u, 1), np.roll(u, -1)
        s = minmod(u - um, up - u)
        flux = u + 0.5 * (1 - 0.4) * s
        u = u - 0.4 * (flux - np.roll(flux, 1))
    return u


@model(np.array([0.5, 1.5]))
def gauss_quad(p):
    xg, wg = np.polynomial.legendre.leggauss(5)
    a, b = p
    x = 0.5 * (b - a) * xg + 0.5 * (a + b)
    P = [np.ones_like(x), x]
    for n in range(2, 6):
        P.append(((2 * n - 1) * x * P[-1] - (n - 1) * P[-2]) / n)
    return 0.5 * (b - a) * np.sum(wg * np.exp(-(x**2))), np.array(P) @ wg


@model(R.normal(size=4))
def numpy_polynomial(c):
    return np.polynomial.polynomial.polyval(np.linspace(0, 1, 3), c), np.polynomial.chebyshev.chebval(0.3, c)


@model(R.uniform(1, 2, 12))
def thomas(x):
    n = 4
    a, b, d = x[:n], x[n : 2 * n] + 3, x[2 * n :]
    c = np.full(n, 0.5)
    cp, dp = np.zeros(n), np.zeros(n)
    cp[0] = c[0] / b[0]
    dp[0] = d[0] / b[0]
    for i in range(1, n):
        m = b[i] - a[i] * cp[i - 1]
        cp[i] = c[i] / m
        dp[i] = (d[i] - a[i] * dp[i - 1]) / m
    u = np.zeros(n)
    u[-1] = dp[-1]
    for i in reversed(range(n - 1)):
        u[i] = dp[i] - cp[i] * u[i + 1]
    return u


@model((R.normal(size=(4, 4)) + 4 * np.eye(4)).ravel())
def gaussian_elimination(a):
    A = a.reshape(4, 4).copy()
    b = np.arange(1.0, 5)
    n = 4
    for k in range(n - 1):
        for i in range(k + 1, n):
            f = A[i, k] / A[k, k]
            A[i, k:] -= f * A[k, k:]
            b[i] -= f * b[k]
    x = np.zeros(n)
    for i in range(n - 1, -1, -1):
        x[i] = (b[i] - np.dot(A[i, i + 1 :], x[i + 1 :])) / A[i, i]
    return x


@model(2.5)
def isa(h, T0=288.15, L=0.0065):
    T = T0 - L * h * 1000
    p = 101325 * (T / T0) ** (9.80665 / (287.05 * L))
    return p, p / (287.05 * T), np.sqrt(1.4 * 287.05 * T)


@dataclass
class Cell:
    gNa: float
    gK: float
    V: np.ndarray
    m: np.ndarray = None

    def __post_init__(self):
        if self.m is None:
            self.m = 1 / (1 + np.exp(-(self.V + 40) / 10))

    def step(self, dt):
        I = self.gNa * self.m**3 * (self.V - 50) + self.gK * (self.V + 77)
        return replace(self, V=self.V - dt * I, m=self.m)


@model(np.array([1.2, 0.36, -65.0, -60.0]))
def hodgkin(x):
    c = Cell(x[0], x[1], x[2:])
    for _ in range(3):
        c = c.step(0.01)
    return c.V


@model(np.array([0.5, 2.0]))
def integral_eq(p):
    n = 5
    x = np.linspace(0, 1, n)
    h = x[1] - x[0]
    K = np.fromfunction(lambda i, j: np.exp(-p[0] * abs(i - j) * h), (n, n))
    w = np.full(n, h)
    w[[0, -1]] /= 2
    f = np.linalg.solve(np.eye(n) - 0.3 * K * w, np.sin(p[1] * x))
    return f


@model(R.normal(size=4))
def quantum(x):
    psi = x[:2] + 1j * x[2:]
    psi = psi / np.sqrt(np.vdot(psi, psi).real)
    H = np.array([[1, 0.2j], [-0.2j, -1]])
    U = np.eye(2) - 1j * 0.1 * H - 0.005 * H @ H
    psi = U @ psi
    return np.abs(psi) ** 2, np.real(np.conj(psi) @ H @ psi), np.angle(psi[0] * psi[1].conj())
