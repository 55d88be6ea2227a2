"""The JSON bodies, as OpenAPI shows them.

Requests are read by :mod:`farfunc_protocol.json_messages`, whose errors name the path of the
fault; these models describe and do not parse.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "DeviceModel",
    "EvaluateBody",
    "FunctionBody",
    "FunctionList",
    "FunctionModel",
    "FunctionSummary",
    "HealthModel",
    "JobBody",
    "JobList",
    "JobModel",
    "OperatorModel",
    "PlanModel",
    "ProblemModel",
    "ReadyModel",
    "ResultBody",
    "TransformBody",
    "UploadBody",
    "UploadModel",
]

_SIN_GRAPH = {
    "inputs": ["float64[2]"],
    "captures": [],
    "equations": [{"op": "sin", "in": [0], "out": [1]}],
    "outputs": [1],
}


class FunctionBody(BaseModel):
    """A function as a JSON document."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "format": 1,
                "graph": _SIN_GRAPH,
                "in_tree": ["tuple", ["tuple", "*"], {"dict": []}],
                "out_tree": "*",
                "constants": [],
            }
        }
    )
    format: int = Field(description="Version of the format: 1.")
    graph: dict[str, Any] = Field(description="Inputs, captures, equations and outputs.")
    in_tree: Any = Field(description="The structure of (args, kwargs).")
    out_tree: Any = Field(description="The structure of the result.")
    constants: list[Any] = Field(default=[], description="One array for each capture, null where the call gives it.")


class _CallBody(BaseModel):
    args: list[Any] = Field(
        description='Positional arguments: nested lists, {"dtype", "data"} or {"dtype", "shape", "base64"}.'
    )
    kwargs: dict[str, Any] = Field(default={}, description="Keyword arguments.")
    seed: int | None = Field(default=None, ge=0, lt=2**63, description="For random operators.")
    encoding: Literal["lists", "base64"] = Field(default="lists", description="Of the arrays of the answer.")


class TransformBody(_CallBody):
    """Arguments of the transformed function, with the parameters of torch.func beside them.

    `jvp` takes `args: [primals, tangents]`, `vjp` `args: [primals, cotangents]`.
    """

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": {"args": [[0.0, 1.0]], "argnums": 0}})
    argnums: int | list[int] = Field(default=0, description="jacfwd, jacrev, hessian, grad, grad_and_value.")
    has_aux: bool = Field(default=False, description="All but vmap and hessian.")
    chunk_size: int | None = Field(default=None, description="jacrev, vmap.")
    randomness: Literal["error", "different", "same"] = Field(default="error", description="jacfwd, vmap.")
    in_dims: Any = Field(default=0, description="vmap.")
    out_dims: Any = Field(default=0, description="vmap.")


class EvaluateBody(_CallBody):
    """A function, a chain of transforms (outermost first) and the arguments of the outermost."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "function": "sin",
                "transforms": [{"transform": "vmap"}, {"transform": "jacfwd", "argnums": 0}],
                "args": [[[0.0, 1.0], [2.0, 3.0]]],
            }
        }
    )
    function: str = Field(description="sha256:<hex>, name, or name@version.")
    transforms: list[dict[str, Any]] = Field(default=[], description="Each with the parameters of torch.func.")


class ResultBody(BaseModel):
    """What torch.func returns, arrays in the asked encoding."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"result": {"dtype": "float64", "data": [[1.0, 0.0], [0.0, 0.5403023058681398]]}}}
    )
    result: Any


class FunctionSummary(BaseModel):
    """A named function."""

    id: str = Field(description="Its identity: the SHA-256 of its file.", examples=["sha256:" + "0" * 64])
    name: str | None = Field(examples=["arm"])
    version: int | None = Field(examples=[3])
    signature: str = Field(
        description="Types and trees; ? where only torch can tell.", examples=["(float64[7]) -> float64[6]"]
    )
    bytes: int = Field(examples=[1216])
    created: float = Field(description="Seconds since 1970.", examples=[1.8e9])


class FunctionModel(FunctionSummary):
    """A function."""

    names: list[str] = Field(description="Every name@version that it has.", examples=[["arm@3"]])
    versions: list[int] = Field(description="Of the name that was asked for.", examples=[[1, 2, 3]])
    inputs: list[str] = Field(description="Types of the argument leaves.", examples=[["float64[7]"]])
    outputs: list[str | None] = Field(description="Types of the result leaves.", examples=[["float64[6]"]])
    captures: int = Field(description="Constants, and values that each call gives.", examples=[0])
    open_captures: list[int] = Field(description="Those that each call gives.", examples=[[]])
    in_tree: Any = Field(description="The structure of (args, kwargs).")
    out_tree: Any = Field(description="The structure of the result.")
    equations: int = Field(examples=[158])
    operators: dict[str, int] = Field(description="How often each occurs.", examples=[{"sin": 7, "matmul": 7}])
    operations: float | None = Field(description="Scalar operations of one evaluation, about.", examples=[1900.0])


class FunctionList(BaseModel):
    """A page of named functions."""

    functions: list[FunctionSummary]
    next: str | None = Field(description="The path of the next page.", examples=["/v1/functions?after=arm@3&limit=100"])


class OperatorModel(BaseModel):
    """A row of the op table."""

    name: str = Field(examples=["add.Tensor"])
    schema_: str = Field(
        alias="schema", examples=["add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor"]
    )
    doc: str = Field(examples=["self + alpha * other."])
    shape_rule: bool = Field(description="Whether its results' shapes are known without torch.")
    random: bool


