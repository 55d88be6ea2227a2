"""torch.func's transforms: the same names, parameters, defaults and results, computed elsewhere.

:class:`Transforms` holds them as methods, so that a client has them, too; the functions of the
package are those of an instance that is bound to no client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from farfunc_protocol.errors import TransformError
from farfunc_protocol.pytree import flatten
from farfunc_protocol.transforms import Grad, GradAndValue, Hessian, Jacfwd, Jacrev, Jvp, Vjp, Vmap
from farfunc_protocol.transforms.torch_words import size_text, structure_text

from ._evaluator import Evaluator
from ._front_ends import front_end_of_call
from ._held import hold
from ._tracing import spec_of
from ._transformed import apply, function_name, make_transformed

__all__ = [
    "Transforms",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "linearize",
    "vjp",
    "vmap",
]

Argnums = int | tuple[int, ...]


class Transforms:
    """The transforms as methods.

    A subclass with a method ``evaluate`` (:class:`~farfunc._evaluator.Evaluator`) evaluates the calls
    itself; if its answers are awaitable, the transformed functions, ``jvp``, ``vjp`` and
    ``linearize`` return awaitables. Without one, the default client at the time of each call does.
    """

    @property
    def _evaluator(self) -> Evaluator | None:
        return self if hasattr(self, "evaluate") else None  # type: ignore[return-value]

    def jacfwd(
        self, func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False, *, randomness: str = "error"
    ) -> Callable[..., Any]:
        """Compute the Jacobian of ``func`` with respect to the arguments ``argnums``, in forward mode.

        Parameters
        ----------
        func:
            Takes one or more arguments, returns one array or a tree of arrays.
        argnums:
            Which positional argument, or which: an integer or a tuple of them, negative ones count from the end.
            Each may be a tree of floating-point arrays.
        has_aux:
            Whether ``func`` returns ``(output, aux)``, of which ``aux`` is not differentiated.
        randomness:
            As for :func:`vmap`.

        Returns
        -------
        Callable
            Takes the arguments of ``func``, returns the Jacobian: the tree of the output, in which each leaf is
            replaced by the tree of the argument (for a tuple of argnums, by a tuple of trees). A block has the shape
            of the output leaf followed by that of the argument leaf, and the dtype of the output leaf. With
            ``has_aux``, ``(jacobian, aux)``.

        Raises
        ------
        TransformError
            When called: what ``torch.func.jacfwd`` refuses, in its words.
        TraceError
            When called: ``func`` cannot be written down as a graph.

        Examples
        --------
        >>> import numpy as np
        >>> x = np.array([0.0, 1.0, 2.0])
        >>> jacobian = jacfwd(np.sin)(x)
        >>> assert np.allclose(jacobian, np.diag(np.cos(x)))

        With :func:`vmap`, a batch of Jacobians:

        >>> x = np.linspace(0.0, 1.0, 64 * 5).reshape(64, 5)
        >>> vmap(jacfwd(np.sin))(x).shape
        (64, 5, 5)

        With ``has_aux``, the value of the function as well:

        >>> def f_and_value(x):
        ...     result = np.sin(x)
        ...     return result, result
        >>> jacobian_f, f_x = jacfwd(f_and_value, has_aux=True)(x[0])
        >>> assert np.allclose(f_x, np.sin(x[0]))

        With itself or :func:`jacrev`, a Hessian:

        >>> hessian_f = jacfwd(jacrev(lambda x: np.sin(x).sum()))(x[0])
        >>> assert np.allclose(hessian_f, np.diag(-np.sin(x[0])))

        With respect to other arguments:

        >>> x, y = x[0], x[1]
        >>> jacobian_x, jacobian_y = jacfwd(lambda x, y: x + y**2, argnums=(0, 1))(x, y)
        >>> assert np.allclose(jacobian_x, np.eye(5)) and np.allclose(jacobian_y, np.diag(2 * y))
        """
        return self._transformed(Jacfwd(argnums, has_aux, randomness), func)

    def jacrev(
        self,
        func: Callable[..., Any],
        argnums: Argnums = 0,
        *,
        has_aux: bool = False,
        chunk_size: int | None = None,
        _preallocate_and_copy: bool = False,
    ) -> Callable[..., Any]:
        """Compute the Jacobian of ``func`` with respect to the arguments ``argnums``, in reverse mode.

        Parameters
        ----------
        func, argnums, has_aux:
            As for :func:`jacfwd`. Every output must be of a floating-point dtype.
        chunk_size:
            How many rows of the Jacobian are computed at a time; None for all at once.
        _preallocate_and_copy:
            Accepted and without effect: how a server allocates is its own affair.

        Returns
        -------
        Callable
            As for :func:`jacfwd`, but that a block has the dtype of the argument leaf.

        Raises
        ------
        TransformValueError
            If ``chunk_size`` is not positive.
        TransformError
            When called: what ``torch.func.jacrev`` refuses, in its words.

        Examples
        --------
        >>> import numpy as np
        >>> x = np.array([0.0, 1.0, 2.0])
        >>> assert np.allclose(jacrev(np.sin)(x), np.diag(np.cos(x)))
        >>> hessian_f = jacrev(jacrev(lambda x: np.sin(x).sum()))(x)
        >>> assert np.allclose(hessian_f, np.diag(-np.sin(x)))
        >>> jacrev(lambda parameters: parameters["w"] @ x)({"w": np.ones((2, 3))})["w"].shape
        (2, 2, 3)
        """
        return self._transformed(Jacrev(argnums, has_aux, chunk_size), func)

    def hessian(self, func: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
        """Compute the Hessian of ``func`` with respect to the arguments ``argnums``: forward over reverse.

        The same as ``jacfwd(jacrev(func, argnums), argnums)``. Where an operator has no forward mode, use
        ``jacrev(jacrev(func))``.

        Examples
        --------
        >>> import numpy as np
        >>> x = np.array([0.0, 1.0, 2.0])
        >>> assert np.allclose(hessian(lambda x: np.sin(x).sum())(x), np.diag(-np.sin(x)))
        """
        return self._transformed(Hessian(argnums), func)

    def grad(self, func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
        """Compute the gradient of a scalar function with respect to the arguments ``argnums``.

        Parameters
        ----------
        func:
            Returns one array without axes; with ``has_aux``, a pair of it and other arrays.
        argnums, has_aux:
            As for :func:`jacfwd`.

        Returns
        -------
        Callable
            Takes the arguments of ``func``, keyword arguments included (which are not differentiated), and returns
            the gradient in the tree of the argument; with ``has_aux``, ``(gradient, aux)``.

        Examples
        --------
        >>> import numpy as np
        >>> x = np.float64(0.5)
        >>> cos_x = grad(np.sin)(x)
        >>> assert np.allclose(cos_x, np.cos(x))
        >>> neg_sin_x = grad(grad(np.sin))(x)
        >>> assert np.allclose(neg_sin_x, -np.sin(x))

        With :func:`vmap`, a gradient for each sample:

        >>> weights, examples, targets = np.ones(3), np.eye(5, 3), np.arange(5.0)
        >>> def compute_loss(weights, example, target):
        ...     return (np.maximum(example @ weights, 0.0) - target) ** 2
        >>> vmap(grad(compute_loss), in_dims=(None, 0, 0))(weights, examples, targets).shape
        (5, 3)
        """
        return self._transformed(Grad(argnums, has_aux), func)

    def grad_and_value(
        self, func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
    ) -> Callable[..., Any]:
        """Compute the gradient and the value: ``(gradient, value)``, or ``(gradient, (value, aux))``.

        Parameters are those of :func:`grad`.

        Examples
        --------
        >>> import numpy as np
        >>> gradient, value = grad_and_value(lambda x: (x**2).sum())(np.array([1.0, 2.0]))
        >>> gradient.tolist(), float(value)
        ([2.0, 4.0], 5.0)
        """
        return self._transformed(GradAndValue(argnums, has_aux), func)

    def vmap(
        self,
        func: Callable[..., Any],
        in_dims: Any = 0,
        out_dims: Any = 0,
        randomness: str = "error",
        *,
        chunk_size: int | None = None,
    ) -> Callable[..., Any]:
        """Map ``func`` over an axis of its arguments.

        Parameters
        ----------
        func:
            Written for one sample.
        in_dims:
            The axis of each argument that is mapped, None for one that is not: an integer for all, or a tuple with
            the structure of the arguments.
        out_dims:
            Where the mapped axis stands in each output.
        randomness:
            ``"error"`` (random operators are refused), ``"different"`` or ``"same"`` for each sample.
        chunk_size:
            How many samples are computed at a time; None for all at once.

        Returns
        -------
        Callable
            Takes the arguments of ``func`` with the mapped axes; keyword arguments are not mapped.

        Raises
        ------
        TransformError, TransformValueError
            For another word as ``randomness``, or a ``chunk_size`` that is not positive; when called, what
            ``torch.func.vmap`` refuses, in its words.

        Examples
        --------
        >>> import numpy as np
        >>> batched_dot = vmap(np.dot)  # [N, D], [N, D] -> [N]
        >>> x, y = np.ones((2, 5)), np.ones((2, 5))
        >>> batched_dot(x, y).tolist()
        [5.0, 5.0]
        >>> vmap(np.dot, in_dims=(0, None))(x, y[0]).shape
        (2,)
        >>> vmap(lambda pair: np.dot(pair["x"], pair["y"]), in_dims=({"x": 0, "y": None},))({"x": x, "y": y[0]}).shape
        (2,)
        >>> vmap(lambda x: x**2, out_dims=1)(x).shape
        (5, 2)
        """
        return self._transformed(Vmap(in_dims, out_dims, randomness, chunk_size, function_name(func)), func)

    def jvp(
        self, func: Callable[..., Any], primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False
    ) -> Any:
        """Compute ``func(*primals)`` and the Jacobian there times ``tangents``.

        Parameters
        ----------
        func:
            As for :func:`jacfwd`.
        primals, tangents:
            Tuples of the same structure and shapes.
        strict:
            Refuse an output that does not depend on the primals.
        has_aux:
            As for :func:`jacfwd`.

        Returns
        -------
        tuple
            ``(output, jvp_out)``, or ``(output, jvp_out, aux)``.

        Examples
        --------
        >>> import numpy as np
        >>> x, y = np.arange(5.0), np.ones(5)
        >>> value, tangent = jvp(lambda x, y: x * y, (x, y), (np.ones(5), np.ones(5)))
        >>> assert np.allclose(value, x * y) and np.allclose(tangent, x + y)
        """
        return apply(Jvp(strict, has_aux), func, (primals, tangents), {}, self._evaluator)

    def vjp(self, func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
        """Compute ``func(*primals)``, and return with it the function of cotangents times the Jacobian there.

        Parameters
        ----------
        func, has_aux:
            As for :func:`jacrev`.
        primals:
            Trees of arrays.

        Returns
        -------
        tuple
            ``(output, vjp_fn)``, or ``(output, vjp_fn, aux)``. ``vjp_fn(cotangents)`` takes the structure of the
            output, and returns a tuple with one tree for each primal.

        Examples
        --------
        >>> import numpy as np
        >>> x = np.arange(5.0)
        >>> output, vjp_fn = vjp(lambda x: (np.sin(x), np.cos(x)), x)
        >>> (gradient,) = vjp_fn((np.ones(5), np.ones(5)))
        >>> assert np.allclose(gradient, np.cos(x) - np.sin(x))
        """
        transform = Vjp(has_aux)
        front_end = front_end_of_call(func, primals)
        transform.inner((spec_of(primals, front_end), ()), {})

        def finish(result: Any, pull_back: Callable[[Any], Any]) -> Any:
            transform.check_output(spec_of(result, front_end))

            def vjp_fn(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
                return pull_back(cotangents)

            return (result[0], vjp_fn, result[1]) if has_aux else (result, vjp_fn)

        return hold(transform, func, primals, self._evaluator, finish)

    def linearize(self, func: Callable[..., Any], *primals: Any) -> Any:
        """Compute ``func(*primals)``, and return with it the function of tangents: the linear part of ``func`` there.

        Returns
        -------
        tuple
            ``(output, jvp_fn)``. ``jvp_fn(*tangents)`` takes the structure, shapes and dtypes of the primals.

        Examples
        --------
        >>> import numpy as np
        >>> output, jvp_fn = linearize(np.sin, np.zeros((3, 3)))
        >>> jvp_fn(np.ones((3, 3))).tolist()
        [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
        """

        def finish(output: Any, push_forward: Callable[[Any], Any]) -> Any:
            def jvp_fn(*tangents: Any) -> Any:
                _check_tangents(primals, tangents)
                return push_forward(tangents)

            return output, jvp_fn

        return hold(Jvp(), func, primals, self._evaluator, finish)

    def _transformed(self, transform: Any, func: Callable[..., Any]) -> Callable[..., Any]:
        return make_transformed(transform, func, self._evaluator)


def _check_tangents(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> None:
    """What the function that ``torch.func.linearize`` returns refuses, in its words."""
    given, tree = flatten(tangents)
    expected, expected_tree = flatten(primals)
    if tree != expected_tree:
        raise TransformError(
            f"Expected the tangents {structure_text(tangents)} to have the same argspec as the primals "
            f"{structure_text(primals)}"
        )
    for index, (tangent, primal) in enumerate(zip(given, expected, strict=True)):
        for what, show in (("shape", size_text), ("device", str), ("dtype", str)):
            left, right = getattr(tangent, what, ()), getattr(primal, what, ())
            if left != right:
                raise TransformError(
                    f"tangent:{index} with {what} {show(left)} in flattened pytree doesn't match the {what} "
                    f"{show(right)} of the corresponding primal."
                )


_unbound = Transforms()

jacfwd = _unbound.jacfwd
jacrev = _unbound.jacrev
hessian = _unbound.hessian
grad = _unbound.grad
grad_and_value = _unbound.grad_and_value
vmap = _unbound.vmap
jvp = _unbound.jvp
vjp = _unbound.vjp
linearize = _unbound.linearize
