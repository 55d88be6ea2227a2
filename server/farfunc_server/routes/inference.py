"""Types that only torch can tell, asked of a worker once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from farfunc_protocol.errors import InvalidRequest
from farfunc_protocol.graph import TensorType
from farfunc_protocol.graph_json import tensor_type_from_text

from ..registry import lengths_text
from ..scheduling.dispatcher import Job
from ..scheduling.slices import Slices
from ..workers.messages import Infer, Inferred
from .context import Context

__all__ = ["inferred_types"]


async def inferred_types(
    context: Context, tenant: str, id: str, request_id: str, seconds: float, lengths: Mapping[str, int]
) -> Sequence[TensorType]:
    """The types of a function's result leaves, at the lengths of its symbolic dimensions.

    Raises
    ------
    InvalidRequest
        Not even torch can tell them without the values of the arguments, or it refuses arguments of such types.
    FarfuncError
        As :meth:`~farfunc_server.scheduling.dispatcher.Dispatcher.run`.
    """
    registry = context.registry
    types = await asyncio.to_thread(registry.output_types, id, lengths)
    known = [type for type in types if type is not None]
    if len(known) == len(types):
        return known
    message = Infer(id, request_id, dict(lengths))
    job = Job(message, (), lambda: (registry.store.read(id),), seconds, alike="infer", tenant=tenant)
    answer = await context.dispatcher.run(job)
    message = None if isinstance(answer, Slices) else answer[0]
    if not isinstance(message, Inferred) or message.outputs is None:
        reason = message.failure if isinstance(message, Inferred) else None
        raise InvalidRequest(
            f"the types of the function's results cannot be told{_at(lengths)}: {reason}",
            where="request.function",
            remedy="if the function is right for such arguments, send the request in binary, "
            "which does not need the types beforehand",
        )
    inferred = tuple(tensor_type_from_text(text) for text in message.outputs)
    await asyncio.to_thread(registry.set_output_types, id, lengths, inferred)
    return inferred


def _at(lengths: Mapping[str, int]) -> str:
    return f" for {lengths_text(lengths)}" if lengths else ""
