"""What the systems themselves say of a flow: their connectors hold its queries and writes against what is really there."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from fieldline_connectors.registry import connector_class
from fieldline_core.errors import FieldlineError
from fieldline_core.findings import Finding, Severity
from fieldline_core.flow import Connection, Flow
from fieldline_core.pipeline.facts import FACTS
from fieldline_core.ports import Checks, ChecksTexts, Plan, Query, Subscribes
from fieldline_server.wiring import open_connection


def findings_of_systems(flow: Flow, connections: Mapping[str, Connection], plan: Plan | None) -> Iterator[Finding]:
    """What does not fit; a system that cannot be asked now gives a warning, because nothing is known to be wrong."""
    opened: dict[str, Any] = {}
    try:
        yield from _query(flow, connections, plan, opened)
        yield from _topic(flow, connections, opened)
        for number, write in enumerate(flow.writes):
            connector = _opened(write.connection, connections, opened)
            target = _made(connector, "Target", write.target)
            if target is not None:
                found = _said_of_target(connector, target, plan)
                yield from _below(f"writes[{number}].target", write.connection, found, opened)
    finally:
        for connector in filter(None, opened.values()):
            connector.close()


def _query(flow: Flow, connections: Mapping[str, Connection], plan: Plan | None, opened: dict[str, Any]) -> Iterator[Finding]:
    if flow.source is None:
        return
    connector = _opened(flow.source.connection, connections, opened)
    query: Query | None = _made(connector, "Query", flow.source.query)
    if query is not None:
        looked_up = {lookup.name for lookup in flow.lookups}
        asked = query.reading(plan.fields_read().keys() - looked_up) if plan else query
        yield from _below("source.query", flow.source.connection, connector.check_query(asked), opened)


def _topic(flow: Flow, connections: Mapping[str, Connection], opened: dict[str, Any]) -> Iterator[Finding]:
    if flow.source is None or flow.trigger.changes is None:
        return
    connector = _opened(flow.source.connection, connections, opened)
    if isinstance(connector, Subscribes):
        topic, query = _made(connector, "Topic", flow.trigger.changes), _made(connector, "Query", flow.source.query)
        if topic is not None and query is not None:
            yield from _below("trigger.changes", flow.source.connection, connector.check_topic(topic, query), opened)


def _said_of_target(connector: Any, target: Any, plan: Plan | None) -> Iterator[Finding]:
    yield from connector.check_target(target, {**plan.fields_written(), **FACTS} if plan else {})
    if plan and isinstance(connector, ChecksTexts):
        yield from connector.check_texts(target, plan.texts_written())


def _opened(name: str, connections: Mapping[str, Connection], opened: dict[str, Any]) -> Any:
    """The connection, where its connector can check; it is opened once for a flow."""
    if name not in opened:
        opened[name] = None
        connection = connections.get(name)
        try:
            if connection is not None and _checks(connection):
                opened[name] = open_connection(connection)
        except (FieldlineError, ValidationError):
            # Its connection's own document is where this is said.
            pass
    return opened[name]


def _checks(connection: Connection) -> bool:
    kind = connector_class(connection.connector)
    return all(hasattr(kind, name) for name in vars(Checks) if name.startswith("check_"))


def _made(connector: Any, part: str, data: dict[str, Any]) -> Any:
    """A part of the flow in the connector's terms; None where it is malformed, which is said elsewhere."""
    if connector is None:
        return None
    try:
        return getattr(connector, part).model_validate(data)
    except ValidationError:
        return None


def _below(path: str, connection: str, found: Iterator[Finding], opened: dict[str, Any]) -> Iterator[Finding]:
    try:
        for finding in found:
            yield replace(finding, path=f"{path}.{finding.path}" if finding.path else path)
    except FieldlineError as error:
        words = f"{connection!r} could not be asked, so what this flow reads and writes there was not checked: {error}."
        yield Finding("unchecked", path, words, severity=Severity.WARNING)
        # Said once: the flow's other parts would hear the same.
        opened[connection].close()
        opened[connection] = None
