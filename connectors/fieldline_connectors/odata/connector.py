"""The connector `odata`: services of OData V2 and V4, among them SAP S/4HANA and Dynamics 365."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from fieldline_connectors.odata.config import OdataConfig, OdataQuery, OdataTarget
from fieldline_connectors.odata.discover import catalog
from fieldline_connectors.odata.fit import misfits, misfits_of_idoc, unreadable
from fieldline_connectors.odata.idoc_out import IdocWriter
from fieldline_connectors.odata.read import Reading, pages, records_with
from fieldline_connectors.odata.service import Client
from fieldline_connectors.odata.write import Writer
from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured
from fieldline_core.findings import Finding
from fieldline_core.ports import Cursor, Dedupe, Delivery, HookRequest, Page, Shared, Slice
from fieldline_core.receipts import Pending, Receipts, RowReceipt
from fieldline_core.schema import Catalog, FieldType

_MAX_ROWS = 1_000


class Odata:
    """Reads and writes the entity sets of a service, and takes its messages; may be used by several threads at once."""

    name: ClassVar[str] = "odata"
    Config: ClassVar[type[OdataConfig]] = OdataConfig
    Query: ClassVar[type[OdataQuery]] = OdataQuery
    Target: ClassVar[type[OdataTarget]] = OdataTarget

    def __init__(self, config: OdataConfig) -> None:
        self.config = config
        self._client = Client(config)
        self._writer = Writer(self._client)
        self._idocs = IdocWriter(self._client)

    def share(self, shared: Shared) -> None:
        """Has the token and the manners toward the service in common with the connection in other processes."""
        self._client.wire.share(shared)

    def check(self) -> None:
        """Returns where the service lets us read its `$metadata`; raises Misconfigured or Unavailable."""
        self._client.renew()

    def close(self) -> None:
        """Closes the connections to the service."""
        self._client.wire.close()

    def discover(self) -> Catalog:
        """Entity sets, properties, types, labels, and sample values where there are few sets."""
        return catalog(self._client)

    def read(self, query: OdataQuery, after: Cursor | None, limit: int) -> Iterator[Page]:
        """Pages of at most `limit` records behind `after`."""
        yield from pages(Reading.of(self._client, query), after, limit)

    def lookup(self, query: OdataQuery, keys: Sequence[str]) -> Batch:
        """The records with these keys; keys that are not there are left out."""
        found = self.children(query, keys)
        if found.keys.n_unique() < len(found):
            raise Misconfigured(f"the key of {query.entity_set} is not unique: a lookup needs one record for each key")
        return found

    def children(self, query: OdataQuery, keys: Sequence[str]) -> Batch:
        """The records with these keys, several of which may have the same: rows by the property that names their record."""
        reading = Reading.of(self._client, query)
        return reading.batch(records_with(reading, keys))

    def check_query(self, query: OdataQuery) -> Iterator[Finding]:
        """What keeps the query from being read, by what the service says of itself."""
        return unreadable(self._client, query)

    def check_target(self, target: OdataTarget, given: Mapping[str, FieldType]) -> Iterator[Finding]:
        """What keeps the operation from writing, by what the service says of itself, and what a repeat may do."""
        if target.idoc:
            return misfits_of_idoc(self._client, target, given)
        return misfits(self._client, target, given)

    def dedupe(self, target: OdataTarget) -> Dedupe:
        """QUERY where we look before we write (changes, marked records, IDocs with a status), else NATIVE or NONE."""
        return self._idocs.dedupe() if target.idoc else self._writer.dedupe(target)

    def max_rows(self, target: OdataTarget) -> int:
        """The most rows that one call of this operation takes."""
        if target.idoc is None:
            return _MAX_ROWS
        # A replay sends a whole slice: without a status, an IDoc that has arrived must not lie beside one that may not have.
        return target.idoc.rows_per_message if self.config.idocs.status else 1

    def differing(self, target: OdataTarget, batch: Batch) -> Mapping[int, RowReceipt]:
        """The rows that are gone, or whose properties are not as they are in the batch, in the types of the service."""
        return self._writer.differing(target, batch)

    def write(self, slice: Slice) -> Receipts | Pending:
        """Writes the slice, and says of each row what became of it; of IDocs later, where their status can be asked for."""
        target: Any = slice.target
        return self._idocs.write(slice) if target.idoc else self._writer.write(slice)

    def poll(self, slice: Slice, handle: Mapping[str, Any]) -> Receipts | Pending:
        """What became of IDocs that SAP has accepted, or Pending again."""
        return self._idocs.poll(slice, handle)

    def receive(self, request: HookRequest) -> Delivery:
        """IDocs or a CloudEvent whose sender showed who it is; raises Rejected."""
        if self.config.inbound is None:
            raise Misconfigured("this connection takes no messages: give it `inbound`")
        return self.config.inbound.receive(request, self.config.bounds)
