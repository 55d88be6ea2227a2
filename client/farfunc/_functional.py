"""functional_call and stack_module_state: torch.func's own, which need no server.

Inside a traced function ``functional_call`` runs the module on tracers, so its operators are recorded.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from farfunc_protocol.errors import TransformTypeError

__all__ = ["functional_call", "stack_module_state"]


def functional_call(
    module: Any,
    parameter_and_buffer_dicts: dict[str, Any] | Sequence[dict[str, Any]],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call a ``torch.nn.Module`` with other parameters and buffers, as ``torch.func.functional_call``.

    Parameters
    ----------
    module:
        The module; it stays as it is.
    parameter_and_buffer_dicts:
        Tensors by name, in one dict or several with distinct names.
    args, kwargs:
        What the module is called with; ``args`` that is no tuple is the only argument.
    tie_weights, strict:
        As in torch.func.

    Raises
    ------
    TransformTypeError
        If ``module`` is no module of torch.

    Examples
    --------
    >>> import torch
    >>> import farfunc
    >>> model = torch.nn.Linear(3, 2)
    >>> parameters = dict(model.named_parameters())
    >>> def loss(parameters, x):
    ...     return farfunc.functional_call(model, parameters, (x,)).square().sum()
    >>> farfunc.grad(loss)(parameters, torch.ones(4, 3))["weight"].shape
    torch.Size([2, 3])
    """
    return _torch_func("functional_call", module).functional_call(
        module, parameter_and_buffer_dicts, args, kwargs, tie_weights=tie_weights, strict=strict
    )


def stack_module_state(models: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Stack the parameters and buffers of several modules of one class, as ``torch.func.stack_module_state``.

    Returns
    -------
    tuple[dict, dict]
        Parameters and buffers by name, each with a new first axis: what ``vmap`` maps over.

    Examples
    --------
    >>> import torch
    >>> import farfunc
    >>> models = [torch.nn.Linear(3, 2) for _ in range(5)]
    >>> parameters, buffers = farfunc.stack_module_state(models)
    >>> def call(parameters, buffers, x):
    ...     return farfunc.functional_call(models[0], (parameters, buffers), (x,))
    >>> farfunc.vmap(call, in_dims=(0, 0, None))(parameters, buffers, torch.ones(4, 3)).shape
    torch.Size([5, 4, 2])
    """
    return _torch_func("stack_module_state", models).stack_module_state(models)


def _torch_func(name: str, given: Any) -> Any:
    """``torch.func``: who holds a module has imported torch."""
    torch = sys.modules.get("torch")
    if torch is None:
        raise TransformTypeError(
            f"{name} takes modules of torch, and torch is not imported; {type(given).__name__} is given",
            remedy="without torch, write the function with its parameters as an argument: f(parameters, x)",
        )
    return torch.func
