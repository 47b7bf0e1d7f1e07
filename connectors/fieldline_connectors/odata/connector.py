"""The connector `odata`: services of OData V2 and V4, among them SAP S/4HANA and Dynamics 365."""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from fieldline_connectors.odata.config import OdataConfig, OdataQuery, OdataTarget
from fieldline_connectors.odata.discover import catalog
from fieldline_connectors.odata.read import Reading, pages, records_with
from fieldline_connectors.odata.service import Client
from fieldline_connectors.odata.write import Writer
from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured
from fieldline_core.ports import Cursor, Dedupe, Delivery, HookRequest, Page, Slice
from fieldline_core.receipts import Receipts, RowReceipt
from fieldline_core.schema import Catalog

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

    def dedupe(self, target: OdataTarget) -> Dedupe:
        """QUERY for changes and marked records (we look before we write), NATIVE or NONE for other records that are added."""
        return self._writer.dedupe(target)

    def max_rows(self, target: OdataTarget) -> int:
        """The most rows that one call of this operation takes."""
        return _MAX_ROWS

    def differing(self, target: OdataTarget, batch: Batch) -> Mapping[int, RowReceipt]:
        """The rows that are gone, or whose properties are not as they are in the batch, in the types of the service."""
        return self._writer.differing(target, batch)

    def write(self, slice: Slice) -> Receipts:
        """Writes the slice, and says of each row what became of it."""
        return self._writer.write(slice)

    def receive(self, request: HookRequest) -> Delivery:
        """IDocs or a CloudEvent whose sender showed who it is; raises Rejected."""
        if self.config.inbound is None:
            raise Misconfigured("this connection takes no messages: give it `inbound`")
        return self.config.inbound.receive(request, self.config.bounds)
