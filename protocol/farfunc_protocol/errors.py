"""Every error that farfunc raises, and the one form in which errors travel.

The tree::

    FarfuncError
    ├── TraceError                     the user's function cannot be written down as a graph
    │   ├── UnsupportedOperator        (NotImplementedError) an operator outside the op table
    │   ├── DataDependentError         (TypeError, RuntimeError) a branch, float(), bool() or int() of a traced value
    │   └── MutationError              (RuntimeError) a write that cannot be made functional
    ├── TransformError                 (RuntimeError) arguments that torch.func would refuse, too
    │   ├── TransformValueError        (ValueError)
    │   ├── TransformTypeError         (TypeError)
    │   └── TransformIndexError        (IndexError)
    ├── ProtocolError                  (ValueError) bytes or documents that break a rule
    │   ├── InvalidArray
    │   ├── InvalidGraph               carries the number of the rule that was broken
    │   ├── InvalidRequest
    │   ├── UnsupportedVersion
    │   └── LimitExceeded
    ├── EvaluationError                (RuntimeError) an operator refused its operands as it ran
    │   └── ForwardModeUnsupported     (NotImplementedError) no forward-mode rule: use jacrev
    ├── FunctionNotFound               (LookupError)
    ├── Unauthorized
    ├── TooManyRequests                the tenant has as many waiting as it may: come back after ``retry_after`` seconds
    ├── ServerError                    (RuntimeError) the service, not the request, is at fault
    │   ├── ServerBusy                 the queue is full: come back after ``retry_after`` seconds
    │   ├── TimeLimitExceeded          (TimeoutError)
    │   │   └── DeadlineUnreachable    nothing was begun: it could not have ended in time
    │   ├── DevicesUnavailable         all devices are out of service
    │   ├── WorkerDied                 the evaluating process died
    │   └── StorageFailed              a function could not be stored or deleted: the disk is full, or read-only
    └── ConnectionFailed               (ConnectionError) no server there

Every class has a ``code`` (stable, for programs) and an HTTP ``status``. On the wire an error
is an RFC 9457 problem document (``application/problem+json``): :meth:`FarfuncError.to_problem`
writes it and :func:`from_problem` makes the same exception of it on the other side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

__all__ = [
    "PROBLEM_MEDIA_TYPE",
    "ConnectionFailed",
    "DataDependentError",
    "DeadlineUnreachable",
    "DevicesUnavailable",
    "EvaluationError",
    "FarfuncError",
    "ForwardModeUnsupported",
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
    "from_problem",
]

PROBLEM_MEDIA_TYPE = "application/problem+json"
_LONGEST_TEXT = 4_000
_TYPE_PREFIX = "urn:farfunc:error:"


class FarfuncError(Exception):
    """The root of farfunc's errors.

    Parameters
    ----------
    detail:
        What was given and what is wrong with it, in one or two sentences.
    where:
        The place: a path in a document (``equations[3].attributes.dim``), or a line of the
        user's own source (``arm.py:12, in forward``).
    remedy:
        What to do instead.
    retry_after:
        Seconds after which the same request may succeed, where that is known.
    rule:
        The number of the validation rule that was broken, where there is one.
    request_id:
        The server's name for the request, to be found again in its log.

    >>> print(UnsupportedOperator("aten.foo has no row in the op table", where="f.py:3, in f",
    ...                           remedy="write it with the operators of `farfunc.ops()`"))
    aten.foo has no row in the op table
      where: f.py:3, in f
      remedy: write it with the operators of `farfunc.ops()`
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str,
        *,
        where: str | None = None,
        remedy: str | None = None,
        retry_after: float | None = None,
        rule: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.where = where
        self.remedy = remedy
        self.retry_after = retry_after
        self.rule = rule
        self.request_id = request_id

    def __str__(self) -> str:
        lines = [self.detail]
        for label in ("where", "rule", "remedy", "request_id"):
            value = getattr(self, label)
            if value is not None:
                lines.append(f"  {label.replace('_', ' ')}: {value}")
        return "\n".join(lines)

    def to_problem(self) -> dict[str, Any]:
        """Return the RFC 9457 problem document, as a dict ready for JSON."""
        problem: dict[str, Any] = {
            "type": _TYPE_PREFIX + self.code,
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": _shortened(self.detail),
        }
        for member in ("where", "rule", "remedy", "retry_after", "request_id"):
            value = getattr(self, member)
            if value is not None:
                problem[member] = _shortened(value) if isinstance(value, str) else value
        return problem


def _shortened(text: str) -> str:
    """A text without its middle, where it is too long for anyone: it may quote what a request says a million times."""
    half = _LONGEST_TEXT // 2
    return text if len(text) <= _LONGEST_TEXT else f"{text[:half]} ... {text[-half:]}"


class TraceError(FarfuncError):
    """The user's function cannot be written down as a graph of known operations."""

    code, status, title = "trace", 422, "The function cannot be traced"


class UnsupportedOperator(TraceError, NotImplementedError):
    """An operator that has no row in the op table, or a form of one that has no rule."""

    code, status, title = "unsupported_operator", 422, "Unsupported operator"


