"""Whether a query and a write operation fit what the service says of itself, before anything runs."""

from collections.abc import Iterator, Mapping

from fieldline_connectors.odata.config import OdataQuery, OdataTarget
from fieldline_connectors.odata.idoc_out import status_reading
from fieldline_connectors.odata.metadata import EntitySet
from fieldline_connectors.odata.read import Reading
from fieldline_connectors.odata.rows import Shape
from fieldline_connectors.odata.service import Client
from fieldline_connectors.odata.write import Writer
from fieldline_core.errors import Misconfigured
from fieldline_core.findings import Finding, Severity, did_you_mean
from fieldline_core.ports import Dedupe
from fieldline_core.schema import FieldType

_RULE = "does-not-fit"
_NUMBERS = (FieldType.INTEGER, FieldType.DECIMAL, FieldType.NUMBER, FieldType.BOOLEAN)
_TAKES: Mapping[FieldType, tuple[FieldType, ...]] = {
    FieldType.INTEGER: _NUMBERS, FieldType.DECIMAL: _NUMBERS, FieldType.NUMBER: _NUMBERS,
    FieldType.BOOLEAN: (FieldType.BOOLEAN, FieldType.INTEGER),
    FieldType.DATE: (FieldType.DATE, FieldType.DATETIME), FieldType.DATETIME: (FieldType.DATE, FieldType.DATETIME),
    FieldType.TIME: (FieldType.TIME,), FieldType.TEXT: tuple(kind for kind in FieldType if kind is not FieldType.LIST),
}  # fmt: skip


def unreadable(client: Client, query: OdataQuery) -> Iterator[Finding]:
    """What keeps the query from being read."""
    found, wrong = _entity_set(client, query.entity_set)
    yield from wrong
    if found is None:
        return
    try:
        Reading.of(client, query)
    except Misconfigured as error:
        yield Finding(_RULE, "", str(error))
        return
    if query.track_changes and found.tracks_changes is False:
        yield Finding(_RULE, "track_changes", f"the service does not say what changes in {found.name}: use `changed_at`")
    kind = found.property(query.changed_at) if query.changed_at else None
    if kind and (kind.type not in (FieldType.DATE, FieldType.DATETIME) or not kind.filterable):
        words = f"{kind.name} of {found.name} is no date or time that can be filtered by: name another property"
        yield Finding(_RULE, "changed_at", words)


def misfits(client: Client, target: OdataTarget, given: Mapping[str, FieldType]) -> Iterator[Finding]:
    """What keeps the operation from writing, and what a repeat may do."""
    found, wrong = _entity_set(client, target.entity_set)
    yield from wrong
    if found is None:
        return
    unknown = [name for name in (*target.fields, *target.constants) if name not in found.type.properties]
    for name in unknown:
        part = "fields" if name in target.fields else "constants"
        words = f"the entity set {found.name} has no property {name}"
        yield Finding(_RULE, f"{part}.{name}", words, did_you_mean(name, found.type.properties))
    if unknown:
        return
    try:
        shape = Shape.of(client.service, target, client.config.timezone)
    except Misconfigured as error:
        yield Finding(_RULE, "", str(error))
        return
    for name, source in target.fields.items():
        yield from _type(f"fields.{name}", shape.kinds[name].type, given.get(source))
    if Writer(client).dedupe(target) is Dedupe.NONE:
        words = f"{found.name} recognises no repeat: where an answer is lost, a record may be added twice: name a `marker`"
        yield Finding(_RULE, "marker", words, severity=Severity.WARNING)


def misfits_of_idoc(client: Client, target: OdataTarget, given: Mapping[str, FieldType]) -> Iterator[Finding]:
    """The same for IDocs, of whose types no service tells."""
    for name, source in target.fields.items():
        yield from _type(f"fields.{name}", FieldType.TEXT, given.get(source))
    status = client.config.idocs.status
    if status is None:
        words = (
            "nothing says whether an IDoc has arrived or was posted: the receipts say 'accepted', and a worker that dies while it "
            "sends may send an IDoc twice (with the same ARCKEY): set `idocs.status` of the connection"
        )
        yield Finding(_RULE, "idoc", words, severity=Severity.WARNING)
        return
    found, wrong = _entity_set(client, status.entity_set)
    for finding in wrong:
        yield Finding(_RULE, "idoc", f"idocs.status of the connection: {finding.message}", finding.suggestion)
    if found is None:
        return
    try:
        status_reading(client, status)
    except Misconfigured as error:
        yield Finding(_RULE, "idoc", f"idocs.status of the connection: {error}")


def _entity_set(client: Client, name: str) -> tuple[EntitySet | None, list[Finding]]:
    found = client.service.sets.get(name)
    if found is not None:
        return found, []
    words = f"the service has no entity set {name}"
    return None, [Finding(_RULE, "entity_set", words, did_you_mean(name, client.service.sets))]


def _type(path: str, taken: FieldType | None, given: FieldType | None) -> Iterator[Finding]:
    if given is None or taken is None or given in _TAKES.get(taken, ()):
        return
    words = f"it takes a {taken}, and the mapping gives a {given}"
    if given is FieldType.TEXT:
        yield Finding(_RULE, path, f"{words}: a text that is none will be refused", severity=Severity.WARNING)
    else:
        yield Finding(_RULE, path, words)
