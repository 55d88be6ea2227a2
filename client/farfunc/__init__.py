"""torch.func, from afar: the same transforms, computed on a server.

>>> import numpy as np
>>> import farfunc
>>> farfunc.jacfwd(np.sin)(np.zeros(2))
array([[1., 0.],
       [0., 1.]])
"""

from typing import TYPE_CHECKING, Any

from farfunc_protocol._version import __version__
from farfunc_protocol.errors import (
    ConnectionFailed,
    DataDependentError,
    DeadlineUnreachable,
    DevicesUnavailable,
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
    TooManyRequests,
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
from ._functional import functional_call, stack_module_state
from ._transforms import grad, grad_and_value, hessian, jacfwd, jacrev, jvp, linearize, vjp, vmap

if TYPE_CHECKING:
    from . import numpy
    from ._client import AsyncClient, Client
    from ._default_client import connect, current_client, delete, describe, function, functions, register
    from ._functions import FunctionHandle
    from ._session import FunctionInfo

__all__ = [
    "AsyncClient",
    "Client",
    "ConnectionFailed",
    "DataDependentError",
    "DeadlineUnreachable",
    "DevicesUnavailable",
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
    "TooManyRequests",
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


_OF_CLIENTS = frozenset(
    {
        *("AsyncClient", "Client", "FunctionHandle", "FunctionInfo"),
        *("connect", "current_client", "delete", "describe", "function", "functions", "register"),
    }
)


def __getattr__(name: str) -> Any:
    """What is imported when it is first used: clients take half as long as all the rest, and most programs
    come to one at their first call only; of :mod:`farfunc.numpy` most models need nothing.
    """
    if name == "numpy":
        import farfunc.numpy

        return farfunc.numpy
    if name in _OF_CLIENTS:
        from . import _clients

        return getattr(_clients, name)
    raise AttributeError(f"module 'farfunc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
