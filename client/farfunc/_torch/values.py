"""What Python needs to know of elements: computed here for what follows from constants, refused for the rest."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_map_only

from .capture import NotConstant, outside_traces
from .refusals import refuse_value

if TYPE_CHECKING:
    from .trace import TorchTrace

__all__ = ["adopted", "evaluated", "python_value"]

aten = torch.ops.aten


def evaluated(trace: TorchTrace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The real result of an operator on constants; raises NotConstant."""
    if torch.Tag.nondeterministic_seeded in func.tags:
        raise NotConstant

    def real(tensor: torch.Tensor) -> torch.Tensor:
        return trace.constants.elements(trace.lower(tensor))

    args, kwargs = tree_map_only(torch.Tensor, real, (args, kwargs))
    if kwargs.get("device") is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    with outside_traces():
        return func(*args, **kwargs)


def adopted(trace: TorchTrace, result: Any) -> Any:
    """Real results, as constants of the trace."""
    return tree_map_only(torch.Tensor, trace.constants.adopt, result)


def python_value(trace: TorchTrace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``float(x)``, ``if x:``: the value of a constant, and of nothing else."""
    try:
        return evaluated(trace, func, args, kwargs)
    except NotConstant:
        if func is aten.is_nonzero.default and (answer := _assumed(_calling_code())) is not None:
            return answer
        needed = "a boolean" if func is aten.is_nonzero.default or args[0].dtype == torch.bool else "a number"
        refuse_value(func, needed)


_ASK_WHETHER_INVALID = (torch.nn.functional.gaussian_nll_loss.__code__, torch.distributions.Wishart.__init__.__code__)
_DISTRIBUTIONS = os.path.dirname(torch.distributions.__file__)


def _assumed(code: Any) -> bool | None:
    """What torch's own functions are told where they ask whether elements are valid: that these are.

    The elements are known on the server, whose result holds NaN where they are not.
    """
    if code in _ASK_WHETHER_INVALID:
        return False
    if os.path.dirname(code.co_filename) == _DISTRIBUTIONS and code.co_name in (
        "__init__",
        "check",
        "_validate_sample",
    ):
        return True
    return None


def _calling_code() -> Any:
    """The function that asks for a value: the innermost that is no part of the tracer."""
    frame = sys._getframe(1)
    while os.path.dirname(frame.f_code.co_filename) == _HERE:
        assert frame.f_back is not None
        frame = frame.f_back
    return frame.f_code


_HERE = os.path.dirname(__file__)
