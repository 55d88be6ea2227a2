"""Evaluate: a whole chain of transforms, in binary or JSON, or one transform by its URL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from fastapi import APIRouter, Request, Response

from farfunc_protocol import array_json
from farfunc_protocol.errors import FarfuncError, InvalidRequest, LimitExceeded
from farfunc_protocol.json_messages import JsonRequest, encode_json_response, read_json_request
from farfunc_protocol.messages import EvaluateRequest, decode_response, encode_request
from farfunc_protocol.strict_json import parse_json

from ..scheduling.dispatcher import Job
from ..scheduling.gathering import Layout, whole
from ..scheduling.slices import Slices
from ..worker_keys import worker_key
from ..workers.frames import Buffer
from ..workers.messages import Evaluate, Result
from . import openapi
from .calls import Call, read_call
from .connected import while_connected
from .context import Context, context_of, principal_of
from .forms import BINARY, JSON, answer_form, body_form, off_loop, read_body, time_limit
from .guard import GuardedRoute
from .inference import inferred_types
from .json_text import json_text
from .models import EvaluateBody, ResultBody, TransformBody
from .sliced_answers import GatheredResponse, SlicedResponse
from .timing import Timing

__all__ = ["bind_json", "identity_of", "router"]

router = APIRouter(tags=["evaluation"], route_class=GuardedRoute)

_CALL_MEMBERS = ("args", "kwargs", "seed", "encoding")


class TransformName(StrEnum):
    """What may stand behind a function's path."""

    apply = "apply"
    jacfwd = "jacfwd"
    jacrev = "jacrev"
    hessian = "hessian"
    grad = "grad"
    grad_and_value = "grad_and_value"
    jvp = "jvp"
    vjp = "vjp"
    vmap = "vmap"


@router.post(
    "/v1/evaluate",
    summary="Evaluate a function under a chain of transforms",
    openapi_extra=openapi.body(EvaluateBody, "A safetensors file: see `farfunc_protocol.messages`."),
    responses={
        200: openapi.result("The result, in the form of the request or of Accept.", ResultBody),
        **openapi.problems(404, 406, 413, 415, 422, 429, 503, 504),
    },
)
async def evaluate(request: Request) -> Response:
    """The general form: `vmap(jacfwd(f))` is a chain of two. The header `X-Timeout` gives a time limit in seconds."""
    context = context_of(request)
    form = body_form(request, BINARY, JSON)
    answer = answer_form(request, (form, JSON if form == BINARY else BINARY))
    seconds = time_limit(request, context.settings.time_limit)
    body = await read_body(request, context.settings.body_limit)
    if form == JSON:
        document = await off_loop(len(body), lambda: parse_json(body, where="request"))
        return await _evaluate_json(request, context, read_json_request(document), answer, seconds, len(body))
    call = await off_loop(len(body), lambda: read_call(body))
    if answer == BINARY:
        return await _answer(request, context, call, [body], seconds)
    arrays = decode_response(await _data(request, context, call, [body], seconds)).arrays
    document = {"leaves": [array_json.to_lists(array) for array in arrays]}
    return Response(json_text(document), media_type=JSON)


@router.post(
    "/v1/functions/{reference}/{transform}",
    summary="Evaluate one transform of a function",
    openapi_extra=openapi.body(TransformBody, None),
    responses={
        200: openapi.result("The result.", ResultBody),
        **openapi.problems(404, 406, 413, 415, 422, 429, 503, 504),
    },
)
async def evaluate_transform(request: Request, reference: str, transform: TransformName) -> Response:
    """The user's form of torch.func, as JSON: `apply` is the function itself."""
    context = context_of(request)
    body_form(request, JSON)
    answer = answer_form(request, (JSON, BINARY))
    seconds = time_limit(request, context.settings.time_limit)
    body = await read_body(request, context.settings.body_limit)
    document = await off_loop(len(body), lambda: parse_json(body, where="request"))
    if not isinstance(document, dict):
        raise InvalidRequest("the request is not an object", where="request", remedy='send {"args": [...]}')
    whole = {name: value for name, value in document.items() if name in _CALL_MEMBERS}
    parameters = {name: value for name, value in document.items() if name not in _CALL_MEMBERS}
    if transform is not TransformName.apply:
        whole["transforms"] = [{**parameters, "transform": transform.value}]
    elif parameters:
        raise InvalidRequest(
            f"apply takes no {sorted(parameters)[0][:80]!r}",
            where="request",
            remedy=f"its members are {', '.join(_CALL_MEMBERS)}",
        )
    try:
        read = read_json_request(whole, function=reference)
    except FarfuncError as error:  # the caller has written no chain
        error.where = (error.where or "request").replace("request.transforms[0]", "request")
        raise
    return await _evaluate_json(request, context, read, answer, seconds, len(body))


