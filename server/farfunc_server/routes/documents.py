"""Small JSON bodies, read by their models."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Request, Response
from pydantic import BaseModel, ValidationError

from farfunc_protocol.errors import InvalidRequest
from farfunc_protocol.strict_json import parse_json, shown

from .forms import JSON, body_form, read_body
from .json_text import json_text

__all__ = ["json_response", "read_document"]

_MOST_BYTES = 1 << 16

Model = TypeVar("Model", bound=BaseModel)


async def read_document(request: Request, model: type[Model]) -> Model:
    """Read a body.

    Raises
    ------
    InvalidRequest
        It is not what the model describes; ``where`` says at which place.
    """
    body_form(request, JSON)
    document = parse_json(await read_body(request, _MOST_BYTES), where="body")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidRequest(
            f"{shown(first['input'])} is not possible here: {first['msg'][:1].lower()}{first['msg'][1:]}",
            where=".".join(["body", *map(str, first["loc"])]),
            remedy=f"the members are {', '.join(model.model_fields)}; GET /openapi.json describes them",
        ) from None


def json_response(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer in JSON."""
    return Response(json_text(document), status, headers, media_type=JSON)
