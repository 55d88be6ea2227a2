"""Registered functions: what a server stores under a name, used like any other function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from farfunc_protocol.builder import FinishedGraph
from farfunc_protocol.errors import InvalidRequest
from farfunc_protocol.graph import Function, Graph, TensorType
from farfunc_protocol.pytree import flatten, unflatten

from ._call import Call, call
from ._fingerprint import Fingerprint, register_class
from ._session import FunctionInfo
from ._tracing import Trace, Traced, current_trace, is_type
from ._transforms import Transforms

__all__ = ["FunctionHandle", "trace_for_registration"]


def trace_for_registration(
    function: Callable[..., Any], example_args: Sequence[Any], example_kwargs: Mapping[str, Any]
) -> Function:
    """Trace a function for arguments like the examples, all that it closes over included."""
    entry = Call.prepare((), function, tuple(example_args), dict(example_kwargs), None).entry
    constants = (entry.captures.get(i, array) for i, array in enumerate(entry.function.constants))
    return replace(entry.function, constants=tuple(constants))


class FunctionHandle:
    """A function that is stored on a server.

    It is called, transformed and used inside other functions like the one that was registered, for
    arguments of the dtypes and shapes that it was traced for. Its own methods are the transforms
    of its client: ``handle.jacfwd(argnums=1)`` is ``client.jacfwd(handle, argnums=1)``.

    Attributes
    ----------
    id:
        Its identity, ``sha256:<hex>``.
    name, version:
        Its name and the version of it; None for a function without one.
    signature:
        ``(float64[7]) -> float64[6]``.
    graph:
        What it computes; ``print(handle.graph)`` shows it.

    >>> import numpy as np
    >>> import farfunc
    >>> sine = farfunc.register(np.sin, np.zeros(2), name="sine")
    >>> sine.signature
    '(float64[2]) -> float64[2]'
    >>> sine.jacfwd()(np.zeros(2))
    array([[1., 0.],
           [0., 1.]])
    >>> print(sine.graph)
    graph(%0: float64[2]) {
      %1 = sin(%0)
      return %1
    }
    """

    def __init__(self, client: Transforms, info: FunctionInfo, function: Function) -> None:
        self.client = client
        self.info = info
        self.stored = function

    @property
    def id(self) -> str:
        """The identity."""
        return self.info.id

    @property
    def name(self) -> str | None:
        """The name."""
        return self.info.name

    @property
    def version(self) -> int | None:
        """The version of the name."""
        return self.info.version

    @property
    def signature(self) -> str:
        """The types of arguments and results, as text."""
        return self.info.signature

    @property
    def graph(self) -> Graph:
        """The computation."""
        return self.stored.graph

    def __repr__(self) -> str:
        return f"<farfunc function {self.info.reference} {self.signature}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate the function."""
        trace = current_trace()
        if trace is not None:
            return self._emit(trace, args, kwargs)
        return call((), self, args, kwargs, self.client)  # type: ignore[arg-type]  # a client evaluates

    def __farfunc_traced__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Traced:
        """What a trace of this function gives, for spec trees of arguments; there is nothing to run."""
        types, tree = flatten((tuple(args), dict(kwargs)), is_array=is_type)
        self._check(types, tree)
        return Traced(self.stored, unflatten(self.stored.out_tree, list(self.info.outputs)))

    def _check(self, types: Sequence[TensorType], tree: Any) -> None:
        remedy = f"its signature is {self.signature}; for other types register it anew, for a batch use vmap"
        if tree != self.stored.in_tree:
            raise InvalidRequest(
                f"{self.info.reference} was traced for other arguments than are given", where=str(tree), remedy=remedy
            )
        for path, given, expected in zip(tree.leaf_paths(("args", "kwargs")), types, self.graph.inputs, strict=True):
            if given != expected:
                raise InvalidRequest(f"{given} is given, {expected} is expected", where=path, remedy=remedy)

    def _emit(self, trace: Trace, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Inside a running trace: an equation that calls the function."""
        leaves, tree = flatten((tuple(args), dict(kwargs)), is_array=trace.front_end.is_array)
        self._check([trace.front_end.type_of(leaf) for leaf in leaves], tree)
        constants = tuple(array for array in self.stored.constants if array is not None)
        body = FinishedGraph(self.graph, constants)
        values = [trace.lower(leaf) for leaf in leaves]
        results = trace.builder.add("call", values, types=self.info.outputs, body=body)
        return unflatten(self.stored.out_tree, [trace.lift(value) for value in results])


def _method(name: str) -> Callable[..., Any]:
    """The transform ``name`` of the handle's client, applied to the handle."""
    transform = getattr(Transforms, name)

    def method(self: FunctionHandle, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.client, name)(self, *args, **kwargs)

    signature = inspect.signature(transform)
    parameters = [parameter for key, parameter in signature.parameters.items() if key != "func"]
    method.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    method.__name__, method.__doc__ = name, f"``{name}`` of this function; see :func:`farfunc.{name}`."
    return method


for _name in ("jacfwd", "jacrev", "hessian", "grad", "grad_and_value", "vmap", "jvp", "vjp", "linearize"):
    setattr(FunctionHandle, _name, _method(_name))

register_class(FunctionHandle, Fingerprint.same)  # a handle never changes