class DataDependentError(TraceError, TypeError, RuntimeError):
    """Python needed the value of something that is only known on the server."""

    code, status, title = "data_dependent", 422, "The function depends on a traced value"


class MutationError(TraceError, RuntimeError):
    """A write in place that has no functional counterpart."""

    code, status, title = "mutation", 422, "A mutation cannot be made functional"


class TransformError(FarfuncError, RuntimeError):
    """A transform was given what torch.func refuses with ``RuntimeError``."""

    code, status, title = "transform", 422, "A transform cannot be applied"


class TransformValueError(TransformError, ValueError):
    """A transform was given what torch.func refuses with ``ValueError``."""

    code = "transform_value"


class TransformTypeError(TransformError, TypeError):
    """A transform was given what torch.func refuses with ``TypeError``."""

    code = "transform_type"


class TransformIndexError(TransformError, IndexError):
    """A transform was given what torch.func refuses with ``IndexError``."""

    code = "transform_index"


class ProtocolError(FarfuncError, ValueError):
    """Bytes or a document that break a rule of the protocol."""

    code, status, title = "protocol", 422, "Malformed message"


class InvalidArray(ProtocolError):
    """An array whose dtype, shape and data do not fit together."""

    code, title = "invalid_array", "Invalid array"


class InvalidGraph(ProtocolError):
    """A graph that breaks one of the numbered rules of :mod:`farfunc_protocol.validate`."""

    code, title = "invalid_graph", "Invalid graph"


class InvalidRequest(ProtocolError):
    """A request that does not fit its function, or is not a request at all."""

    code, title = "invalid_request", "Invalid request"


class UnsupportedVersion(ProtocolError):
    """A document written by a later version of the format."""

    code, title = "unsupported_version", "Unsupported format version"


class LimitExceeded(ProtocolError):
    """Larger, deeper or costlier than this side accepts."""

    code, status, title = "limit_exceeded", 413, "A limit is exceeded"


class EvaluationError(FarfuncError, RuntimeError):
    """An operator refused its operands while the function was evaluated."""

    code, status, title = "evaluation", 422, "The evaluation failed"


class ForwardModeUnsupported(EvaluationError, NotImplementedError):
    """An operator of the function has no forward-mode derivative."""

    code, title = "forward_mode_unsupported", "No forward-mode derivative"


class FunctionNotFound(FarfuncError, LookupError):
    """The server knows no function by that identity or name."""

    code, status, title = "function_not_found", 404, "Function not found"


class Unauthorized(FarfuncError):
    """The token is missing, or is not one that this server knows."""

    code, status, title = "unauthorized", 401, "Unauthorized"


class TooManyRequests(FarfuncError):
    """The tenant has as many requests under way as it may, while others want their turn."""

    code, status, title = "too_many_requests", 429, "Too many requests"


class ServerError(FarfuncError, RuntimeError):
    """The service is at fault, not the request."""

    code, status, title = "server", 500, "Server error"


class ServerBusy(ServerError):
    """The queue is full, or the server is shutting down."""

    code, status, title = "server_busy", 503, "Server busy"


class TimeLimitExceeded(ServerError, TimeoutError):
    """The work took longer than the request's time limit, and was stopped."""

    code, status, title = "time_limit_exceeded", 504, "Time limit exceeded"


class DeadlineUnreachable(TimeLimitExceeded):
    """By what such work has taken, and by what waits, the request cannot end within its time limit: it is not begun."""

    code, title = "deadline_unreachable", "The time limit cannot be kept"


class DevicesUnavailable(ServerError):
    """Every device has failed or is taken out for maintenance."""

    code, status, title = "devices_unavailable", 503, "No device is in service"


class WorkerDied(ServerError):
    """The process that evaluated the request died; a new one takes its place."""

    code, status, title = "worker_died", 503, "The worker died"


class StorageFailed(ServerError):
    """The server's disk takes nothing more."""

    code, status, title = "storage_failed", 507, "Storage failed"


class ConnectionFailed(FarfuncError, ConnectionError):
    """There is no server at the address, or it went away."""

    code, status, title = "connection_failed", 503, "No connection"


def _by_code(root: type[FarfuncError]) -> dict[str, type[FarfuncError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found.update(_by_code(child))
    return found


_CLASSES = _by_code(FarfuncError)


def from_problem(problem: Mapping[str, Any]) -> FarfuncError:
    """Make the exception that a problem document stands for.

    An unknown ``code`` (a newer server) becomes the plain :class:`FarfuncError`; its text stays.

    >>> from_problem({"code": "function_not_found", "detail": "no function 'arm'"})
    FunctionNotFound("no function 'arm'")
    """
    error_class = _CLASSES.get(str(problem.get("code")), FarfuncError)
    detail = problem.get("detail") or problem.get("title") or "the server gave no reason"
    optional = {}
    for member in ("where", "rule", "remedy", "request_id"):
        if isinstance(problem.get(member), str):
            optional[member] = problem[member]
    if isinstance(problem.get("retry_after"), int | float):
        optional["retry_after"] = float(problem["retry_after"])
    return error_class(str(detail), **optional)
