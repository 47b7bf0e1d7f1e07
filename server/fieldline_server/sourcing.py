"""Records of a flow's source, read for a person to look at, with the fields that some mapping needs; nothing is decided."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured, Unavailable
from fieldline_core.findings import errors
from fieldline_core.flow import Release
from fieldline_core.pipeline.engine import Engine, Parts
from fieldline_core.pipeline.enrich import with_children
from fieldline_core.ports import Lookup, Plan, Query, Source, Wanted
from fieldline_core.waiting import pages_of
from fieldline_inference.registry import Registry
from fieldline_mappings import CompiledPlan, MappingDocument, compile_mapping
from fieldline_server.lint import read_pieces

_PATIENCE_S, _PATIENCE_AT_ONCE_S = 300.0, 10.0


def mapping_in(text: str, file: str = "") -> MappingDocument:
    """The one mapping among the documents of a text; raises Misconfigured with what is wrong with them."""
    pieces, findings = read_pieces({file: text})
    if wrong := errors(findings):
        raise Misconfigured("\n".join([f"{file or 'the text'} cannot be used:", *(f"- {each}" for each in wrong)]))
    found: list[MappingDocument] = [piece.document for piece in pieces if piece.kind == "mapping"]
    if len(found) != 1:
        raise Misconfigured(f"{file or 'the text'} holds {len(found)} mappings: one is expected")
    return found[0]


def plan_of(registry: Registry, release: Release, mapping: MappingDocument) -> CompiledPlan:
    """The mapping, compiled for the release's model; raises Misconfigured where it does not fit."""
    pin = release.models[0]
    return compile_mapping(mapping, registry.resolve(f"{pin.name}@{pin.version}").signature)


def together(plans: Iterable[Plan]) -> Wanted:
    """The fields that any of the plans reads."""
    wanted: dict[str, Any] = {}
    for plan in plans:
        for name, type in plan.fields_read().items():
            before = wanted.get(name)
            wanted[name] = {**before, **type} if isinstance(before, Mapping) and isinstance(type, Mapping) else type
    return wanted


@dataclass(frozen=True, slots=True)
class Records:
    """The source of a release's flow, asked for some fields; `more` are columns that no mapping names.

    Where they are wanted `at_once`, no source is asked that has to prepare them first.
    """

    engine: Engine
    release: Release
    wanted: Wanted
    more: Sequence[str] = ()
    at_once: bool = False

    def pages(self, rows: int) -> Iterator[Batch]:
        """All records, in pages of at most so many."""
        instead = f"score a record of your own with 'fieldline score {self.release.flow.flow}'"
        connector, query = self._source(Source, "read", instead)
        if self.at_once and query.prepared:
            flow = self.release.flow.flow
            raise Misconfigured(f"the source of {flow} prepares its records for minutes: 'fieldline preview {flow}' waits for it")
        patience = _Patience(_PATIENCE_AT_ONCE_S if self.at_once else _PATIENCE_S)
        for page in pages_of(connector, query, None, rows, patience.wait):
            yield self._with_children(page.batch.slice(0, rows))

    def of(self, keys: Sequence[str]) -> Batch:
        """The records with these keys, in any order; those that are not there are left out."""
        connector, query = self._source(Lookup, "read by key", "use a source whose connector can")
        return self._with_children(connector.lookup(query, keys))

    def _source(self, ability: type, word: str, instead: str) -> tuple[Any, Query]:
        flow, query = self.release.flow, self.engine.parts.query(self.release)
        if query is None or flow.source is None:
            raise Misconfigured(f"the flow {flow.flow} has no source to read: {instead}")
        connector = self.engine.parts.connector(flow.source.connection)
        if not isinstance(connector, ability):
            raise Misconfigured(f"the connection {flow.source.connection!r} cannot be {word}: {instead}")
        looked_up = {lookup.name for lookup in flow.lookups}
        fields = {*(self.wanted.keys() - looked_up), *self.more, *(lookup.by for lookup in flow.lookups if lookup.by)}
        return connector, query.reading(fields)

    def _with_children(self, batch: Batch) -> Batch:
        parts = cast(Parts, _Reading(self.engine.parts, self.wanted))
        return with_children(replace(self.engine, parts=parts), self.release, batch)


@dataclass(slots=True)
class _Patience:
    """Waits for a source that prepares what is read, but not for longer than somebody looks on."""

    left_s: float

    def wait(self, seconds: float) -> None:
        """Waits; raises Unavailable where it has been too long."""
        self.left_s -= seconds
        if self.left_s < 0:
            raise Unavailable("the source takes longer to prepare its records than anybody waits here: a run reads them")
        time.sleep(seconds)


@dataclass(frozen=True, slots=True)
class _Reading:
    """The engine's parts with something that reads these fields in place of the release's plan."""

    parts: Parts
    wanted: Wanted

    def plan(self, release: Release) -> "_Reading":
        return self

    def fields_read(self) -> Wanted:
        return self.wanted

    def __getattr__(self, name: str) -> Any:
        return getattr(self.parts, name)
