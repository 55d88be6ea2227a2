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
    DigestMismatch,
    EvaluationError,
    FarfuncError,
    Forbidden,
    ForwardModeUnsupported,
    FunctionNotFound,
    IdempotencyConflict,
    InvalidArray,
    InvalidGraph,
    InvalidRequest,
    JobCancelled,
    JobConflict,
    JobNotFound,
    JobUnfinished,
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
    UploadConflict,
    UploadNotFound,
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
    from ._default_client import (
        connect,
        current_client,
        delete,
        describe,
        function,
        functions,
        job,
        jobs,
        register,
        submit,
    )
    from ._functions import FunctionHandle
    from ._job_session import JobInfo
    from ._jobs import AsyncJob, Job
    from ._session import FunctionInfo

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "Client",
    "ConnectionFailed",
    "DataDependentError",
    "DeadlineUnreachable",
    "DevicesUnavailable",
    "DigestMismatch",
    "EvaluationError",
    "FarfuncError",
    "Forbidden",
    "ForwardModeUnsupported",
    "FunctionHandle",
    "FunctionInfo",
    "FunctionNotFound",
    "IdempotencyConflict",
    "InvalidArray",
    "InvalidGraph",
    "InvalidRequest",
    "Job",
    "JobCancelled",
    "JobConflict",
    "JobInfo",
    "JobNotFound",
    "JobUnfinished",
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
    "UploadConflict",
    "UploadNotFound",
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
    "job",
    "jobs",
    "jvp",
    "linearize",
    "numpy",
    "register",
    "stack_module_state",
    "submit",
    "vjp",
    "vmap",
]


_OF_CLIENTS = frozenset(
    {
        *("AsyncClient", "AsyncJob", "Client", "FunctionHandle", "FunctionInfo", "Job", "JobInfo"),
        *("connect", "current_client", "delete", "describe", "function", "functions", "job", "jobs", "register"),
        "submit",
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
