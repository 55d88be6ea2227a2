"""Programs as people write them, called three times: for the first time, with other arguments, and after what they
close over has changed. What is right is what torch.func says each time.
"""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils import _pytree

from support.evaluators import InProcess

torch.manual_seed(20260511)


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def network(*sizes, activation=nn.Tanh):
    layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), activation())]
    return nn.Sequential(*layers[:-1]).double()


def weights(module):
    return {name: parameter.detach() for name, parameter in module.named_parameters()}


def step(*tensors):
    """An optimizer's step, as far as a cache can tell."""

    def change():
        with torch.no_grad():
            for tensor in tensors:
                tensor.mul_(1.1)

    return change


vector_field = network(2, 8, 2)


def neural_ode(api):
    def solve(y, h=0.1):
        for _ in range(4):
            k1 = vector_field(y)
            k2 = vector_field(y + h / 2 * k1)
            k3 = vector_field(y + h / 2 * k2)
            y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + vector_field(y + h * k3))
        return y

    return api.vmap(api.jacrev(solve))


learner = network(1, 6, 1)


def meta_learning(api):
    def task(parameters, x, y, x_new, y_new):
        def loss(parameters):
            return F.mse_loss(torch.func.functional_call(learner, parameters, (x,)), y)

        for _ in range(2):
            gradient = api.grad(loss)(parameters)
            parameters = {name: parameters[name] - 0.1 * gradient[name] for name in parameters}
        return F.mse_loss(torch.func.functional_call(learner, parameters, (x_new,)), y_new)

    return api.grad_and_value(lambda p, *batch: api.vmap(task, (None, 0, 0, 0, 0))(p, *batch).mean())


observed = random(6)


def levenberg_marquardt(api):
    t = torch.linspace(0, 2, 6, dtype=torch.float64)

    def residuals(p):
        return p[0] * torch.exp(-p[1] * t) + p[2] * torch.cos(t) - observed

    def fit(p):
        for _ in range(2):
            J, r = api.jacfwd(lambda p: (residuals(p),) * 2, has_aux=True)(p)
            p = p - torch.linalg.solve(J.T @ J + 0.1 * torch.eye(3, dtype=p.dtype), J.T @ r)
        return p

    return api.jacfwd(fit)


points = random(6, 2)


def gaussian_process(api):
    squares = ((points[:, None] - points[None]) ** 2).sum(-1)

    def evidence(h):
        K = h[0].exp() * torch.exp(-0.5 * squares * h[2].exp()) + (h[1].exp() + 1e-3) * torch.eye(6, dtype=h.dtype)
        L = torch.linalg.cholesky(K)
        alpha = torch.cholesky_solve(observed[:, None], L)[:, 0]
        return 0.5 * observed @ alpha + L.diagonal().log().sum() + 3 * math.log(2 * math.pi)

    return api.hessian(evidence)


def kalman_filter(api):
    def log_likelihood(theta):
        one, zero = torch.ones_like(theta[0]), torch.zeros_like(theta[0])
        A = torch.stack([one, theta[0], zero, theta[1]]).reshape(2, 2)
        H = torch.tensor([[1.0, 0.0]], dtype=theta.dtype)
        mean, P, total = torch.zeros(2, dtype=theta.dtype), torch.eye(2, dtype=theta.dtype), 0.0
        for z in observed[:4]:
            mean, P = A @ mean, A @ P @ A.T + theta[2].exp() * torch.eye(2, dtype=theta.dtype)
            S, r = H @ P @ H.T + theta[3].exp(), z - H @ mean
            K = P @ H.T @ torch.linalg.inv(S)
            total = total - 0.5 * (r @ torch.linalg.solve(S, r) + torch.logdet(S))
            mean, P = mean + K @ r, P - K @ H @ P
        return total

    return api.jacfwd(api.jacrev(log_likelihood))


siren = network(2, 6, 1)


def laplacian_loss(api):
    def loss(parameters, points):
        def u(point):
            return torch.func.functional_call(siren, parameters, (point,)).squeeze()

        return api.vmap(lambda point: api.hessian(u)(point).trace())(points).square().mean()

    return api.grad(loss)


def leapfrog(api):
    def energy(q, p):
        return 0.5 * p @ p + (1 - torch.cos(q)).sum() + 0.5 * ((q[1:] - q[:-1]) ** 2).sum()

    def flow(state):
        q, p = state
        for _ in range(3):
            p = p - 0.05 * api.grad(energy)(q, p)
            q = q + 0.1 * api.grad(energy, 1)(q, p)
            p = p - 0.05 * api.grad(energy)(q, p)
        return q, p

    return api.jacrev(flow)


camera = SimpleNamespace(distance=5.0)


def bundle_adjustment(api):
    def rotation(w):
        angle = (w @ w + 1e-12).sqrt()
        x, y, z = w / angle
        zero = torch.zeros_like(x)
        K = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
        return torch.eye(3, dtype=w.dtype) + angle.sin() * K + (1 - angle.cos()) * K @ K

    def project(pose, point):
        seen = rotation(pose[:3]) @ point + pose[3:6]
        u = seen[:2] / (seen[2] + camera.distance)
        return pose[6] * (1 + pose[7] * (u @ u)) * u

    return api.vmap(api.vmap(api.jacrev(project, (0, 1)), (None, 0)), (0, None))


wave_numbers = torch.fft.rfftfreq(8, 1 / 8.0, dtype=torch.float64)


def spectral_burgers(api):
    def solve(u):
        for _ in range(3):
            spectrum = torch.fft.rfft(u)
            slope = torch.fft.irfft(1j * wave_numbers * spectrum, n=8)
            u = u + 0.01 * (-u * slope + torch.fft.irfft(-0.1 * wave_numbers**2 * spectrum, n=8))
        return u

    return api.jacfwd(solve)


