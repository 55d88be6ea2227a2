"""What cannot be traced: each refusal names the user's line and the way out."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch._subclasses.fake_tensor import UnsupportedFakeTensorException

from farfunc_protocol.errors import DataDependentError, FarfuncError, MutationError, TraceError, UnsupportedOperator

from .location import user_line, user_line_of

__all__ = [
    "is_without_words",
    "refuse_dual",
    "refuse_lost_derivative",
    "refuse_operator",
    "refuse_tape",
    "refuse_value",
    "refuse_write",
    "translated",
]

_KINDS = {
    "a boolean": "data-dependent control flow",
    "a number": "item() on a Tensor",
    "a shape": "dynamic shape",
}

_WAY_OUT = {
    "a boolean": "choose with torch.where(condition, a, b), which computes both",
    "a number": "keep it a tensor: most operators take a 0-d tensor where they take a number",
    "a shape": "mask instead of selecting: torch.where(mask, x, 0), or masked_fill, keeps the shape",
}


def refuse_value(func: Any, needed: str, why: str = "depends on the function's arguments") -> NoReturn:
    """Raise DataDependentError: Python needs ``a boolean``, ``a number`` or ``a shape`` that ``why``."""
    raise DataDependentError(
        f"{func} needs {needed} that {why} ({_KINDS[needed]}): it is known on the server only, when the function runs",
        where=user_line(),
        remedy=f"{_WAY_OUT[needed]}; or compute it before, and pass it in as a Python value",
    ) from None


def refuse_operator(detail: str, remedy: str | None = None) -> NoReturn:
    """Raise UnsupportedOperator."""
    raise UnsupportedOperator(
        detail, where=user_line(), remedy=remedy or "write it with the operators of docs/operators.md"
    )


def refuse_lost_derivative(what: str, subject: Any) -> NoReturn:
    """Raise UnsupportedOperator for what :class:`~.location.LosesDerivative` found."""
    if what == "Function":
        _refuse_custom_function(subject)
    if what == "functional" and "_jacfwd" in subject:
        refuse_dual(f"torch.autograd.functional.{subject[-1]}")
    if what == "functional":
        refuse_tape()
    refuse_operator(
        f"{type(subject).__name__} has backward hooks, which are Python that does not travel; torch.func does not "
        "take them either",
        "remove the hooks for this call: handle = module.register_full_backward_hook(...); handle.remove()",
    )


def _refuse_custom_function(function: Any) -> NoReturn:
    default = torch.autograd.function._SingleLevelFunction.setup_context
    lacks_setup = getattr(function, "setup_context", default) is default
    also = "; nor would torch.func take it: it must override the setup_context staticmethod" if lacks_setup else ""
    refuse_operator(
        f"a torch.autograd.Function is called: a graph carries its forward, but not the backward that it defines{also}",
        "call the forward as an ordinary function, whose derivative follows from its operators",
    )


def refuse_tape() -> NoReturn:
    """Raise UnsupportedOperator for a traced tensor that is to be recorded by autograd."""
    refuse_operator(
        "Tensor.requires_grad_() is called inside the function, or one of torch.autograd.functional.*: "
        "there is no tape while it is traced",
        "differentiate inside the function by farfunc.grad, farfunc.vjp or farfunc.jacrev",
    )


def refuse_dual(func: Any) -> NoReturn:
    """Raise UnsupportedOperator for dual numbers of torch.autograd."""
    refuse_operator(
        f"{func} belongs to torch.autograd.forward_ad, which keeps tangents in this process. (torch.func.vmap says: "
        "Batching rule not implemented for aten::_make_dual)",
        "differentiate inside the function by farfunc.jvp or farfunc.jacfwd",
    )


_WRITES = {
    "shared": (
        "the tensor is given to the transformed function twice, or together with a view of it, and written to there",
        "give it copies: x.clone()",
    ),
    "captured": (
        "it would mutate a captured Tensor, which is no argument of the function: it was made outside, and the server "
        "has a copy of it",
        "work on a copy: t = t.clone(); a module's buffers change in training: call module.eval(), or pass them in by "
        "farfunc.functional_call and return the new ones. For BatchNorm see torch.func.replace_all_batch_norm_modules_",
    ),
    "outer": (
        "it would mutate a captured Tensor: it belongs to the enclosing function, outside of the transform that is "
        "running",
        "pass it to the transformed function as an argument, or return the new value, and write it there",
    ),
    "inference": (
        "it happens under torch.inference_mode() to a tensor that has a derivative already",
        "write x = f(x), or use torch.no_grad()",
    ),
}


def refuse_write(func: Any, reason: str) -> NoReturn:
    """Raise MutationError."""
    detail, remedy = _WRITES.get(reason, (f"the tensor is {reason}", "write to a copy: x = x.clone()"))
    raise MutationError(f"{func} writes in place; {detail}", where=user_line(), remedy=remedy)


def is_without_words(error: BaseException) -> bool:
    """Whether a scripted function failed for what Python code raised: TorchScript passes on neither type nor words."""
    text = str(error)
    return "failed in the TorchScript interpreter" in text and text.rstrip().endswith("RuntimeError:")


def translated(error: BaseException) -> FarfuncError | None:
    """The farfunc error that stands for an error of torch's own that means: this cannot be traced."""
    if isinstance(error, FarfuncError):
        return None
    text, where = str(error), user_line_of(error.__traceback__)
    if ".numpy() is not supported for tensor subclasses" in text or "'numpy.ndarray' and 'FakeTensor'" in text:
        return DataDependentError(
            "NumPy needs the elements of a tensor that is being traced: they are known on the server only",
            where=where,
            remedy="use torch's functions, torch.as_tensor(array) for arrays, or farfunc.numpy for all of it",
        )
    if "but its data is not allocated yet" in text or "Cannot access data pointer" in text:
        return DataDependentError(
            "Python needs the elements of a tensor that is being traced: they are known on the server only",
            where=where,
            remedy="build tensors from traced tensors with torch.stack or torch.cat, not with torch.tensor",
        )
    if "does not require grad and does not have a grad_fn" in text:
        return TraceError(
            "torch.autograd is asked for a derivative inside the function: there is no tape while it is traced",
            where=where,
            remedy="differentiate inside the function by farfunc.grad, farfunc.vjp or farfunc.jacrev",
        )
    if "can't retain_grad on Tensor" in text or "cannot register a hook on a tensor that doesn't require" in text:
        name = "retain_grad" if "retain_grad" in text else "register_hook"
        return UnsupportedOperator(
            f"Tensor.{name}() is called inside the function: there is no tape while it is traced",
            where=where,
            remedy="return the tensor, and differentiate by it with farfunc.grad of the function that follows it",
        )
    if "_apply(): Couldn't swap" in text:
        return TraceError(
            "a module is converted inside the function (Module.to, Module.double), which gives its parameters other "
            "memory",
            where=where,
            remedy="convert it before the call, or make it so: torch.nn.Linear(3, 2, dtype=torch.float64)",
        )
    if text.startswith("Creating a new Tensor subclass"):
        return UnsupportedOperator(
            f"the function closes over a tensor of the class {text.split()[5]}, whose __torch_function__ gives each "
            "result its own class; a result that is being traced has the class of the tracer",
            where=where,
            remedy="let the function use a plain tensor: t.as_subclass(torch.Tensor)",
        )
    if isinstance(error, UnsupportedFakeTensorException):
        return UnsupportedOperator(
            f"a tensor of an unusual kind: {text}", where=where, remedy="use dense tensors: x.to_dense()"
        )
    return None
