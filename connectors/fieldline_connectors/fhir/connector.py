"""The connector `fhir`: reads the resources of an EHR over FHIR R4 as the rows of views, and writes decisions into its charts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar

from fieldline_connectors.fhir.abilities import chosen, misfits
from fieldline_connectors.fhir.config import FhirConfig, FhirQuery
from fieldline_connectors.fhir.export import Exported, abandon, unoffered
from fieldline_connectors.fhir.notices import NOTHING_TAKEN, heard, notice_of
from fieldline_connectors.fhir.search import Search, declared, undeclared
from fieldline_connectors.fhir.subscription import Keeper, misheard
from fieldline_connectors.fhir.target import FhirTarget
from fieldline_connectors.fhir.told import records_of
from fieldline_connectors.fhir.topic import FhirTopic
from fieldline_connectors.fhir.wire import Wire
from fieldline_connectors.fhir.write import Write
from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured
from fieldline_core.findings import Finding, Severity
from fieldline_core.ports import Cursor, Dedupe, Heard, HookRequest, Page, Shared, Slice, Subscribed
from fieldline_core.receipts import Receipts
from fieldline_core.schema import Catalog, Entity, Field, FieldType

_MAX_ROWS = 200
_REQUESTS_FOR_A_ROW = 4


class Fhir:
    """Reads and writes the resources of a FHIR R4 server; may be used by several threads at once."""

    name: ClassVar[str] = "fhir"
    Config: ClassVar[type[FhirConfig]] = FhirConfig
    Query: ClassVar[type[FhirQuery]] = FhirQuery
    Target: ClassVar[type[FhirTarget]] = FhirTarget
    Topic: ClassVar[type[FhirTopic]] = FhirTopic

    def __init__(self, config: FhirConfig) -> None:
        self.config = config
        self._wire = Wire(config)

    def share(self, shared: Shared) -> None:
        """Has the token and the manners toward the server in common with the connection in other processes."""
        self._wire.share(shared)

    def check(self) -> None:
        """Returns where the server is a FHIR R4 server and signs us in; raises Misconfigured or Unavailable."""
        self._wire.sign_in()
        _ = self._wire.capabilities

    def close(self) -> None:
        """Closes the connections that are kept open."""
        self._wire.close()

    def discover(self) -> Catalog:
        """The types of resources that the server has, each with its search parameters in its label; a view says which fields."""
        statement = self._wire.capabilities
        listed = (found.get("type") for each in statement.get("rest", []) for found in each.get("resource", []))
        return Catalog(entities=tuple(_entity(type, declared(statement, type)) for type in sorted({*listed} - {None})))

    def read(self, query: FhirQuery, after: Cursor | None, limit: int) -> Iterator[Page]:
        """Pages of at most `limit` rows behind `after`; an export is begun, and read when the server has prepared it."""
        return (Exported if query.export else Search)(self._wire, query).pages(after, limit)

    def abandon(self, after: Cursor) -> None:
        """Has the server delete the export that a reading stopped in."""
        abandon(self._wire, after)

    def lookup(self, query: FhirQuery, keys: Sequence[str]) -> Batch:
        """The rows with these keys; keys that are not there are left out."""
        return Search(self._wire, query).by_keys(keys).last_of_each_key()[0]

    def children(self, query: FhirQuery, keys: Sequence[str]) -> Batch:
        """The rows whose key, such as a patient, is one of these; several may have the same."""
        return Search(self._wire, query).by_keys(keys)

    def subscribe(self, topic: FhirTopic, flow: str, place: Cursor | None) -> Subscribed:
        """Keeps the Subscription whose messages come to the hook of this flow."""
        if self.config.notifications is None:
            raise Misconfigured(NOTHING_TAKEN)
        return Keeper(self._wire, topic, self.config.notifications, flow).look(place)

    def unsubscribe(self, topic: FhirTopic, flow: str, place: Cursor | None) -> str:
        """Takes the flow's Subscription away, and says what was done."""
        if self.config.notifications is None:
            raise Misconfigured(NOTHING_TAKEN)
        return Keeper(self._wire, topic, self.config.notifications, flow).leave(place)

    def check_topic(self, topic: FhirTopic, query: FhirQuery) -> Iterator[Finding]:
        """What keeps the server from telling what the query's records need."""
        if self.config.notifications is None:
            yield Finding("does-not-fit", "", NOTHING_TAKEN)
        yield from misheard(self._wire, topic, query)

    def told(self, topic: FhirTopic, request: HookRequest) -> Callable[[Cursor | None], Heard]:
        """The changes that a message tells of; whose records they are is read of the server."""
        notice = notice_of(request, self.config.notifications)
        keys = records_of(self._wire, topic, notice)
        return lambda after: heard(notice, keys, after)

    def check_query(self, query: FhirQuery) -> Iterator[Finding]:
        """What keeps the query from being read: parameters, or an export, that the server does not declare."""
        yield from (unoffered if query.export else undeclared)(self._wire, query)
        if query.export and self.config.max_concurrent == 1:
            words = "`max_concurrent: 1`: all else waits while a file of the export is downloaded; allow 2 requests at once"
            yield Finding("does-not-fit", "export", words, severity=Severity.WARNING)

    def check_target(self, target: FhirTarget, given: Mapping[str, FieldType]) -> Iterator[Finding]:
        """What keeps the operation from writing, by what the server declares and the types of the fields."""
        return misfits(self._wire.capabilities, target, self._wire.host, given)

    def dedupe(self, target: FhirTarget) -> Dedupe:
        """QUERY where the server lets us find again what we wrote, else NONE."""
        return chosen(self._wire.capabilities, target, self._wire.host).dedupe

    def max_rows(self, target: FhirTarget) -> int:
        """The most rows that one call of this operation takes, so that a repeat of it gets on within a minute's requests."""
        return min(_MAX_ROWS, max(1, self.config.requests_per_minute // _REQUESTS_FOR_A_ROW))

    def write(self, slice: Slice) -> Receipts:
        """Writes the slice, and says of each row what became of it."""
        return Write(self._wire, slice).receipts()


def _entity(type: str, parameters: set[str]) -> Entity:
    found_by = f" (found by {', '.join(sorted(parameters))})" if parameters else ""
    key = Field(name="id", type=FieldType.TEXT, label="Id of the resource", nullable=False, key=True, updatable=False)
    return Entity(name=type, label=f"{type}{found_by}", fields=(key,))
