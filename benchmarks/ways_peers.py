"""Tesseract and UM-Bridge, through their own clients; imported in .venv-peers only."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import umbridge
from tesseract_core import Tesseract

from cases import Case
from ways import Addresses

__all__ = ["TesseractClient", "UmbridgeClient"]

_ENCODINGS = ("json", "json+base64", "json+binref")


class TesseractClient:
    """``Tesseract.from_url``: the jacobian endpoint in the encoding that measured fastest when it was opened.

    That endpoint holds results to the shape (*out, *in). What has another one, the Jacobian of each
    sample of a batch, is what ``apply`` returns.
    """

    function = None

    def __init__(self, case: Case, addresses: Addresses) -> None:
        self.is_jacobian = len(case.chain) == 1 and case.chain[0].startswith("jac")
        server = Tesseract.from_url(addresses.tesseract, server_output_path=addresses.tesseract_files)
        seconds: dict[str, float] = {}
        for encoding in _ENCODINGS:
            self.server = server.with_encoding(output_format=encoding)
            call = self.bind(case.argument)
            call()
            seconds[encoding] = statistics.median(_timed(call) for _ in range(5))
        best = min(seconds, key=lambda encoding: seconds[encoding])
        self.server = server.with_encoding(output_format=best)
        shown = ", ".join(f"{name} {1e3 * each:.1f} ms" for name, each in seconds.items())
        self.note = f"{best} (of {shown})"

    def bind(self, argument: np.ndarray) -> Callable[[], Any]:
        server, inputs = self.server, {"x": argument}
        if self.is_jacobian:
            return lambda: server.jacobian(inputs, ["x"], ["y"])["y"]["x"]
        return lambda: server.apply(inputs)["y"]

    def array(self, result: Any) -> np.ndarray:
        return np.asarray(result)

    def close(self) -> None:
        pass


class UmbridgeClient:
    """``umbridge.HTTPModel``: a call for each column (ApplyJacobian) or row (Gradient) of the Jacobian."""

    function = None

    def __init__(self, case: Case, addresses: Addresses) -> None:
        self.model = umbridge.HTTPModel(addresses.umbridge, "model")
        self.forward = case.chain == ("jacfwd",)
        sizes = self.model.get_input_sizes() if self.forward else self.model.get_output_sizes()
        self.units = np.eye(sizes[0]).tolist()
        self.note = f"{sizes[0]} calls of {'ApplyJacobian' if self.forward else 'Gradient'}"

    def bind(self, argument: np.ndarray) -> Callable[[], Any]:
        model, units, forward = self.model, self.units, self.forward

        def call() -> np.ndarray:
            point = [argument.tolist()]
            if forward:
                return np.array([model.apply_jacobian(0, 0, point, unit) for unit in units]).T
            return np.array([model.gradient(0, 0, point, unit) for unit in units])

        return call

    def array(self, result: Any) -> np.ndarray:
        return result

    def close(self) -> None:
        pass


def _timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
