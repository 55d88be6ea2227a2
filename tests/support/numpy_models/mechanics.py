"""Mechanics, geometry and graphics."""

import functools
from dataclasses import dataclass

import numpy as np
from numpy import cos, pi, sin

from ._collection import model

R = np.random.default_rng(0)


@model(np.array([0.3, -0.2, 0.5]))
def expm_series(w):
    K = np.array([[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]])
    A = K / 2**4
    E = np.eye(3)
    term = np.eye(3)
    for k in range(1, 12):
        term = term @ A / k
        E += term
    for _ in range(4):
        E = E @ E
    return E


def hat(v):
    S = np.zeros((3, 3))
    S[0, 1] = -v[2]
    S[0, 2] = v[1]
    S[1, 0] = v[2]
    S[1, 2] = -v[0]
    S[2, 0] = -v[1]
    S[2, 1] = v[0]
    return S


class SE3:
    def __init__(self, R, t):
        self.R = np.asarray(R)
        self.t = np.asarray(t)

    @classmethod
    def exp(cls, xi):
        rho, phi = xi[:3], xi[3:]
        th = np.linalg.norm(phi)
        W = hat(phi)
        R = np.eye(3) + np.sin(th) / th * W + (1 - np.cos(th)) / th**2 * W @ W
        V = np.eye(3) + (1 - np.cos(th)) / th**2 * W + (th - np.sin(th)) / th**3 * W @ W
        return cls(R, V @ rho)

    def __matmul__(self, o):
        return SE3(self.R @ o.R, self.R @ o.t + self.t)

    @property
    def matrix(self):
        T = np.eye(4)
        T[:3, :3] = self.R
        T[:3, 3] = self.t
        return T

    def inverse(self):
        return SE3(self.R.T, -self.R.T @ self.t)


@model(R.normal(size=12) * 0.5)
def se3_chain(x):
    T = SE3.exp(x[:6]) @ SE3.exp(x[6:]).inverse()
    return T.matrix


@dataclass(frozen=True)
class Pendulum:
    m1: float = 1.0
    m2: float = 2.0
    l1: float = 0.7
    l2: float = 1.1
    g: float = 9.81

    def mass(self, q):
        c = np.cos(q[0] - q[1])
        return np.array(
            [
                [(self.m1 + self.m2) * self.l1**2, self.m2 * self.l1 * self.l2 * c],
                [self.m2 * self.l1 * self.l2 * c, self.m2 * self.l2**2],
            ]
        )

    def rhs(self, t, y):
        q, v = y[:2], y[2:]
        s = np.sin(q[0] - q[1])
        f = np.array(
            [
                -self.m2 * self.l1 * self.l2 * s * v[1] ** 2 - (self.m1 + self.m2) * self.g * self.l1 * np.sin(q[0]),
                self.m2 * self.l1 * self.l2 * s * v[0] ** 2 - self.m2 * self.g * self.l2 * np.sin(q[1]),
            ]
        )
        return np.concatenate((v, np.linalg.solve(self.mass(q), f)))


@model(np.array([0.3, 0.5, -0.1, 0.2]))
def double_pendulum_rk4(y):
    p = Pendulum()
    h = 0.05
    for i in range(5):
        k1 = p.rhs(0, y)
        k2 = p.rhs(0, y + h / 2 * k1)
        k3 = p.rhs(0, y + h / 2 * k2)
        k4 = p.rhs(0, y + h * k3)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return y


@model(np.array([0, 0, 5.0, 1.2, 0.1, -0.2]))
def ray_trace(p):
    c, r, off = p[:3], p[3], p[4:]
    xs, ys = np.meshgrid(np.linspace(-0.2, 0.2, 4), np.linspace(-0.2, 0.2, 3))
    d = np.stack([xs + off[0] * 0.1, ys + off[1] * 0.1, np.ones_like(xs)], axis=-1)
    d /= np.linalg.norm(d, axis=-1, keepdims=True)
    b = d @ c
    disc = b**2 - (c @ c - r**2)
    hit = disc > 0
    t = np.where(hit, b - np.sqrt(np.where(hit, disc, 1.0)), 0.0)
    n = (t[..., None] * d - c) / r
    light = np.array([1, 1, -1]) / np.sqrt(3)
    shade = np.clip(n @ light, 0, None)
    return np.where(hit, shade, 0.1)


@model(np.array([0.7, 0.3]))
def kepler(p):
    Mn, e = p
    E = Mn + e * np.sin(Mn)
    for _ in range(8):
        E = E - (E - e * np.sin(E) - Mn) / (1 - e * np.cos(E))
    nu = 2 * np.arctan2(np.sqrt(1 + e) * np.sin(E / 2), np.sqrt(1 - e) * np.cos(E / 2))
    return np.array([E, nu, 1 - e * np.cos(E)])


