"""The connector `salesforce`: reads with SOQL, writes back by Id or external id, within the org's limits."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from fieldline_connectors.salesforce.choices import unlisted
from fieldline_connectors.salesforce.config import SalesforceConfig, SalesforceQuery, SalesforceTarget
from fieldline_connectors.salesforce.discover import catalog
from fieldline_connectors.salesforce.fit import misfits
from fieldline_connectors.salesforce.jobs import Jobs
from fieldline_connectors.salesforce.org import Org
from fieldline_connectors.salesforce.outbound import delivery
from fieldline_connectors.salesforce.plan import Reading
from fieldline_connectors.salesforce.pubsub_topic import SalesforceTopic
from fieldline_connectors.salesforce.read import children, lookup, pages
from fieldline_connectors.salesforce.wire import Wire
from fieldline_connectors.salesforce.write import Writer
from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured
from fieldline_core.findings import Finding
from fieldline_core.ports import Cursor, Dedupe, Delivery, Heard, HookRequest, Page, Shared, Slice, Texts
from fieldline_core.receipts import Pending, Receipts
from fieldline_core.schema import Catalog, FieldType

_MAX_ROWS = 10_000


class Salesforce:
    """Reads and writes the records of a Salesforce org; may be used by several threads at once."""

    name: ClassVar[str] = "salesforce"
    Config: ClassVar[type[SalesforceConfig]] = SalesforceConfig
    Query: ClassVar[type[SalesforceQuery]] = SalesforceQuery
    Target: ClassVar[type[SalesforceTarget]] = SalesforceTarget
    Topic: ClassVar[type[SalesforceTopic]] = SalesforceTopic

    def __init__(self, config: SalesforceConfig) -> None:
        self.config = config
        self._wire = Wire(config)
        self._org = Org(self._wire)
        self._jobs = Jobs(self._wire)
        self._writer = Writer(self._org, self._jobs)
        self._closed = threading.Event()

    @property
    def calls(self) -> int:
        """API calls that this process has made, logins not counted."""
        return self._wire.budget.calls

    def share(self, shared: Shared) -> None:
        """Has the token and the count of API calls in common with the connection in other processes."""
        self._wire.share(shared)

    def check(self) -> None:
        """Returns where the org lets us in and answers in this API version; raises Misconfigured or Unavailable."""
        self._org.ask("limits")

    def close(self) -> None:
        """Closes the connections to the org; the token stays valid for other processes."""
        self._closed.set()
        self._wire.close()

    def discover(self) -> Catalog:
        """Objects, fields, pick lists, lists of rows and sample values, as the integration user sees them."""
        return catalog(self._org)

    def read(self, query: SalesforceQuery, after: Cursor | None, limit: int) -> Iterator[Page]:
        """Pages of at most `limit` records behind `after`; many are read by the Bulk API."""
        return pages(self._org, self._jobs, query, after, limit)

    def abandon(self, after: Cursor) -> None:
        """Ends the bulk query that a reading stopped in."""
        if "job" in after:
            self._jobs.give_up(after["job"])

    def lookup(self, query: SalesforceQuery, keys: Sequence[str]) -> Batch:
        """The records with these keys; keys that are not there are left out."""
        return lookup(self._org, query, keys)

    def children(self, query: SalesforceQuery, keys: Sequence[str]) -> Batch:
        """The rows whose key field names one of these records."""
        return children(self._org, query, keys)

    def check_query(self, query: SalesforceQuery) -> Iterator[Finding]:
        """What keeps the query from being read: objects, fields and lists that the integration user does not see."""
        self._wire.tokens.current()
        try:
            Reading.of(query, self._org)
        except Misconfigured as error:
            yield Finding("does-not-fit", "soql", str(error))

    def check_target(self, target: SalesforceTarget, given: Mapping[str, FieldType]) -> Iterator[Finding]:
        """What keeps the operation from writing: fields that are hidden, read-only, formulas, or of another type."""
        self._wire.tokens.current()
        try:
            info = self._org.object(target.object)
        except Misconfigured as error:
            yield Finding("does-not-fit", "object", str(error))
        else:
            yield from misfits(info, target, given)

    def check_texts(self, target: SalesforceTarget, texts: Texts) -> Iterator[Finding]:
        """What restricted pick lists refuse, those of record types among them."""
        self._wire.tokens.current()
        try:
            info = self._org.object(target.object)
        except Misconfigured:
            # What is wrong is said by `check_target`.
            return
        yield from unlisted(self._org, info, target, texts)

    def listen(self, topic: SalesforceTopic, after: Cursor | None, stopped: Callable[[], bool]) -> Iterator[Heard]:
        """What changes behind `after`, by the Pub/Sub API, but for what we wrote ourselves."""
        # Imported when it is needed: gRPC brings threads and memory that other connections do without.
        from fieldline_connectors.salesforce.pubsub import listen

        return listen(self._wire, topic, after, stopped, self._closed)

    def dedupe(self, target: SalesforceTarget) -> Dedupe:
        """NATIVE for updates by Id and upserts by a unique external id; QUERY for new records, which carry our mark."""
        return Dedupe.QUERY if target.operation == "create" else Dedupe.NATIVE

    def max_rows(self, target: SalesforceTarget) -> int:
        """The most rows that one call of this operation takes."""
        return _MAX_ROWS

    def write(self, slice: Slice) -> Receipts | Pending:
        """Writes what differs from what the org holds, by collections or by a bulk job."""
        return self._writer.write(slice)

    def receive(self, request: HookRequest) -> Delivery:
        """The records that an outbound message names, one event each; they are read back, so that no value is taken on trust."""
        return delivery(request, self.config.outbound_messages)

    def poll(self, slice: Slice, handle: Mapping[str, Any]) -> Receipts | Pending:
        """The receipts of a bulk job, or Pending again."""
        return self._writer.poll(slice, handle)
