"""The application: its parts, put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache, partial

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from farfunc_protocol._version import __version__

from .access.authentication import Authentication, verifier_of
from .batch_form import MOST_ROWS
from .jobs.changes import Changes
from .jobs.evaluation import JobEvaluation
from .jobs.runner import JobRunner
from .jobs.webhooks import Webhooks
from .metrics import Metrics
from .registry import Registry
from .routes import (
    evaluation,
    functions,
    job_events,
    job_results,
    jobs,
    members,
    openapi,
    service,
    shares,
    tenants,
    tokens,
    uploads,
)
from .routes.context import Context
from .routes.direct import DirectRoute
from .routes.guard import check_guarded
from .routes.middleware import RequestMiddleware
from .routes.problems import add_problem_handlers
from .scheduling.compilations import Compilations
from .scheduling.dispatcher import Dispatcher
from .scheduling.plan_board import PlanBoard
from .scheduling.shares import Share
from .settings import Settings
from .storage import Storage
from .storage.leases import JobLeases
from .tracing import start_tracing
from .worker_keys import identity_of
from .workers.devices import find_devices, threads_each
from .workers.pool import Pool, PoolSettings

__all__ = ["ROUTERS", "create_app"]

ROUTERS = (
    shares.router,
    functions.router,
    evaluation.router,
    jobs.router,
    job_events.router,
    job_results.router,
    uploads.router,
    service.router,
    members.router,
    tokens.router,
    tenants.router,
)
"""All routes; the first that matches answers."""

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
    verifier = verifier_of(settings)
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
    authentication = Authentication(settings, storage.credentials, verifier)
    compilations = None
    if settings.compile_plans:
        compilations = Compilations(
            packages, lambda function: storage.functions.read(identity_of(function)), metrics.compiled
        )
    board = PlanBoard(compilations)
    share = lru_cache(1024)(Share)
    dispatcher = Dispatcher(
        pool,
        settings.queue_size,
        board,
        most_rows=MOST_ROWS if settings.batching else 1,
        shares=lambda tenant: share(authentication.weight(tenant)),
    )
    changes = Changes()
    leases = JobLeases(storage.database, storage.objects, settings.job_lease)
    runner = JobRunner(
        storage,
        leases,
        JobEvaluation(
            storage,
            leases,
            dispatcher,
            settings.data_dir,
            settings.answer_limit,
            settings.job_block,
            on_change=changes.tell,
            on_evaluated=lambda seconds, stage: metrics.evaluation("ok", seconds, stage),
        ),
        changes,
        most=2 * len(devices),
        lease_seconds=settings.job_lease,
        on_failure=metrics.evaluation,
    )
    webhooks = Webhooks(storage.deliveries, allow_private=settings.webhook_private)
    registry = Registry(storage.functions)
    context = Context(settings, metrics, storage, registry, pool, dispatcher, board, runner, changes)

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
        runner.start()
        webhooks.start()
        try:
            yield
        finally:
            await webhooks.stop()
            await runner.stop()
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
    openapi.add_security(app)
    check_guarded(ROUTERS)
    for router in ROUTERS:
        app.include_router(router)
    add_problem_handlers(app, [route for router in ROUTERS for route in router.routes])
    # Around the framework's own layers, which small calls would feel; Starlette would build these at the first call.
    app.middleware_stack = RequestMiddleware(
        DirectRoute(app.build_middleware_stack(), path="/v1/evaluate", endpoint=evaluation.evaluate),
        metrics,
        authentication,
        is_closing=lambda: context.is_closing,
        tracing=tracing,
    )
    return app
