"""The application: its parts, put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from farfunc_protocol._version import __version__

from .batch_form import MOST_ROWS
from .metrics import Metrics
from .registry import Registry
from .routes import evaluation, functions, service
from .routes.context import Context
from .routes.direct import DirectRoute
from .routes.middleware import RequestMiddleware
from .routes.problems import add_problem_handlers
from .scheduling.compilations import Compilations
from .scheduling.dispatcher import Dispatcher
from .scheduling.plan_board import PlanBoard
from .settings import Settings
from .storage import Storage
from .tracing import start_tracing
from .workers.devices import find_devices, threads_each
from .workers.pool import Pool, PoolSettings

__all__ = ["create_app"]

_DESCRIPTION = """
torch.func, from afar. A function is a graph of known ATen operators (never code); this server
differentiates it with torch.func. Bodies are JSON or safetensors. Every error is an RFC 9457 problem
document with a stable `code`, the place of the fault (`where`) and a `remedy`.
"""


def create_app(settings: Settings) -> FastAPI:
    """Make an application; its workers start with its lifespan.

    Raises
    ------
    ServerError
        The data folder cannot be used.
    """
    metrics = Metrics()
    tracing = start_tracing()
    packages = settings.data_dir.absolute() / "plans"
    devices = settings.devices or find_devices()
    pool = Pool(
        PoolSettings(
            devices=devices,
            threads=settings.threads or threads_each(devices),
            memory_bytes=settings.memory_limit,
            operations=settings.operation_limit,
            packages=str(packages) if settings.compile_plans else None,
            tf32=settings.tf32,
            spare=settings.spare,
        ),
        on_restart=lambda device: lost_worker(device),
    )
    storage = Storage(settings.data_dir, settings.database, settings.object_store)
    compilations = Compilations(packages, storage.functions.read, metrics.compiled) if settings.compile_plans else None
    board = PlanBoard(compilations)
    dispatcher = Dispatcher(pool, settings.queue_size, board, most_rows=MOST_ROWS if settings.batching else 1)
    context = Context(settings, metrics, storage, Registry(storage.functions), pool, dispatcher, board)

    def lost_worker(device: str) -> None:
        metrics.worker_restarts.labels(device).inc()
        board.lost(device)

    metrics.observe(
        queue_depth=lambda: len(dispatcher.queue),
        queue_capacity=dispatcher.queue.capacity,
        running=lambda: dispatcher.running,
        workers_ready=lambda: sum(status.state == "ready" for status in pool.status()),
        plans=board.count,
        plan_bytes=lambda: board.bytes,
        plan_counts=board,
    )
    dispatcher.on_begin = metrics.batch
    fleet = dispatcher.fleet
    for device in devices:
        metrics.observe_device(
            device,
            seconds=partial(fleet.seconds, device),
            is_in_service=lambda device=device: fleet.state(device) is None,
        )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        pool.start()
        if compilations is not None:
            compilations.start()
        try:
            yield
        finally:
            await dispatcher.stop()
            if compilations is not None:
                await compilations.stop()
            await pool.stop()
            storage.close()
            if tracing is not None:
                await asyncio.to_thread(tracing.close)

    # The page at /docs works without a way to the internet: its scripts come from here.
    app = FastAPIOffline(
        redoc_url=None,
        static_url="/docs/static",
        title="farfunc",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        # Whether there is a provider is asked anew with each request, which small calls would feel: what this server
        # has to tell is in its log, at /metrics and in Server-Timing.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.context = context
    routers = (functions.router, evaluation.router, service.router)
    for router in routers:
        app.include_router(router)
    add_problem_handlers(app, [route for router in routers for route in router.routes])
    # Around the framework's own layers, which small calls would feel; Starlette would build these at the first call.
    app.middleware_stack = RequestMiddleware(
        DirectRoute(app.build_middleware_stack(), path="/v1/evaluate", endpoint=evaluation.evaluate),
        metrics,
        settings.token,
        is_closing=lambda: context.is_closing,
        tracing=tracing,
    )
    return app
