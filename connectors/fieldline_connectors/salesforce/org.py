"""The REST API of one org: simple-salesforce's requests, on our wire."""

import io
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote_plus

import requests
from requests.adapters import BaseAdapter

from fieldline_connectors.salesforce.describe import ObjectInfo, object_info
from fieldline_connectors.salesforce.errors import NOT_SEEN
from fieldline_connectors.salesforce.soql import quoted
from fieldline_connectors.salesforce.wire import Wire
from fieldline_core.errors import Misconfigured, Rejected, Unavailable

RETRIEVED_AT_ONCE = 2_000
WRITTEN_AT_ONCE = 200
_URL_CHARS = 12_000
_PASSED_ON = ("content-type", "sforce-query-options")
_PAGE = {"sforce-query-options": "batchSize=2000"}


class _WireAdapter(BaseAdapter):
    """Sends what `requests` was asked to send over the wire: its host and its token count for nothing, the wire knows better."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._wire = wire

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        """The answer, which is never an error: the wire raises those."""
        body = request.body or b""
        content = body.encode() if isinstance(body, str) else body
        assert isinstance(content, bytes)
        kept = {name: str(value) for name, value in request.headers.items() if name.lower() in _PASSED_ON}
        found = self._wire.request(str(request.method), request.path_url, kept, content)
        made = requests.Response()
        made.status_code, made.url, made.request = found.status_code, str(request.url), request
        made.headers.update(found.headers)
        made.raw, made.encoding = io.BytesIO(found.content), "utf-8"
        return made

    def close(self) -> None:
        """Does nothing: the wire is closed by its owner."""


class Org:
    """Asks one org; what it says of its objects is kept until something about it turns out to be wrong."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._objects: dict[str, ObjectInfo] = {}
        self._lock = threading.Lock()
        self._made: Any = None

    def ask(self, path: str, method: str = "GET", **options: Any) -> Any:
        """The JSON that a path below the API's version answers."""
        return self._rest().restful(path, method=method, **options)

    def object(self, name: str) -> ObjectInfo:
        """What the org says of an object; raises Misconfigured where this user sees none of that name."""
        with self._lock:
            known = self._objects.get(name.lower())
        if known is None:
            try:
                known = object_info(self.ask(f"sobjects/{name}/describe"))
            except Misconfigured as error:
                if "[NOT_FOUND]" not in str(error):
                    raise
                raise Misconfigured(f"{self.wire.place}: the object {name} {NOT_SEEN} and the permission set") from None
            with self._lock:
                self._objects[name.lower()] = known
        return known

    def choices(self, info: ObjectInfo, record_type: str) -> Mapping[str, tuple[str, ...]]:
        """The values of each pick list that a record type allows; none where the org does not tell them."""
        try:
            found = self.ask(f"ui-api/object-info/{info.name}/picklist-values/{record_type}")
        except (Misconfigured, Rejected):
            # Some objects, and some users, have no part in the API that tells.
            return {}
        lists = found.get("picklistFieldValues") or {}
        return {str(name): tuple(str(each["value"]) for each in told.get("values") or ()) for name, told in lists.items()}

    def objects(self) -> list[Mapping[str, Any]]:
        """Every object that this user sees, without its fields."""
        return list((self.ask("sobjects") or {}).get("sobjects") or ())

    def forget(self) -> None:
        """Asks the org anew what its objects are."""
        with self._lock:
            self._objects.clear()

    def count(self, soql: str) -> int:
        """How many records a SELECT COUNT() finds."""
        return int(self.ask("query", params={"q": soql})["totalSize"])

    def records(self, soql: str, *, deleted: bool = False) -> Iterator[tuple[list[dict[str, Any]], bool]]:
        """The records that a query finds, as they come, and whether more follow."""
        answer = self.ask("queryAll" if deleted else "query", params={"q": soql}, headers=_PAGE)
        while True:
            more = answer.get("nextRecordsUrl") if not answer.get("done", True) else None
            yield list(answer.get("records") or ()), more is not None
            if more is None:
                return
            answer = self.ask(_below_version(str(more)))

    def all_records(self, soql: str) -> list[dict[str, Any]]:
        """The records that a bounded query finds."""
        return [record for records, _ in self.records(soql) for record in records]

    def rest_of(self, rows: Mapping[str, Any]) -> list[dict[str, Any]]:
        """All rows of a subquery: those that came with the record, and those that have to be asked for."""
        found = list(rows.get("records") or ())
        while not rows.get("done", True) and rows.get("nextRecordsUrl"):
            rows = self.ask(_below_version(str(rows["nextRecordsUrl"])))
            found += rows.get("records") or ()
        return found

    def retrieve(self, name: str, ids: Sequence[str], fields: Sequence[str]) -> list[dict[str, Any] | None]:
        """The records with these Ids, in their order; None where this user sees none."""
        found: list[dict[str, Any] | None] = []
        for start in range(0, len(ids), RETRIEVED_AT_ONCE):
            asked = list(ids[start : start + RETRIEVED_AT_ONCE])
            answer = self.ask(f"composite/sobjects/{name}", "POST", json={"ids": asked, "fields": list(fields)}) or []
            if len(answer) != len(asked):
                raise Unavailable(f"{self.wire.place} answered {len(answer)} records for {len(asked)} Ids")
            found += answer
        return found

    def save(self, method: str, path: str, records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """What became of each of at most 200 records: some may be refused while others are saved."""
        answer = self.ask(path, method, json={"allOrNone": False, "records": list(records)}) or []
        if len(answer) != len(records):
            raise Unavailable(f"{self.wire.place} answered {len(answer)} results for {len(records)} records", sent=True)
        return list(answer)

    def _rest(self) -> Any:
        with self._lock:
            if self._made is None:
                # Imported when it is needed: it loads a SOAP client, which takes a second.
                from simple_salesforce.api import Salesforce

                session = requests.Session()
                session.trust_env = False
                session.mount("https://", _WireAdapter(self.wire))
                session.mount("http://", _WireAdapter(self.wire))
                version = self.wire.config.api_version
                # Instance and token are the wire's matter, so that neither a new token nor a moved org leaves this one behind.
                self._made = Salesforce(session_id="-", instance="org", session=session, version=version, object_pairs_hook=dict)
            return self._made


def key_conditions(field: str, literals: Sequence[str], base: int) -> Iterator[str]:
    """Conditions that together ask for all these values, none longer than an address may be; `base` characters are taken."""
    room, held, size = _URL_CHARS - base, list[str](), 0
    for literal in literals:
        length = len(quote_plus(literal)) + 3
        if held and size + length > room:
            yield f"{field} IN ({','.join(held)})"
            held, size = [], 0
        held.append(literal)
        size += length
    if held:
        yield f"{field} IN ({','.join(held)})"


def literal(value: str, *, text: bool) -> str:
    """A key as SOQL writes it."""
    return quoted(value) if text else value


def _below_version(url: str) -> str:
    """The part of a next page's address behind `/services/data/vNN.N/`."""
    return url.split("/", 4)[-1] if url.startswith("/services/data/") else url