class DeviceModel(BaseModel):
    """A device and its worker."""

    name: str = Field(examples=["cuda:0"])
    state: Literal["starting", "ready", "failing", "out", "draining", "drained"] = Field(
        description="`out`: it has failed too often, and is tried again after a while; "
        "`draining`: it takes nothing new, and finishes what it runs; `drained`: it has."
    )
    description: str | None = Field(examples=["NVIDIA H200"])
    memory_bytes: int | None = Field(description="The most that one evaluation may take.")
    pid: int | None = Field(description="Of the worker, as in the log.")
    restarts: int = Field(description="Workers that it has lost.")


class StageModel(BaseModel):
    """What a plan has done in one stage."""

    calls: int
    seconds: float = Field(description="All calls together, on the device.")
    made_in_seconds: float | None = Field(description="What making (or loading) its program took.")
    note: str | None = Field(description="Why there is no such program.")


class CompilationModel(BaseModel):
    """The making of a plan's machine code."""

    state: Literal["waiting", "compiling", "compiled", "failed"]
    seconds: float | None
    reason: str | None = Field(description="Why it failed.")


class PlanModel(BaseModel):
    """How one function under one chain of transforms runs for arguments of one kind."""

    device: str = Field(examples=["cpu"])
    id: str = Field(description="The digest of all that the plan is made from.")
    function: str = Field(examples=["sha256:f2c422f1..."])
    transforms: list[dict[str, Any]] = Field(description="The chain in flat form, outermost first.")
    arguments: list[str] = Field(examples=[["float64[7]"]])
    stage: Literal["plain", "flat", "compiled", "recorded"] = Field(description="Which program serves.")
    is_hot: bool = Field(description="Whether its machine code has been asked for.")
    bytes: int = Field(description="The memory that the plan takes.")
    peak_bytes: int = Field(description="The most memory of an evaluation, by a dry run.")
    operations: float = Field(description="Scalar operations of an evaluation, by a dry run.")
    stages: dict[Literal["plain", "flat", "compiled", "recorded"], StageModel]
    compilation: CompilationModel | None


class HealthModel(BaseModel):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class ReadyModel(BaseModel):
    """Whether evaluations are taken."""

    status: Literal["ready", "starting", "closing"]


class ProblemModel(BaseModel):
    """An error: RFC 9457."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:farfunc:error:function_not_found",
                "title": "Function not found",
                "status": 404,
                "code": "function_not_found",
                "detail": "this server has no function 'arm'",
                "remedy": "register it, or check the name: GET /v1/functions (farfunc.functions) lists what there is",
                "request_id": "5f0c8a2c41d9e7b3",
            }
        }
    )
    type: str
    title: str
    status: int
    code: str = Field(description="Stable, for programs.")
    detail: str
    where: str | None = Field(default=None, description="The path of the fault in the document.")
    rule: str | None = Field(default=None, description="The rule of the validator that was broken.")
    remedy: str | None = None
    retry_after: float | None = None
    request_id: str | None = None


class WebhookBody(BaseModel):
    """Where to tell of a job's end."""

    url: str
    secret: str | None = Field(
        default=None, description="`whsec_` and 24 to 64 bytes in base64; without it one is drawn, and answered once."
    )


class JobBody(EvaluateBody):
    """An evaluation as a job; or, in place of `function`, `args` and so on, `input`."""

    input: str | None = Field(default=None, description="The digest of an uploaded content: a binary request.")
    webhook: WebhookBody | None = None


class JobProgress(BaseModel):
    """How far a job has come."""

    rows_done: int = Field(description="Rows of the result, or samples of the batch, that are safe.")
    rows_total: int | None = Field(description="Known once the job is evaluated in slices.")
    fraction: float = Field(description="0 to 1; it never goes backwards.")
    seconds_left: float | None = Field(description="An estimate, while it runs.")


class JobResult(BaseModel):
    """What a job has to give."""

    bytes: int
    types: list[str] = Field(description="Of the leaves.")
    path: str


class JobWebhook(BaseModel):
    """What has been told of a job's end."""

    url: str
    secret: str | None = Field(default=None, description="In the answer to the submission, and there only.")
    attempts: int
    delivered: float | None
    error: str | None


class JobModel(BaseModel):
    """A job. Times are seconds since 1970."""

    id: str
    state: str = Field(description="`queued`, `running`, `succeeded`, `failed` or `cancelled`.")
    function: str
    transforms: list[Any]
    label: str | None
    priority: int
    created: float
    started: float | None
    finished: float | None
    expires: float | None = Field(description="When it is deleted, result and all.")
    queue_position: int | None = Field(description="How many of your own jobs come before it, while it is queued.")
    progress: JobProgress
    seconds: float = Field(description="On the device.")
    result: JobResult | None
    problem: ProblemModel | None = Field(description="Why it has failed.")
    webhook: JobWebhook | None


class JobList(BaseModel):
    """A page of jobs, newest first."""

    jobs: list[JobModel]
    next: str | None


class UploadBody(BaseModel):
    """What will come."""

    model_config = ConfigDict(json_schema_extra={"example": {"bytes": 1048576}})
    bytes: int = Field(ge=1)
    digest: str | None = Field(default=None, description="`sha256:` and 64 hexadecimal digits, if it is known.")


class UploadModel(BaseModel):
    """An upload. Times are seconds since 1970."""

    id: str
    bytes: int
    received: int = Field(description="Where the next part begins.")
    digest: str | None
    content: str | None = Field(description="The digest of the whole, once it has arrived.")
    created: float
    expires: float
