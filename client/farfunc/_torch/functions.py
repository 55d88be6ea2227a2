"""torch's functions, as the user's own code calls them: some are to be met before they become operators."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from .subscripts import read_or_write

__all__ = ["FunctionMode"]

_SUBSCRIPTS = (torch.Tensor.__getitem__, torch.Tensor.__setitem__)
_PLAIN = torch.Tensor.__torch_function__.__func__  # pyright: ignore[reportFunctionMemberAccess]


class FunctionMode(TorchFunctionMode):
    """Subscripts, and constants of classes derived from Tensor.

    Where such a class does not say how functions deal with it, torch gives each result its class. The result is
    traced, and has the class of the tracer: the elements are the same.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _SUBSCRIPTS:
            return read_or_write(func, *args)
        if types and all(getattr(kind.__torch_function__, "__func__", None) is _PLAIN for kind in types):
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))
