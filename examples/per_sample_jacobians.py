"""Jacobians of a network for each sample of a batch, and the gradient of each sample's loss."""

import torch

from farfunc import functional_call, grad, jacrev, vmap


def main():
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(8, 32),
        torch.nn.LayerNorm(32),
        torch.nn.GELU(),
        torch.nn.Linear(32, 3),
    )
    inputs, labels = torch.randn(64, 8), torch.randint(3, (64,))

    sensitivities = vmap(jacrev(network))(inputs)
    print(f"d output / d input, for each sample: {tuple(sensitivities.shape)}")

    parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}

    def loss(parameters, sample, label):
        scores = functional_call(network, parameters, (sample,))
        return torch.nn.functional.cross_entropy(scores, label)

    gradients = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, inputs, labels)
    norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients.values()]).norm(dim=0)
    print(f"gradient norms of the samples: {norms.min():.3f} to {norms.max():.3f}")
    return sensitivities, gradients


if __name__ == "__main__":
    main()
