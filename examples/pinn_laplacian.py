"""The residual of Poisson's equation for a physics-informed network: nested transforms in a user's function.

The Laplacian of the network is the trace of its Hessian with respect to the position, and the loss
is differentiated again with respect to the network's parameters.
"""

import math

import torch

from farfunc import functional_call, grad_and_value, hessian, vmap


def main(steps=3):
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    try:
        network = torch.nn.Sequential(torch.nn.Linear(2, 24), torch.nn.Tanh(), torch.nn.Linear(24, 1))
        parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}
        points = torch.rand(128, 2)

        def laplacian(parameters, point):
            def u(x):
                return functional_call(network, parameters, (x,)).squeeze()

            return torch.trace(hessian(u)(point))

        def source(point):
            return -2 * math.pi**2 * torch.sin(math.pi * point[0]) * torch.sin(math.pi * point[1])

        def loss(parameters, points):
            def residual(point):
                return laplacian(parameters, point) - source(point)

            return (vmap(residual)(points) ** 2).mean()

        losses = []
        for _ in range(steps):
            gradients, value = grad_and_value(loss)(parameters, points)
            losses.append(float(value))
            parameters = {name: parameters[name] - 1e-3 * gradients[name] for name in parameters}
        print("loss:", " -> ".join(f"{value:.4f}" for value in losses))
        return losses
    finally:
        torch.set_default_dtype(torch.float32)


if __name__ == "__main__":
    main()
