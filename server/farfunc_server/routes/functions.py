"""Register, list, describe, read and delete functions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from farfunc_protocol import pytree
from farfunc_protocol.document import function_to_json
from farfunc_protocol.errors import FarfuncError
from farfunc_protocol.graph import TensorType, format_function

from ..description import signature
from ..storage.functions import Entry
from . import openapi
from .context import Context, context_of, principal_of
from .forms import BINARY, JSON, TEXT, answer_form, body_form, read_body
from .inference import inferred_types
from .json_text import json_text
from .models import FunctionBody, FunctionList, FunctionModel

__all__ = ["router"]

router = APIRouter(prefix="/v1/functions", tags=["functions"])

_INFERENCE_SECONDS = 10.0
_FORMS = {"text": TEXT, "json": JSON, "safetensors": BINARY}


@router.post(
    "",
    status_code=201,
    summary="Register a function",
    response_model=FunctionModel,
    openapi_extra=openapi.body(FunctionBody, "A function file: see `farfunc_protocol.document`."),
    responses=openapi.problems(413, 415, 422),
)
async def register(
    request: Request, name: Annotated[str | None, Query(description="A name, whose next version this becomes.")] = None
) -> Response:
    """Stored by content: registering twice is registering once."""
    context = context_of(request)
    form = body_form(request, BINARY, JSON)
    body = await read_body(request, context.settings.body_limit)
    registry = context.registry
    add = registry.add_binary if form == BINARY else registry.add_json
    entry = await asyncio.to_thread(add, principal_of(request).tenant, body, name)
    return _json(await _description(request, context, entry, name is not None), 201)


@router.get("", summary="List named functions", response_model=FunctionList, responses=openapi.problems(422))
async def list_functions(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[str | None, Query(description="`name@version`: what stands behind it is listed.")] = None,
) -> Response:
    """In the order of names and versions, page by page: `next` is the path of the next page."""
    context, tenant = context_of(request), principal_of(request).tenant

    def page() -> tuple[list[dict[str, Any]], str | None]:
        entries = context.registry.store.page(tenant, limit + 1, after)
        last = entries[limit - 1] if len(entries) > limit else None
        query = None if last is None else urlencode({"after": f"{last.name}@{last.version}", "limit": limit}, safe="@")
        return [asdict(entry) for entry in entries[:limit]], query

    functions, query = await asyncio.to_thread(page)
    return _json({"functions": functions, "next": None if query is None else f"/v1/functions?{query}"})


@router.get(
    "/{reference}", summary="Describe a function", response_model=FunctionModel, responses=openapi.problems(404, 422)
)
async def describe(request: Request, reference: str) -> Response:
    """`reference` is `sha256:<hex>`, a name (its latest version) or `name@version`."""
    context = context_of(request)
    return _json(await _description(request, context, await _found(request, reference), True))


@router.get(
    "/{reference}/graph",
    summary="Read a function's graph",
    responses={200: openapi.result("The graph.", FunctionBody, text=True), **openapi.problems(404, 406, 422)},
)
async def graph(
    request: Request,
    reference: str,
    format: Annotated[Literal["text", "json", "safetensors"] | None, Query(description="Wins over Accept.")] = None,
) -> Response:
    """As text for people, as JSON, or as the function file."""
    context = context_of(request)
    form = _FORMS[format] if format else answer_form(request, (TEXT, JSON, BINARY))
    entry = await _found(request, reference)
    if form == BINARY:
        return Response(await asyncio.to_thread(context.registry.store.read, entry.id), media_type=BINARY)
    known = await asyncio.to_thread(context.registry.get, entry.id)
    if form == JSON:
        return _json(await asyncio.to_thread(function_to_json, known.function))
    return Response(await asyncio.to_thread(format_function, known.function) + "\n", media_type=TEXT)


@router.delete("/{reference}", status_code=204, summary="Delete a function", responses=openapi.problems(404, 422))
async def delete(request: Request, reference: str) -> Response:
    """A version, all versions of a name, or a function without a name. A function goes with its last name."""
    await asyncio.to_thread(context_of(request).registry.store.delete, principal_of(request).tenant, reference)
    return Response(status_code=204)


async def _found(request: Request, reference: str) -> Entry:
    store = context_of(request).registry.store
    return await asyncio.to_thread(store.find, principal_of(request).tenant, reference)


async def _description(request: Request, context: Context, entry: Entry, ask_worker: bool) -> dict[str, Any]:
    registry = context.registry
    known = await asyncio.to_thread(registry.get, entry.id)
    function, outputs = known.function, known.description.outputs
    if ask_worker and None in outputs and not known.is_symbolic and context.pool.is_ready:
        with contextlib.suppress(FarfuncError):  # a description without the types is better than none
            outputs = await inferred_types(
                context, principal_of(request).tenant, entry.id, request.state.request_id, _INFERENCE_SECONDS, {}
            )
    tenant, store = principal_of(request).tenant, registry.store
    names = await asyncio.to_thread(store.names, tenant, entry.id)
    versions = [] if entry.name is None else await asyncio.to_thread(store.versions, tenant, entry.name)
    return {
        **asdict(entry),
        "signature": signature(function, outputs),
        "names": names,
        "versions": versions,
        "inputs": [str(type) for type in function.graph.inputs],
        "outputs": _texts(outputs),
        "captures": len(function.constants),
        "open_captures": [i for i, constant in enumerate(function.constants) if constant is None],
        "in_tree": pytree.to_json(function.in_tree),
        "out_tree": pytree.to_json(function.out_tree),
        "equations": sum(known.description.operators.values()),
        "operators": known.description.operators,
        "operations": known.description.operations,
    }


def _texts(types: Sequence[TensorType | None]) -> list[str | None]:
    return [None if type is None else str(type) for type in types]


def _json(document: Any, status: int = 200) -> Response:
    return Response(json_text(document), status, media_type=JSON)
