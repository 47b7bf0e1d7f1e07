"""Telling an OpenLineage endpoint of runs: each start and each end once, or again after a crash, and never in a run's way.

What is to be told is read from the runs themselves: the row of a run says what was told of it, noted after the endpoint took it.
"""

import threading
from contextlib import closing
from ipaddress import ip_network
from urllib.parse import urlsplit

import httpx

from fieldline_connectors.http import HttpConfig, guarded_client
from fieldline_connectors.http.client import answer
from fieldline_core.crash import point
from fieldline_core.errors import FieldlineError, Misconfigured, Rejected, StoreUnavailable
from fieldline_core.flow import Connection, Release
from fieldline_core.logs import log
from fieldline_core.pipeline.engine import Engine
from fieldline_core.store import Row
from fieldline_mappings import CompiledPlan
from fieldline_server.lineage_event import Datasets, State, datasets, run_event

LOCK = 7_301_005
"""The advisory lock of the one process that tells."""
_AT_ONCE = 50
_TICK_S, _WAIT_S, _LONGEST_WAIT_S = 1.0, 2.0, 120.0
_TIMEOUT_S = 10.0
_ENDS: dict[str, State] = {"succeeded": "COMPLETE", "failed": "FAIL", "cancelled": "ABORT"}


class Lineage:
    """Tells of runs until it is stopped; of several, one at a time does."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stopped = threading.Event()
        self._client = _client(engine)

    def stop(self) -> None:
        """Ends `run` after the current event."""
        self._stopped.set()

    def close(self) -> None:
        """Closes the connections to the endpoint."""
        self._client.close()

    def run(self) -> None:
        """Tells until stopped; waits longer and longer while the endpoint does not take it."""
        wait_s = _WAIT_S
        while not self._stopped.is_set():
            try:
                with closing(self._engine.store.listen()) as session:
                    row = session.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
                    while row and row[0] and not self._stopped.is_set():
                        self.round()
                        wait_s = _WAIT_S
                        self._stopped.wait(_TICK_S)
            except StoreUnavailable:
                pass
            except FieldlineError as error:
                log().warning("lineage_waits", reason=str(error), seconds=wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            except Exception as error:
                log().error("lineage_round_failed", exc_info=error)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            self._stopped.wait(wait_s)

    def round(self) -> int:
        """Tells what was not told yet, and returns how many events that were."""
        with self._engine.store.transaction("lineage.untold") as tx:
            runs = tx.all("lineage.untold", limit=_AT_ONCE)
        told = 0
        for run in runs:
            states: list[tuple[State, str]] = [] if run["told"] else [("START", "started")]
            if run["state"] in _ENDS:
                states.append((_ENDS[run["state"]], "ended"))
            for state, noted in states:
                if self._stopped.is_set():
                    return told
                self._tell(run, state, noted)
                told += 1
        return told

    def _tell(self, run: Row, state: State, noted: str) -> None:
        release = self._engine.parts.release(run["release_id"])
        try:
            written = int(run["written"]) if state == "COMPLETE" else None
            event = run_event(state, run, release, self._engine.settings.openlineage_namespace, self._datasets(release, written))
            point("lineage.send:before")
            answer(self._client.post(self._engine.settings.openlineage_url, json=event))
            point("lineage.send:after")
        except Rejected as error:
            # It will not take this one later either, and the others wait behind it.
            log().error("lineage_refused", run=run["id"], state=state, reason=str(error))
        with self._engine.store.transaction("lineage.told") as tx:
            tx.run("lineage.tell", id=run["id"], told=noted)

    def _datasets(self, release: Release, written: int | None) -> Datasets:
        plan = self._engine.parts.plan(release)
        assert isinstance(plan, CompiledPlan)
        with self._engine.store.transaction("lineage.connections") as tx:
            rows = [tx.one("flows.document", kind="connection", name=name) for name in sorted(release.flow.connections())]
        connections = {row["name"]: Connection.model_validate(row["body"]) for row in rows if row}
        return datasets(release, plan, connections, written)


def _client(engine: Engine) -> httpx.Client:
    settings = engine.settings
    host = urlsplit(settings.openlineage_url).hostname or ""
    try:
        network = [{"host": host, "network": ip_network(settings.openlineage_network)}] if settings.openlineage_network else []
    except ValueError:
        raise Misconfigured("FIELDLINE_OPENLINEAGE_NETWORK is no network: write it as 10.20.0.0/16") from None
    config = HttpConfig.model_validate({"allow_private": network, "timeout_s": _TIMEOUT_S, "total_timeout_s": 2 * _TIMEOUT_S})
    client = guarded_client(config)
    if key := settings.openlineage_key.get_secret_value():
        client.headers["authorization"] = f"Bearer {key}"
    return client


def lineage(engine: Engine) -> list[Lineage]:
    """What tells of runs, where that is asked for."""
    return [Lineage(engine)] if engine.settings.openlineage_url else []
