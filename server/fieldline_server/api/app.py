"""The application: routes, errors and limits around one engine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from anyio.to_thread import run_sync
from fastapi import FastAPI

from fieldline_core.pipeline.accept import Intake
from fieldline_core.pipeline.engine import Engine
from fieldline_inference.registry import Registry
from fieldline_server import __version__
from fieldline_server.api import (
    api_keys,
    audit,
    cds,
    completions,
    configuration,
    dead_letters,
    erasures,
    flows,
    hooks,
    log,
    mappings,
    models,
    operations,
    problems,
    reports,
    reruns,
    runs,
    specification,
    stories,
    undos,
    versions,
)
from fieldline_server.api.backend import Backend, Flows
from fieldline_server.api.door import Door
from fieldline_server.api.operations import Readiness
from fieldline_server.api.refusals import Refusals
from fieldline_server.cds_trust import Trust
from fieldline_server.keys import ApiKeys
from fieldline_server.metrics import Metrics
from fieldline_server.scoring import Scorer

_ROUTERS = (
    hooks.router, cds.router, flows.router, specification.router, mappings.router, completions.router, versions.router, runs.router,
    dead_letters.router, models.router, configuration.router, audit.router, reruns.router, log.router, reports.router,
    erasures.router, undos.router, stories.router, api_keys.router, operations.health, operations.metrics,
)  # fmt: skip
_FLUSH_EVERY_S = 60.0


def create_app(engine: Engine, registry: Registry) -> FastAPI:
    """The application over an engine; it ends with its lifespan, the engine's store stays open."""
    metrics = Metrics()
    metrics.watch(engine)
    scorer = Scorer(engine, registry, metrics)
    trust, refusals = Trust(engine), Refusals(engine)
    backend = Backend(engine, registry, ApiKeys(engine), Flows(engine), Intake(engine), refusals, metrics, scorer, trust)
    # The pages that show the API load scripts from a stranger's host: the document alone is served.
    app = FastAPI(title="Fieldline", version=__version__, docs_url=None, redoc_url=None, lifespan=_lifespan,
                  openapi_tags=[{"name": "hooks", "description": "Signed events; the signature is the key."},
                                {"name": "cds", "description": "CDS Hooks; the EHR's signed token is the key."}])  # fmt: skip
    app.state.backend = backend
    app.state.readiness = Readiness(engine)
    for router in _ROUTERS:
        app.router.routes.extend(router.routes)
    problems.install(app)
    app.add_middleware(Door, metrics=metrics)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    backend: Backend = app.state.backend
    backend.scorer.start()
    flushing = asyncio.create_task(_flush(backend.refusals))
    try:
        yield
    finally:
        flushing.cancel()
        with suppress(asyncio.CancelledError):
            await flushing
        await run_sync(backend.scorer.stop)
        await run_sync(backend.refusals.flush)


async def _flush(refusals: Refusals) -> None:
    while True:
        await asyncio.sleep(_FLUSH_EVERY_S)
        await run_sync(refusals.flush)
