"""A service at work: its `$metadata` kept for a while, and questions asked of it."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

from fieldline_connectors.odata.answers import Answer, Record, answer_of, document
from fieldline_connectors.odata.config import OdataConfig
from fieldline_connectors.odata.edmx import service
from fieldline_connectors.odata.literals import literal
from fieldline_connectors.odata.metadata import Property, Service
from fieldline_connectors.odata.wire import Wire
from fieldline_core.errors import Misconfigured, Unavailable

_FRESH_S = 3_600.0
_MOST_LINKS = 10_000
_ACCEPT = {
    True: {
        "accept": "application/json;odata.metadata=minimal;IEEE754Compatible=true",
        "odata-version": "4.0", "odata-maxversion": "4.0",
    },
    False: {"accept": "application/json", "dataserviceversion": "2.0", "maxdataserviceversion": "2.0"},
}  # fmt: skip


class Client:
    """Asks one service, in its own version of OData; may be used by several threads at once."""

    def __init__(self, config: OdataConfig) -> None:
        self.config = config
        self.wire = Wire(config)
        self.place = self.wire.place
        self._service: Service | None = None
        self._read_at = 0.0
        self._lock = threading.Lock()

    @property
    def service(self) -> Service:
        """What the service says of itself, at most an hour ago."""
        with self._lock:
            if self._service is None or time.monotonic() - self._read_at > _FRESH_S:
                self._service = self._read_metadata()
                self._read_at = time.monotonic()
            return self._service

    def renew(self) -> None:
        """Reads what the service says of itself now."""
        with self._lock:
            self._service = self._read_metadata()
            self._read_at = time.monotonic()

    @property
    def headers(self) -> dict[str, str]:
        """The headers of every question."""
        return dict(_ACCEPT[self.service.v4])

    @property
    def gateway(self) -> bool:
        """Whether SAP's gateway for V2 is set up to recognise repeated requests, which its `$metadata` does not say."""
        return self.config.request_ids and not self.service.v4

    def repeatable(self, entity_set: str) -> bool:
        """Whether the service recognises a repeated request to add a record."""
        return self.gateway or self.service.entity_set(entity_set).repeatable

    def ask(self, link: str, prefer: Sequence[str] = ()) -> Answer:
        """The answer behind a path or link of the service, with links that can be asked in turn."""
        url = self.wire.url(link)
        response = self.wire.get(link, {**self.headers, **({"prefer": ",".join(prefer)} if prefer else {})})
        return self.answer(response.content, response.headers, url)

    def answer(self, content: bytes, headers: Mapping[str, str], url: str) -> Answer:
        """The records of a body, its links made complete."""
        found = answer_of(document(content, headers.get("content-type", ""), self.place), self.place)
        more, delta = (self.wire.url(link, url) if link else None for link in (found.more, found.delta))
        if more == url:
            raise Unavailable(f"{self.place}: the link to the next page leads to the same page")
        return Answer(found.records, more, delta)

    def all(self, first: Answer) -> Iterator[Record]:
        """The records of an answer and of all that follow it."""
        found = first
        for _ in range(_MOST_LINKS):
            yield from found.records
            if not found.more:
                return
            found = self.ask(found.more)
        raise Unavailable(f"{self.place}: more than {_MOST_LINKS:,} pages follow each other")

    def literal(self, kind: Property, value: object) -> str:
        """A fitted value as it stands in a condition."""
        return literal(kind, value, self.config.timezone, self.service.v4)

    def predicate(self, keys: Sequence[Property], values: Sequence[object]) -> str:
        """The parentheses behind an entity set that name one record."""
        if len(keys) > 1:
            return self.named_predicate(keys, values)
        return f"({self._quoted(keys[0], values[0])})"

    def named_predicate(self, keys: Sequence[Property], values: Sequence[object]) -> str:
        """The same with the name of each property, as alternate keys are written."""
        return "(" + ",".join(f"{kind.name}={self._quoted(kind, value)}" for kind, value in zip(keys, values, strict=True)) + ")"

    def _quoted(self, kind: Property, value: object) -> str:
        return quote(self.literal(kind, value), safe="'")

    def _read_metadata(self) -> Service:
        found = service(self._document("$metadata"), self._document)
        wanted = {"auto": found.v4, "v4": True, "v2": False}[self.config.version]
        if wanted != found.v4 or (self.config.preset == "dynamics" and not found.v4):
            raise Misconfigured(f"{self.place}: $metadata is of OData V{4 if found.v4 else 2}: correct `version` or service_url")
        if not found.sets:
            raise Misconfigured(f"{self.place}: $metadata names no entity set that the user may see: check its roles")
        return found

    def _document(self, link: str) -> bytes:
        return self.wire.get(link, {"accept": "application/xml"}, max_bytes=self.config.metadata_max_bytes).content


def path(entity_set: str, options: Sequence[tuple[str, str]]) -> str:
    """An entity set with its query options, ready for an address."""
    return entity_set + "?" + "&".join(f"{name}={quote(value, safe=_KEPT)}" for name, value in options)


_KEPT = "$,()'/:;=*@!-._~"
