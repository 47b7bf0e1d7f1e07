"""What a flow runs by now, gathered for its specification."""

from datetime import UTC, datetime
from typing import Any

from fieldline_connectors.registry import connector_class
from fieldline_core.errors import FieldlineError, Misconfigured
from fieldline_core.flow import Connection, Release
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.manage import current_release
from fieldline_inference.registry import Registry
from fieldline_mappings import CompiledPlan
from fieldline_server.specification import Running, Specification, specify


def specification(engine: Engine, registry: Registry, flow: str) -> Specification:
    """The specification of a flow's current release, with the connections as they are now."""
    release = current_release(engine, flow)
    plan = engine.parts.plan(release)
    assert isinstance(plan, CompiledPlan)
    pin = release.models[0]
    signature = registry.resolve(f"{pin.name}@{pin.version}").signature
    known = {name: _connection(engine, name) for name in sorted(release.flow.connections())}
    running = Running(release, plan, signature, known, lambda write: _dedupe(engine, release, write), engine.settings)
    return specify(running, datetime.now(UTC))


def _connection(engine: Engine, name: str) -> tuple[Connection, Any, str]:
    with engine.store.transaction("connection") as tx:
        row = tx.one("flows.document", kind="connection", name=name)
    if row is None:
        raise Misconfigured(f"there is no connection {name!r}: apply its document first")
    connection = Connection.model_validate(row["body"])
    kind = connector_class(connection.connector)
    about = (kind.__doc__ or "").strip().partition("\n")[0]
    return connection, kind.Config.model_validate(connection.settings), about


def _dedupe(engine: Engine, release: Release, write: str) -> str | None:
    step = next(each for each in release.flow.writes if each.name == write)
    try:
        return str(engine.parts.connector(step.connection).dedupe(engine.parts.target(release, step)))
    except FieldlineError:
        # Some connectors look at the system to say it, and a specification is wanted even while that is away.
        return None
