"""What the routes share, and how they come by it."""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated, TypeAlias, cast

from fastapi import Depends, Request

from fieldline_core.flow import NAME, Release
from fieldline_core.pipeline.accept import Intake
from fieldline_core.pipeline.engine import Engine
from fieldline_inference.registry import Registry
from fieldline_server.api.problems import NotFound
from fieldline_server.api.refusals import Refusals
from fieldline_server.cds_trust import Trust
from fieldline_server.keys import ApiKeys
from fieldline_server.metrics import Metrics
from fieldline_server.scoring import Scorer

_FRESH_S = 1.0
_MOST_KEPT = 1024


@dataclass(frozen=True, slots=True)
class KnownFlow:
    """A published flow, with what new records are decided by."""

    release: Release
    paused: str | None
    """Why it is paused, where it is."""


class Flows:
    """The flows by name, each looked up at most once a second: a new release or a pause counts within that time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, tuple[float, KnownFlow | None]] = OrderedDict()

    def seen(self, name: str) -> KnownFlow | None:
        """The published flow that was looked up a moment ago, without asking the database."""
        fresh, flow = self._fresh(name)
        return flow if fresh else None

    def find(self, name: str) -> KnownFlow:
        """The published flow of that name; raises NotFound."""
        fresh, flow = self._fresh(name)
        if not fresh:
            flow = self._read(name)
        if flow is None:
            raise NotFound("there is no such flow")
        return flow

    def forget(self, name: str) -> None:
        """Looks the flow up again when it is asked for next, because it was changed here."""
        with self._lock:
            self._seen.pop(name, None)

    def _fresh(self, name: str) -> tuple[bool, KnownFlow | None]:
        at_s, flow = self._seen.get(name, (float("-inf"), None))
        return time.monotonic() - at_s < _FRESH_S, flow

    def _read(self, name: str) -> KnownFlow | None:
        if len(name) > 63 or not NAME.match(name):
            return None
        with self._engine.store.transaction("flow") as tx:
            row = tx.one("flows.by_name", name=name)
        flow = None
        if row and row["release_id"] is not None:
            flow = KnownFlow(self._engine.parts.release(row["release_id"]), row["paused_at"] and row["paused_reason"])
        with self._lock:
            self._seen[name] = (time.monotonic(), flow)
            self._seen.move_to_end(name)
            while len(self._seen) > _MOST_KEPT:
                self._seen.popitem(last=False)
        return flow


@dataclass(frozen=True, slots=True)
class Backend:
    """What the routes share."""

    engine: Engine
    registry: Registry
    keys: ApiKeys
    flows: Flows
    intake: Intake
    refusals: Refusals
    metrics: Metrics
    scorer: Scorer
    trust: Trust

    def check_published(self, kind: str, name: str) -> None:
        """Returns where a document of this kind and name is published; raises NotFound."""
        with self.engine.store.transaction(kind) as tx:
            if tx.one("flows.document", kind=kind, name=name) is None:
                raise NotFound(f"there is no such {kind}")


async def backend_of(request: Request) -> Backend:
    """The backend of the application that serves the request."""
    return cast(Backend, request.app.state.backend)


Back: TypeAlias = Annotated[Backend, Depends(backend_of)]
