"""For those who keep Fieldline running: health, readiness and metrics."""

import ipaddress
import threading
import time
from typing import Annotated, Any

import psycopg
from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from fieldline_core.errors import FieldlineError
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.relay import LOCK
from fieldline_core.store import missing
from fieldline_server.api.access import Guarded, Needs
from fieldline_server.api.backend import Back
from fieldline_server.keys import Caller, Scope
from fieldline_server.metrics import PACKAGE

health = APIRouter(prefix="/health", tags=["operations"])
metrics = APIRouter(tags=["operations"], route_class=Guarded)
_FRESH_S = 1.0
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


class Readiness:
    """Whether requests can be served, asked of the database at most once a second."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._at_s = float("-inf")
        self._seen: tuple[bool, dict[str, Any]] = (False, {})
        self._migrated = False

    def look(self) -> tuple[bool, dict[str, Any]]:
        """Whether the database answers and has every migration; and, as facts only, whether relay and workers were seen."""
        with self._lock:
            if time.monotonic() - self._at_s >= _FRESH_S:
                self._seen, self._at_s = self._asked(), time.monotonic()
            return self._seen

    def _asked(self) -> tuple[bool, dict[str, Any]]:
        try:
            # Migrations go forward only: once seen, always there.
            self._migrated = self._migrated or not missing(self._engine.store.url)
            with self._engine.store.transaction("ready", PACKAGE) as tx:
                relay = tx.one("metrics.relay", lock=LOCK)
                workers = {row["queue"]: row["workers"] for row in tx.all("metrics.workers")}
        except (FieldlineError, psycopg.Error):
            return False, {"database": False}
        leads = bool(relay and relay["leads"])
        return self._migrated, {"database": True, "migrations": self._migrated, "relay": leads, "workers": workers}


class NeedsMetrics(Needs):
    """Lets a caller pass on this machine without a key, but not one that a proxy on this machine speaks for."""

    def __init__(self) -> None:
        super().__init__(Scope.METRICS)

    async def check(self, request: Request) -> Caller:
        """The caller of a request; raises NotRecognised or Forbidden."""
        if "authorization" not in request.headers and _is_here(request):
            return Caller("loopback", frozenset({Scope.METRICS}))
        return await super().check(request)


@health.get("/live")
async def live() -> dict[str, str]:
    """That the process answers; nothing else is asked."""
    return {"status": "alive"}


@health.get("/ready")
def ready(request: Request, response: Response) -> dict[str, Any]:
    """Whether requests can be served: 503 where the database is away or lacks a migration."""
    is_ready, facts = request.app.state.readiness.look()
    response.status_code = 200 if is_ready else 503
    return {"status": "ready" if is_ready else "not ready", **facts}


@metrics.get("/metrics")
def show_metrics(backend: Back, caller: Annotated[Caller, Depends(NeedsMetrics())]) -> Response:
    """Metrics in Prometheus' text format, for a key with the scope `metrics`, or without a key from this machine."""
    return Response(backend.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _is_here(request: Request) -> bool:
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
