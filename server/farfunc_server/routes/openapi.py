"""How the routes that read raw bodies are described in OpenAPI."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from farfunc_protocol.errors import PROBLEM_MEDIA_TYPE

from .forms import BINARY, JSON, TEXT
from .models import ProblemModel

__all__ = ["body", "problems", "result"]

_BYTES = {"schema": {"type": "string", "format": "binary"}}


def body(json_model: type[BaseModel], binary: str | None) -> dict[str, Any]:
    """A request body: JSON by its model, and binary with a word on what it is."""
    content: dict[str, Any] = {JSON: {"schema": json_model.model_json_schema()}}
    if binary is not None:
        content[BINARY] = {"schema": {"type": "string", "format": "binary", "description": binary}}
    return {"requestBody": {"required": True, "content": content}}


def result(description: str, json_model: type[BaseModel] | None = None, *, text: bool = False) -> dict[str, Any]:
    """An answer of status 200 in several forms."""
    content: dict[str, Any] = {BINARY: _BYTES}
    content[JSON] = {"schema": json_model.model_json_schema()} if json_model is not None else {}
    if text:
        content[TEXT] = {"schema": {"type": "string"}}
    return {"description": description, "content": content}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route."""
    content = {PROBLEM_MEDIA_TYPE: {"schema": ProblemModel.model_json_schema()}}
    return {status: {"description": _MEANING[status], "content": content} for status in statuses}


_MEANING = {
    404: "There is no such function.",
    406: "No form that the client accepts can be given.",
    413: "The body, or what it asks for, is over a limit.",
    415: "The body is of a form that is not read here.",
    422: "The request breaks a rule; `where` says at which place, `remedy` what to do.",
    429: "The tenant has as many requests under way as it may; `Retry-After` says when to come back.",
    503: "The queue is full, or the worker died twice; `Retry-After` says when to come back.",
    504: "The time limit is over, and the work was stopped.",
}