class Quat:
    __slots__ = ("q",)

    def __init__(self, *a):
        self.q = np.array(a[0] if len(a) == 1 else a)

    def __mul__(self, o):
        w, x, y, z = self.q
        a, b, c, d = o.q
        return Quat(
            w * a - x * b - y * c - z * d,
            w * b + x * a + y * d - z * c,
            w * c - x * d + y * a + z * b,
            w * d + x * c - y * b + z * a,
        )

    def conj(self):
        return Quat(self.q * np.array([1, -1, -1, -1]))

    def norm(self):
        return np.sqrt((self.q**2).sum())

    def unit(self):
        return Quat(self.q / self.norm())

    def rotate(self, v):
        return (self * Quat(np.r_[0, v]) * self.conj()).q[1:]


@model(R.normal(size=7))
def quat_rotate(x):
    return Quat(x[:4]).unit().rotate(x[4:])


@model(R.normal(size=7))
def rigid_body(s):
    I = np.diag([1.0, 2, 3])
    Iinv = np.linalg.inv(I)
    q, w = s[:4], s[4:]
    for _ in range(3):
        dw = Iinv @ (-np.cross(w, I @ w))
        Om = np.block([[np.zeros((1, 1)), -w[None, :]], [w[:, None], -hat(w)]])
        q = q + 0.01 * 0.5 * Om @ q
        w = w + 0.01 * dw
        q /= np.linalg.norm(q)
    return np.hstack([q, w])


def project(points, *, rvec, tvec, fx, fy, cx, cy, dist=(0,) * 5):
    th = np.sqrt(np.sum(np.square(rvec)))
    k = rvec / th
    Pc = points * np.cos(th) + np.cross(k, points) * np.sin(th) + np.outer(points @ k, k) * (1 - np.cos(th)) + tvec
    x, y = Pc[:, 0] / Pc[:, 2], Pc[:, 1] / Pc[:, 2]
    k1, k2, p1, p2, k3 = dist
    r2 = x**2 + y**2
    rad = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    xd = x * rad + 2 * p1 * x * y + p2 * (r2 + 2 * x**2)
    yd = y * rad + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y
    return np.column_stack((fx * xd + cx, fy * yd + cy))


PTS = R.normal(size=(4, 3))


@model(np.array([0.1, 0.2, -0.1, 0.1, 0.2, 5.0, 500, 510, 320, 240, 0.1, 0.01, 0.001, 0.002, 0.0]))
def camera(x):
    pars = dict(zip(["fx", "fy", "cx", "cy"], x[6:10]))
    return project(PTS, rvec=x[:3], tvec=x[3:6], dist=x[10:], **pars)


@model(R.normal(size=(4, 2)))
def springs(X):
    edges = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)]
    E = 0
    F = np.zeros_like(X)
    for i, j in edges:
        d = X[j] - X[i]
        l = np.hypot(*d)
        E += 0.5 * 10 * (l - 1) ** 2
        f = 10 * (l - 1) * d / l
        F[i] += f
        F[j] -= f
    return E, F


@model(R.uniform(0, 3, (5, 3)))
def lj(pos):
    n = len(pos)
    i, j = np.triu_indices(n, k=1)
    d = pos[i] - pos[j]
    d -= 3.0 * np.round(d / 3.0)
    r2 = np.sum(d * d, axis=1) + 0.5
    s6 = 1 / r2**3
    return np.sum(4 * (s6 * s6 - s6))


def dh(a, al, d, th):
    ct, st, ca, sa = cos(th), sin(th), cos(al), sin(al)
    return np.array([[ct, -st * ca, st * sa, a * ct], [st, ct * ca, -ct * sa, a * st], [0, sa, ca, d], [0, 0, 0, 1]])


@model(R.normal(size=3))
def fk_reduce(q):
    T = functools.reduce(np.matmul, [dh(0.5, a, 0.1 * i, t) for i, (a, t) in enumerate(zip([pi / 2, 0, -pi / 2], q))])
    return T[:3, 3], T[:3, :3].trace(), np.linalg.det(T)


@model(R.normal(size=(5, 3)))
def kabsch(P):
    Q = np.arange(15.0).reshape(5, 3) ** 1.3 % 3
    Pc, Qc = P - P.mean(0), Q - Q.mean(0)
    U, S, Vt = np.linalg.svd(Pc.T @ Qc)
    d = np.sign(np.linalg.det(Vt.T @ U.T))
    D = np.diag([1, 1, d])
    Rm = Vt.T @ D @ U.T
    return Rm, np.sqrt(np.mean(np.sum((Pc @ Rm.T - Qc) ** 2, axis=1)))


@model(np.eye(3) + 0.1 * R.normal(size=(3, 3)))
def neo_hookean(F):
    J = np.linalg.det(F)
    C = F.T @ F
    I1 = np.trace(C)
    E = 0.5 * (C - np.identity(3))
    lam, mu = 2.0, 1.0
    d = np.eye(3)
    CC = lam * np.einsum("ij,kl->ijkl", d, d) + mu * (np.einsum("ik,jl->ijkl", d, d) + np.einsum("il,jk->ijkl", d, d))
    S = np.tensordot(CC, E, axes=2)
    return (
        mu / 2 * (I1 - 3) - mu * np.log(J) + lam / 2 * np.log(J) ** 2,
        0.5 * np.einsum("ij,ij", S, E),
        np.einsum("...ij,...jk->...ik", F, S),
    )
