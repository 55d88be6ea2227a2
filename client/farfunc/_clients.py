"""All that the package offers of clients and registered functions; imported when one of them is first used."""

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
    "FunctionHandle",
    "FunctionInfo",
    "Job",
    "JobInfo",
    "connect",
    "current_client",
    "delete",
    "describe",
    "function",
    "functions",
    "job",
    "jobs",
    "register",
    "submit",
]
