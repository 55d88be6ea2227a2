"""Registered functions: what a server stores under a name, used like any other function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from farfunc_protocol.builder import FinishedGraph
from farfunc_protocol.errors import InvalidGraph, InvalidRequest, ServerBusy
from farfunc_protocol.graph import Function, Graph, TensorType
from farfunc_protocol.lengths import at_lengths, graph_at_lengths, match_lengths
from farfunc_protocol.pytree import TreeSpec, flatten, spec_map, spec_tree, unflatten

from ._call import Call, call
from ._evaluator import Evaluator
from ._fingerprint import Fingerprint, register_class
from ._session import FunctionInfo
from ._tracing import Trace, Traced, current_trace, is_type
from ._transforms import Argnums, Transforms
from ._writes import refuse_writes

__all__ = ["FunctionHandle", "trace_for_registration"]


def trace_for_registration(
    function: Callable[..., Any], example_args: Sequence[Any], example_kwargs: Mapping[str, Any]
) -> tuple[Function, tuple[TensorType, ...]]:
    """Trace a function for arguments like the examples, all that it closes over included.

    Returns
    -------
    Function, tuple[TensorType, ...]
        The function, and the types of its result leaves.

    Raises
    ------
    MutationError
        If it writes to its arguments.
    """
    call = Call.prepare((), function, tuple(example_args), dict(example_kwargs), None)
    refuse_writes(call.entry.payload.writes, "the function to be registered")
    traced, captures = call.entry.function, call.entry.captures
    constants = tuple(captures.get(i, array) for i, array in enumerate(traced.constants))
    return replace(traced, constants=constants), call.entry.payload.output_types


class FunctionHandle:
    """A function that is stored on a server.

    It is called, transformed and used inside other functions like the one that was registered, for
    arguments of the dtypes and shapes that it was traced for (of any lengths that fit, where its
    signature has symbolic dimensions); ``handle.jacfwd(argnums=1)`` is
    ``farfunc.jacfwd(handle, argnums=1)``. The client that gave it evaluates it; one from
    :func:`farfunc.register` or :func:`farfunc.function` goes where calls without a client go.

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

    def __init__(
        self, client: Transforms, info: FunctionInfo, function: Function, outputs: tuple[TensorType, ...] | None
    ) -> None:
        self._client = client
        self.info = info
        self.stored = function
        self._outputs = outputs

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

    def bound_to(self, client: Transforms) -> FunctionHandle:
        """The same function, evaluated by another client; its server is sent what it lacks."""
        return FunctionHandle(client, self.info, self.stored, self._outputs)

    def __repr__(self) -> str:
        return f"<farfunc function {self.info.reference} {self.signature}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate the function."""
        trace = current_trace()
        if trace is not None:
            return self._emit(trace, args, kwargs)
        return call((), self, args, kwargs, self.__farfunc_evaluator__)

    @property
    def __farfunc_evaluator__(self) -> Evaluator | None:
        """The client that evaluates this function where none is named; None for that of :func:`current_client`."""
        return self._client._evaluator

    def jacfwd(self, argnums: Argnums = 0, has_aux: bool = False, *, randomness: str = "error") -> Callable[..., Any]:
        """:func:`farfunc.jacfwd` of this function."""
        return self._client.jacfwd(self, argnums, has_aux, randomness=randomness)

    def jacrev(
        self, argnums: Argnums = 0, *, has_aux: bool = False, chunk_size: int | None = None
    ) -> Callable[..., Any]:
        """:func:`farfunc.jacrev` of this function."""
        return self._client.jacrev(self, argnums, has_aux=has_aux, chunk_size=chunk_size)

    def hessian(self, argnums: Argnums = 0) -> Callable[..., Any]:
        """:func:`farfunc.hessian` of this function."""
        return self._client.hessian(self, argnums)

    def grad(self, argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
        """:func:`farfunc.grad` of this function."""
        return self._client.grad(self, argnums, has_aux)

    def grad_and_value(self, argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
        """:func:`farfunc.grad_and_value` of this function."""
        return self._client.grad_and_value(self, argnums, has_aux)

    def vmap(
        self, in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *, chunk_size: int | None = None
    ) -> Callable[..., Any]:
        """:func:`farfunc.vmap` of this function."""
        return self._client.vmap(self, in_dims, out_dims, randomness, chunk_size=chunk_size)

    def jvp(self, primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False) -> Any:
        """:func:`farfunc.jvp` of this function."""
        return self._client.jvp(self, primals, tangents, strict=strict, has_aux=has_aux)

    def vjp(self, *primals: Any, has_aux: bool = False) -> Any:
        """:func:`farfunc.vjp` of this function."""
        return self._client.vjp(self, *primals, has_aux=has_aux)

    def linearize(self, *primals: Any) -> Any:
        """:func:`farfunc.linearize` of this function."""
        return self._client.linearize(self, *primals)

    def __farfunc_traced__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Traced:
        """What a trace of this function gives, for spec trees of arguments; there is nothing to run."""
        types, tree = flatten((tuple(args), dict(kwargs)), is_array=is_type)
        outputs, _ = self._check(types, tree)
        return Traced(self.stored, spec_tree(self.stored.out_tree, list(outputs)))

    def _emit(self, trace: Trace, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Inside a running trace: an equation that calls the function."""
        leaves, tree = flatten((tuple(args), dict(kwargs)), is_array=trace.front_end.is_array)
        outputs, graph = self._check([trace.front_end.type_of(leaf) for leaf in leaves], tree)
        constants = tuple(array for array in self.stored.constants if array is not None)
        values = [trace.lower(leaf) for leaf in leaves]
        results = trace.builder.add("call", values, types=outputs, body=FinishedGraph(graph, constants))
        return unflatten(self.stored.out_tree, [trace.lift(value) for value in results])

    def _check(self, types: Sequence[TensorType], tree: TreeSpec) -> tuple[tuple[TensorType, ...], Graph]:
        """Refuse arguments that the function was not traced for.

        Returns
        -------
        tuple[TensorType, ...], Graph
            The types of its results, and its graph, both at the lengths that the arguments bind.
        """
        expected_tree, what = self.stored.in_tree, self.info.reference
        remedy = f"its signature is {self.signature}; for other types register it anew, for a batch use vmap"
        if not expected_tree.accepts(tree):
            raise InvalidRequest(
                f"{what} takes {_shown(expected_tree, self.graph.inputs)}, and {_shown(tree, types)} is given",
                where="args, kwargs",
                remedy=remedy,
            )
        bound = match_lengths(self.graph.inputs, types)
        lengths = {name: length for name, length in bound.items() if isinstance(length, int)}
        for path, given, declared in zip(tree.leaf_paths(("args", "kwargs")), types, self.graph.inputs, strict=True):
            expected = at_lengths(declared, lengths)
            if given != expected:
                here = str(declared) if expected == declared else f"{declared}, which is {expected} here"
                raise InvalidRequest(f"{given} is given, {what} takes {here}", where=path, remedy=remedy)
        if None in self.stored.constants:
            raise InvalidRequest(
                f"{what} leaves constants open, which each call has to give", remedy="send it to POST /v1/evaluate"
            )
        if lengths:
            graph = graph_at_lengths(self.graph, lengths)
            return self._outputs_of(graph, types), graph
        if self._outputs is None:
            raise ServerBusy(
                f"the server could not tell the types of what {what} returns when it was asked for it",
                remedy="ask for the function again when the server has a worker ready",
            )
        return self._outputs, self.graph

    def _outputs_of(self, graph: Graph, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
        """The types of the results of the function at certain lengths."""
        from farfunc_protocol.validate import validate_graph  # with the op table, which the first call can wait for

        what = f"{self.info.reference} for ({', '.join(map(str, types))})"
        try:
            found = validate_graph(graph, where="graph")
        except InvalidGraph as error:
            raise InvalidRequest(f"there is no {what}: {error.detail}", where=error.where, rule=error.rule) from None
        known = tuple(type for type in found if type is not None)
        if len(known) < len(found):
            raise InvalidRequest(
                f"only a server can tell the types of what {what} returns",
                remedy=f"send the arguments to POST /v1/functions/{self.info.reference}/apply, or another transform",
            )
        return known


def _shown(tree: TreeSpec, types: Sequence[TensorType]) -> str:
    """The arguments as text: ``(float64[2], mode='fast')``."""
    args, kwargs = spec_tree(tree, list(types))
    texts = [_text(arg) for arg in args] + [f"{name}={_text(value)}" for name, value in kwargs.items()]
    return f"({', '.join(texts)})"


def _text(value: Any) -> str:
    return str(spec_map(_Shown, value))


class _Shown:
    def __init__(self, leaf: Any) -> None:
        self.leaf = leaf

    def __repr__(self) -> str:
        return str(self.leaf) if isinstance(self.leaf, TensorType) else repr(self.leaf)


register_class(FunctionHandle, Fingerprint.same)  # a handle never changes
