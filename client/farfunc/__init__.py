"""torch.func, from afar: the same transforms, computed on a server.

>>> import numpy as np
>>> import farfunc
>>> farfunc.jacfwd(np.sin)(np.zeros(2))
array([[1., 0.],
       [0., 1.]])
"""

from typing import Any

from farfunc_protocol._version import __version__
from farfunc_protocol.errors import (
    ConnectionFailed,
    DataDependentError,
    EvaluationError,
    FarfuncError,
    ForwardModeUnsupported,
    FunctionNotFound,
    InvalidArray,
    InvalidGraph,
    InvalidRequest,
    LimitExceeded,
    MutationError,
    ProtocolError,
    ServerBusy,
    ServerError,
    StorageFailed,
    TimeLimitExceeded,
    TraceError,
    TransformError,
    TransformIndexError,
    TransformTypeError,
    TransformValueError,
    Unauthorized,
    UnsupportedOperator,
    UnsupportedVersion,
    WorkerDied,
)

from . import (
    _containers,  # noqa: F401 - the import adds torch's containers to NumPy's and Python's
    _wiring,  # noqa: F401 - the core is told of front ends and of the default client
)
from ._client import AsyncClient, Client
from ._default_client import connect, current_client, delete, describe, function, functions, register
from ._functional import functional_call, stack_module_state
from ._functions import FunctionHandle
from ._session import FunctionInfo
from ._transforms import grad, grad_and_value, hessian, jacfwd, jacrev, jvp, linearize, vjp, vmap

__all__ = [
    "AsyncClient",
    "Client",
    "ConnectionFailed",
    "DataDependentError",
    "EvaluationError",
    "FarfuncError",
    "ForwardModeUnsupported",
    "FunctionHandle",
    "FunctionInfo",
    "FunctionNotFound",
    "InvalidArray",
    "InvalidGraph",
    "InvalidRequest",
    "LimitExceeded",
    "MutationError",
    "ProtocolError",
    "ServerBusy",
    "ServerError",
    "StorageFailed",
    "TimeLimitExceeded",
    "TraceError",
    "TransformError",
    "TransformIndexError",
    "TransformTypeError",
    "TransformValueError",
    "Unauthorized",
    "UnsupportedOperator",
    "UnsupportedVersion",
    "WorkerDied",
    "__version__",
    "connect",
    "current_client",
    "delete",
    "describe",
    "function",
    "functional_call",
    "functions",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "linearize",
    "numpy",
    "register",
    "stack_module_state",
    "vjp",
    "vmap",
]


def __getattr__(name: str) -> Any:
    if name == "numpy":  # imported when it is first used: most models need NumPy's own names only
        import farfunc.numpy

        return farfunc.numpy
    raise AttributeError(f"module 'farfunc' has no attribute {name!r}")
