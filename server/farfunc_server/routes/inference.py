"""Types that only torch can tell, asked of a worker once."""

from __future__ import annotations

import asyncio

from farfunc_protocol.graph import Function
from farfunc_protocol.graph_json import tensor_type_from_text

from ..registry import Known
from ..scheduling.dispatcher import Job
from ..workers.messages import Infer, Inferred
from .context import Context

__all__ = ["known_with_types"]


async def known_with_types(context: Context, id: str, request_id: str, seconds: float) -> Known:
    """A function with the types of its results, as far as they do not depend on the call.

    Raises
    ------
    FarfuncError
        As :meth:`~farfunc_server.scheduling.dispatcher.Dispatcher.run`.
    """
    registry = context.registry
    known = registry.get(id)
    if known.output_types is not None or _is_symbolic(known.function):
        return known
    job = Job(Infer(id, request_id), (), lambda: (registry.store.read(id),), seconds)
    message, _ = await context.dispatcher.run(job)
    if not isinstance(message, Inferred) or message.outputs is None:
        return known
    types = [tensor_type_from_text(text) for text in message.outputs]
    return await asyncio.to_thread(registry.set_output_types, id, types)


def _is_symbolic(function: Function) -> bool:
    types = (*function.graph.inputs, *function.graph.captures)
    return any(isinstance(length, str) for type in types for length in type.shape)
