"""A case as a model of UM-Bridge: python umbridge_server.py CASE PORT THREADS."""

import sys
from pathlib import Path

import torch
import torch.func
import umbridge

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cases import case_named


class Model(umbridge.Model):
    """The function and its directional derivatives, by torch.func."""

    def __init__(self, key: str) -> None:
        super().__init__("model")
        case = case_named(key)
        self.function = case.function(torch)
        self.point = torch.from_numpy(case.argument)
        self.sizes = [list(self.point.shape), list(self.function(self.point).shape)]

    def _tensor(self, values: list[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=self.point.dtype)

    def get_input_sizes(self, config):
        return self.sizes[0]

    def get_output_sizes(self, config):
        return self.sizes[1]

    def __call__(self, parameters, config):
        return [self.function(self._tensor(parameters[0])).tolist()]

    def gradient(self, out_wrt, in_wrt, parameters, sens, config):
        _, pullback = torch.func.vjp(self.function, self._tensor(parameters[0]))
        return pullback(self._tensor(sens))[0].tolist()

    def apply_jacobian(self, out_wrt, in_wrt, parameters, vec, config):
        return torch.func.jvp(self.function, (self._tensor(parameters[0]),), (self._tensor(vec),))[1].tolist()

    def supports_evaluate(self):
        return True

    def supports_gradient(self):
        return True

    def supports_apply_jacobian(self):
        return True


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    umbridge.serve_models([Model(sys.argv[1])], int(sys.argv[2]))
