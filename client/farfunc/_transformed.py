"""The callables that the transforms return."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from farfunc_protocol.transforms import Transform

from ._call import call
from ._evaluator import Evaluator
from ._fingerprint import transformed_of
from ._front_ends import local_transforms
from ._nested import emit
from ._tracing import current_trace

__all__ = ["Transformed", "apply", "function_name", "make_transformed", "peel", "wrap"]


class Transformed:
    """What is known about a callable that a transform has returned; its attribute ``__farfunc__``.

    Attributes
    ----------
    transform, func:
        What is applied, and to what: any callable, perhaps a transformed one.
    key:
        The transform's own: part of the key of cached traces.
    evaluator:
        The client that was asked for it; None for the default one.
    wrapper:
        The callable itself.
    """

    __slots__ = ("evaluator", "func", "key", "transform", "wrapper")

    def __init__(self, transform: Transform, func: Callable[..., Any], evaluator: Evaluator | None) -> None:
        self.transform = transform
        self.func = func
        self.evaluator = evaluator
        self.key = transform.key
        self.wrapper: Callable[..., Any] | None = None


def make_transformed(transform: Transform, func: Callable[..., Any], evaluator: Evaluator | None) -> Callable[..., Any]:
    """Return ``func``, transformed: with its name, docstring and attributes, as torch.func does.

    A plain function and no object of a class of ours: as a method it binds, and inspection works.
    """
    known = Transformed(transform, func, evaluator)

    def transformed(*args: Any, **kwargs: Any) -> Any:
        return apply(transform, func, args, kwargs, evaluator)

    if callable(func):
        functools.update_wrapper(transformed, func)
    transformed.__farfunc__ = known  # type: ignore[attr-defined]
    known.wrapper = transformed
    return transformed


def apply(
    transform: Transform,
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    evaluator: Evaluator | None,
    then: Callable[[Any], Any] | None = None,
    earlier: Mapping[str, Any] | None = None,
) -> Any:
    """Call a transformed function: inside a trace an equation is added, outside it is evaluated."""
    local = local_transforms()
    if local is not None:
        result = local.apply_locally(transform, func, args, kwargs)
        return result if then is None else then(result)
    trace = current_trace()
    if trace is not None:
        result = emit(trace, transform, func, args, kwargs)
        return result if then is None else then(result)
    chain, plain, found = peel(func)
    return call((transform, *chain), plain, args, kwargs, evaluator or found, then, earlier)


def peel(func: Callable[..., Any]) -> tuple[tuple[Transform, ...], Callable[..., Any], Evaluator | None]:
    """Take ``vmap(jacfwd(f))`` apart: the transforms from the outside, f, and the client that one of them names."""
    chain: list[Transform] = []
    evaluator = None
    known = transformed_of(func)
    while known is not None:
        chain.append(known.transform)
        evaluator = evaluator or known.evaluator
        func = known.func
        known = transformed_of(func)
    return tuple(chain), func, evaluator or getattr(func, "__farfunc_evaluator__", None)  # a registered function's


def wrap(chain: Sequence[Transform], func: Callable[..., Any]) -> Callable[..., Any]:
    """Put together what :func:`peel` has taken apart."""
    for transform in reversed(chain):
        func = make_transformed(transform, func, None)
    return func


def function_name(func: Any) -> str:
    """What torch.func calls a function in its messages."""
    if hasattr(func, "__name__"):
        return func.__name__
    if isinstance(func, functools.partial):
        return f"functools.partial({function_name(func.func)}, ...)"
    return repr(func)