async def _evaluate_json(
    request: Request, context: Context, read: JsonRequest, answer: str, seconds: float, size: int
) -> Response:
    started = time.monotonic()
    bound, result = await bind_json(request, context, read, seconds, size)
    seconds = max(seconds - (time.monotonic() - started), 0.0)
    call = Call.of(bound)
    if answer == BINARY:
        return await _answer(request, context, call, encode_request(bound), seconds)
    data = await _data(request, context, call, encode_request(bound), seconds)

    def encode() -> str:
        return json_text(encode_json_response(decode_response(data).arrays, result, read.encoding))

    return Response(await off_loop(data.nbytes, encode), media_type=JSON)


async def bind_json(
    request: Request, context: Context, read: JsonRequest, seconds: float, size: int
) -> tuple[EvaluateRequest, Any]:
    """A request in JSON as one in binary, and the structure of its result; ``size`` is that of the body."""
    id = await identity_of(request, context, read.function)
    function = (await asyncio.to_thread(context.registry.get, id)).function
    if None in function.constants:
        raise InvalidRequest(
            f"the function leaves capture {function.constants.index(None)} open, and JSON has no place for its value",
            where="request.function",
            remedy="send the request in binary, with the captures beside the arguments",
        )
    lengths = await off_loop(size, lambda: read.lengths(function))
    tenant = principal_of(request).tenant
    types = await inferred_types(context, tenant, id, request.state.request_id, seconds, lengths)
    return await off_loop(size, lambda: read.bind(function, types, lengths))


async def _answer(
    request: Request, context: Context, asked: Call, payload: Sequence[Buffer], seconds: float
) -> Response:
    """Have a worker evaluate a request, which is ``payload`` when encoded; answer in binary."""
    found = await _run(request, context, asked, payload, seconds)
    if not isinstance(found, Slices):
        return Response(found, media_type=BINARY)
    if not found.is_in_order:
        return GatheredResponse(await _whole(request, context, found))

    def failed(error: FarfuncError) -> None:
        request.state.error_code = error.code
        context.late_problems.add(principal_of(request).tenant, request.state.request_id, error)
        _count(request, context, error.code)

    return SlicedResponse(found, failed, lambda: _evaluated(request, context, found))


async def _data(
    request: Request, context: Context, asked: Call, payload: Sequence[Buffer], seconds: float
) -> memoryview:
    """The same, as the bytes of the answer."""
    found = await _run(request, context, asked, payload, seconds)
    return await _whole(request, context, found) if isinstance(found, Slices) else found


async def _run(
    request: Request, context: Context, asked: Call, payload: Sequence[Buffer], seconds: float
) -> memoryview | Slices:
    """Have a worker evaluate a request; slices are to be closed."""
    store = context.registry.store
    identity = await identity_of(request, context, asked.function)
    state = request.scope["state"]
    message = Evaluate(worker_key(identity, principal_of(request).tenant), state["request_id"])
    timing: Timing = state["timing"]
    timing.asked = time.monotonic()
    job = Job(
        message,
        payload,
        lambda: (store.read(identity),),
        seconds,
        asked.kind,
        asked.rows,
        timing,
        asked.alike,
        principal_of(request).tenant,
    )
    try:
        answer = await while_connected(request.receive, context.dispatcher.run(job))
        if isinstance(answer, Slices):
            _check_size(answer, context.settings.answer_limit)
            return answer
    except FarfuncError as error:
        _count(request, context, error.code)
        raise
    message, data = answer
    if isinstance(message, Result):
        timing.compute, timing.stage = message.seconds, message.stage
        _count(request, context, "ok", message.seconds, message.stage, message.seconds * asked.rows / timing.rows)
    return data


async def identity_of(request: Request, context: Context, reference: str) -> str:
    """The identity of a function of whoever makes the request."""
    store, tenant = context.registry.store, principal_of(request).tenant
    if store.known(tenant, reference):
        return reference
    return await asyncio.to_thread(store.resolve, tenant, reference)


def _check_size(slices: Slices, limit: int) -> None:
    """Slices can make any result: what is too large is refused before it is computed."""
    size = Layout(slices.outputs).size
    if size > limit:
        slices.close()
        raise LimitExceeded(
            f"the answer would have {size:,} bytes, and {limit:,} are allowed",
            remedy="ask for less at once: products by jvp or vjp, a part of the outputs, a smaller batch",
        )


async def _whole(request: Request, context: Context, slices: Slices) -> memoryview:
    """Wait for all slices of an answer."""
    async with slices:
        try:
            data = await while_connected(request.receive, whole(slices, context.settings.data_dir))
        except FarfuncError as error:
            _count(request, context, error.code)
            raise
    _evaluated(request, context, slices)
    return data


def _evaluated(request: Request, context: Context, slices: Slices) -> None:
    stage = "plain" if slices.last is None else slices.last.stage
    request.scope["state"]["timing"].stage = stage
    _count(request, context, "ok", slices.seconds, stage, slices.seconds)


def _count(
    request: Request,
    context: Context,
    outcome: str,
    seconds: float | None = None,
    stage: str | None = None,
    own_seconds: float = 0.0,
) -> None:
    """Count an evaluation; ``own_seconds`` is its part of the device's time, which it may have had in company."""
    context.metrics.evaluation(outcome, seconds, stage)
    context.metrics.tenants.count(principal_of(request).tenant, outcome == "ok", own_seconds)