coupling = 0.2 * random(4, 4)


def deep_equilibrium(api):
    def layer(z, x):
        return torch.tanh(coupling @ z + x)

    def solve(x):
        z = torch.zeros_like(x)
        with torch.no_grad():
            for _ in range(15):
                z = layer(z, x)
        z = z.detach()
        A = torch.eye(4, dtype=x.dtype) - api.jacrev(layer)(z, x).detach()
        return z + torch.linalg.solve(A, layer(z, x) - z)

    return api.jacrev(solve)


cell = nn.LSTMCell(3, 4).double()


def recurrent_gradients(api):
    def loss(parameters, sequence):
        h = c = sequence.new_zeros(4)
        for x in sequence:
            h, c = torch.func.functional_call(cell, parameters, (x, (h, c)))
        return h.sum()

    return api.vmap(api.grad(loss), (None, 0))


encoder, decoder = nn.Linear(4, 4).double(), nn.Linear(2, 4).double()


def evidence_lower_bound(api):
    def elbo(x):
        mean, scale = encoder(x).chunk(2, -1)
        q = torch.distributions.Normal(mean, scale.exp())
        p = torch.distributions.Normal(torch.zeros_like(mean), 1.0)
        z = mean + scale.exp() * torch.randn_like(mean)
        likelihood = torch.distributions.Normal(decoder(z), 1.0).log_prob(x).sum(-1)
        return likelihood - torch.distributions.kl_divergence(q, p).sum(-1)

    return api.vmap(api.grad(elbo), randomness="different")


transitions = random(3, 3)


def random_field(api):
    def log_partition(scores):
        alpha = scores[0]
        for row in scores[1:]:
            alpha = torch.logsumexp(alpha[:, None] + transitions, 0) + row
        return alpha.logsumexp(0)

    return api.hessian(log_partition)


arm = [(0.0, 0.333, 0.0), (0.0, 0.0, -math.pi / 2), (0.0, 0.316, math.pi / 2)]


def inverse_kinematics(api):
    def hand(q):
        T = torch.eye(4, dtype=q.dtype)
        for (a, d, twist), angle in zip(arm, q, strict=True):
            c, s, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
            ct, st = math.cos(twist), math.sin(twist)
            rows = [c, -s, zero, zero + a, s * ct, c * ct, zero - st, zero - d * st]
            rows += [s * st, c * st, zero + ct, zero + d * ct, zero, zero, zero, zero + 1]
            T = T @ torch.stack(rows).reshape(4, 4)
        return T[:3, 3]

    def solve(target, q):
        for _ in range(2):
            J = api.jacrev(hand)(q)
            q = q + J.T @ torch.linalg.solve(J @ J.T + 0.1 * torch.eye(3, dtype=q.dtype), target - hand(q))
        return q

    return api.vmap(api.jacrev(solve), (0, None))


critic = network(3, 5, 1, activation=nn.Softplus)


def gradient_penalty(api):
    def penalty(x):
        critic.zero_grad()
        norms = api.vmap(api.grad(lambda x: critic(x).squeeze()))(x).norm(dim=1)
        ((norms - 1) ** 2).mean().backward()
        return [critic[0].weight.grad.clone(), critic[2].weight.grad.clone()]

    return penalty


sequences = random(2, 4, 3)
PROGRAMS = {
    "a neural ODE": (neural_ode, (random(3, 2),), step(*vector_field.parameters())),
    "meta-learning": (meta_learning, (weights(learner), *(random(3, 5, 1) for _ in range(4))), None),
    "Levenberg-Marquardt": (levenberg_marquardt, (random(3).exp(),), step(observed)),
    "a Gaussian process": (gaussian_process, (0.1 * random(3),), step(points)),
    "a Kalman filter": (kalman_filter, (0.5 * random(4),), step(observed)),
    "a Laplacian in a loss": (laplacian_loss, (weights(siren), random(4, 2)), None),
    "Hamiltonian dynamics": (leapfrog, ((random(3), random(3)),), None),
    "bundle adjustment": (bundle_adjustment, (random(2, 8), random(3, 3)), lambda: setattr(camera, "distance", 6.0)),
    "a spectral PDE step": (spectral_burgers, (random(8),), step(wave_numbers)),
    "a deep equilibrium": (deep_equilibrium, (random(4),), step(coupling)),
    "an LSTM's gradients": (recurrent_gradients, (weights(cell), sequences), None),
    "a lower bound": (evidence_lower_bound, (random(3, 4),), step(*encoder.parameters())),
    "a random field": (random_field, (random(4, 3),), step(transitions)),
    "inverse kinematics": (inverse_kinematics, (random(2, 3), random(3)), lambda: arm.__setitem__(0, (0.1, 0.2, 0.3))),
    "a gradient penalty": (gradient_penalty, (random(4, 3),), step(*critic.parameters())),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name):
    program, arguments, change = PROGRAMS[name]
    here, far = program(torch.func), program(InProcess())

    def compare(arguments):
        torch.manual_seed(1)
        expected = here(*arguments)
        torch.manual_seed(1)
        given = far(*arguments)
        assert _pytree.tree_structure(given) == _pytree.tree_structure(expected)
        for left, right in zip(_pytree.tree_leaves(given), _pytree.tree_leaves(expected), strict=True):
            torch.testing.assert_close(left, right)

    compare(arguments)
    compare(_pytree.tree_map(lambda leaf: leaf * 1.01, arguments))
    if change is not None:
        change()
        compare(arguments)
