"""What is wrong with documents that people write: alone, among each other, and against connectors and models."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fieldline_connectors.registry import connector_class
from fieldline_core.errors import Misconfigured
from fieldline_core.findings import Finding, did_you_mean, errors
from fieldline_core.flow import Connection, Flow, digest_of
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.facts import FACTS
from fieldline_core.pipeline.schedule import next_time
from fieldline_core.ports import Children, Document, Feed, Hook, Lookup, Plan, Sink, Subscribes
from fieldline_core.ports import Source as ReadsRecords
from fieldline_core.validation import validate
from fieldline_core.yaml_source import Source, parse
from fieldline_inference.registry import Registry
from fieldline_mappings import MappingDocument, compile_mapping, lint_mapping
from fieldline_mappings import digest as mapping_digest
from fieldline_server.lint_systems import findings_of_systems

_ANY_TIME = datetime(2026, 1, 1, tzinfo=UTC)
KINDS: dict[str, type[Document]] = {"connection": Connection, "mapping": MappingDocument, "flow": Flow}


@dataclass(frozen=True, slots=True)
class Piece:
    """One document with the place where it was written."""

    kind: str
    name: str
    document: Any
    source: Source
    text: str

    @property
    def digest(self) -> str:
        """The digest that names this version."""
        return mapping_digest(self.document) if self.kind == "mapping" else digest_of(self.body)

    @property
    def body(self) -> dict[str, Any]:
        """The document as JSON."""
        body: dict[str, Any] = self.document.model_dump(mode="json", by_alias=True)
        return body


def read_pieces(texts: Mapping[str, str]) -> tuple[list[Piece], list[Finding]]:
    """The documents in some files (name -> text), and what is wrong with them on their own."""
    pieces: list[Piece] = []
    findings: list[Finding] = []
    for file, text in texts.items():
        sources, found = parse(text, file)
        findings += found
        for source in sources:
            piece, found = _piece(source, text)
            findings += found
            pieces += [piece] if piece else []
    return pieces, findings


def _piece(source: Source, text: str) -> tuple[Piece | None, list[Finding]]:
    data = source.data
    kinds = [kind for kind in KINDS if isinstance(data, dict) and kind in data]
    if "flow" in kinds:
        # A flow names its mapping: the key `mapping` does not make it one.
        kinds = ["flow"]
    if not kinds:
        first = next(iter(data), "") if isinstance(data, dict) else ""
        meant = did_you_mean(str(first), KINDS) or "It begins with connection: NAME, mapping: NAME or flow: NAME."
        return None, [
            source.locate(Finding("document", str(first), "this document is neither a connection, a mapping nor a flow.", meant))
        ]
    kind = kinds[0]
    document, findings = validate(KINDS[kind], source)
    return (Piece(kind, str(data[kind]), document, source, text) if document else None), findings


class Linter:
    """Checks documents against each other, the store's documents, the connectors and the models."""

    def __init__(self, engine: Engine, registry: Registry, pieces: Iterable[Piece]) -> None:
        self._registry = registry
        self._pieces = list(pieces)
        with engine.store.transaction("lint") as tx:
            rows = {kind: tx.all("flows.documents", kind=kind) for kind in KINDS}
        self._known: dict[str, dict[str, Any]] = {
            k: {r["name"]: KINDS[k].model_validate(r["body"]) for r in rows[k]} for k in KINDS
        }
        for piece in self._pieces:
            self._known[piece.kind][piece.name] = piece.document

    def findings(self) -> list[Finding]:
        """All findings, in the order of the documents."""
        checks: dict[str, Callable[[Any], Iterator[Finding]]] = {
            "connection": self._connection,
            "mapping": self._mapping,
            "flow": self._flow,
        }
        given = [piece.source.locate(found) for piece in self._pieces for found in checks[piece.kind](piece.document)]
        return given + list(self._flows_around())

    def _flows_around(self) -> Iterator[Finding]:
        """What the documents break in flows that use them and were published earlier."""
        names = {piece.name for piece in self._pieces}
        given = {piece.name for piece in self._pieces if piece.kind == "flow"}
        for flow in self._known["flow"].values():
            if flow.flow in given or not touches(names, flow):
                continue
            for found in errors(self._flow(flow)):
                words = f"the flow {flow.flow!r}, published earlier and so without a line here, would no longer fit: {found.words}"
                yield Finding(found.rule, "", words, "Apply it together with these documents.")

    def _connection(self, connection: Connection) -> Iterator[Finding]:
        try:
            kind = connector_class(connection.connector)
        except Misconfigured as error:
            yield Finding("unknown-connector", "connector", f"{error}.")
            return
        yield from _within(kind.Config, connection.settings, "settings")

    def _mapping(self, mapping: MappingDocument) -> Iterator[Finding]:
        yield from lint_mapping(mapping)

    def _flow(self, flow: Flow) -> Iterator[Finding]:
        yield from self._triggered(flow)
        if flow.source:
            needed = Lookup if flow.trigger.webhook else ReadsRecords
            yield from self._used(flow.source.connection, "source.connection", needed, "Query", flow.source.query, "source.query")
            if flow.trigger.changes is not None:
                yield from self._used(flow.source.connection, "source.connection", Lookup, None, {}, "")
                path, changes = "trigger.changes", flow.trigger.changes
                hears = Subscribes if self._is(flow.source.connection, Subscribes) else Feed
                yield from self._used(flow.source.connection, path, hears, "Topic", changes, path)
        for number, lookup in enumerate(flow.lookups):
            path = f"lookups[{number}]"
            yield from self._used(lookup.connection, f"{path}.connection", Children, "Query", lookup.query, f"{path}.query")
        for number, write in enumerate(flow.writes):
            yield from self._used(
                write.connection, f"writes[{number}].connection", Sink, "Target", write.target, f"writes[{number}].target"
            )
        yield from self._answers(flow)
        plan = self._plan(flow)
        if flow.trigger.cds is not None:
            # The connector of EHRs is much to load for flows that have nothing to do with it.
            from fieldline_server.lint_cds import findings_of_cds

            yield from findings_of_cds(flow, self._known["connection"], plan)
        yield from findings_of_systems(flow, self._known["connection"], plan)

    def _plan(self, flow: Flow) -> Plan | None:
        """The flow's mapping compiled for its model; None where that fails, which is said elsewhere."""
        try:
            return compile_mapping(self._known["mapping"][flow.mapping], self._registry.resolve(flow.models[0]).signature)
        except (KeyError, Misconfigured):
            return None

    def _triggered(self, flow: Flow) -> Iterator[Finding]:
        if flow.trigger.webhook:
            yield from self._used(flow.trigger.webhook, "trigger.webhook", Hook, None, {}, "")
        if flow.trigger.schedule:
            try:
                next_time(flow.trigger.schedule, _ANY_TIME)
            except Misconfigured as error:
                yield Finding("schedule", "trigger.schedule", str(error))

    def _is(self, name: str, ability: type) -> bool:
        """Whether the connector of a connection is known, and has this ability."""
        try:
            return _offers(connector_class(self._known["connection"][name].connector), ability)
        except (KeyError, Misconfigured):
            return False

    def _used(self, name: str, path: str, ability: type, part: str | None, data: dict[str, Any], below: str) -> Iterator[Finding]:
        connection = self._known["connection"].get(name)
        if connection is None:
            meant = did_you_mean(name, self._known["connection"])
            yield Finding("unknown-connection", path, f"there is no connection {name!r}.", meant)
            return
        try:
            kind = connector_class(connection.connector)
        except Misconfigured:
            # Its connection's own document is where this is said.
            return
        if not _offers(kind, ability):
            words = {"Source": "read", "Lookup": "read by key", "Sink": "write", "Hook": "receive messages"}
            words |= {"Children": "read the rows that belong to records", "Feed": "say what changes"}
            word = words[ability.__name__]
            yield Finding("ability", path, f"the connector {connection.connector!r} of the connection {name!r} cannot {word}.")
        elif part:
            yield from _within(getattr(kind, part), data, below)

    def _answers(self, flow: Flow) -> Iterator[Finding]:
        mapping = self._known["mapping"].get(flow.mapping)
        if mapping is None:
            meant = did_you_mean(flow.mapping, self._known["mapping"])
            yield Finding("unknown-mapping", "mapping", f"there is no mapping {flow.mapping!r}.", meant)
            return
        try:
            version = self._registry.resolve(flow.models[0])
        except Misconfigured as error:
            yield Finding("unknown-model", "models[0]", f"{error}")
            return
        for found in errors(lint_mapping(mapping, version.signature)):
            yield Finding(found.rule, "mapping", f"the mapping {flow.mapping!r} does not fit the model {version}: {found.words}")
        for number, lookup in enumerate(flow.lookups):
            if not isinstance(mapping.record.get(lookup.name), dict):
                lists = [name for name, type in mapping.record.items() if isinstance(type, dict)]
                listed = f"List it under `record` with the types of its fields: {lookup.name}: {{…}}."
                meant = did_you_mean(lookup.name, lists) or listed
                message = f"the mapping {flow.mapping!r} knows no list {lookup.name!r}."
                yield Finding("unknown-list", f"lookups[{number}].name", message, meant)
        given = [*(answer.name for answer in mapping.written), *FACTS]
        for number, write in enumerate(flow.writes):
            for field_name, wanted in (write.target.get("fields") or {}).items():
                if wanted not in given:
                    path = f"writes[{number}].target.fields.{field_name}"
                    meant = did_you_mean(str(wanted), given) or f"It gives {', '.join(given)}."
                    yield Finding("unknown-field", path, f"the mapping {flow.mapping!r} gives no field {wanted!r}.", meant)


def touches(names: Set[str], flow: Flow) -> bool:
    """Whether documents of these names are the flow, or are used by it."""
    return bool(names & {flow.flow, flow.mapping, *flow.connections()})


def _within(model: type[Any], data: dict[str, Any], below: str) -> Iterator[Finding]:
    """Findings of a part of a document, with paths from the document's root."""
    _, findings = validate(model, Source(data))
    for found in findings:
        path = f"{below}.{found.path}" if found.path else below
        yield Finding(found.rule, path, found.message, found.suggestion)


def _offers(kind: type[Any], ability: type) -> bool:
    """Whether a connector class defines what a port asks for, without making one."""
    names = [name for name in vars(ability) if not name.startswith("_") and callable(getattr(ability, name))]
    return all(hasattr(kind, name) for name in names)
