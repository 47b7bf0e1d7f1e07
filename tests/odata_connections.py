"""Connections to the simulated SAP system, as the OData tests share them: small sets, and what was asked of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from threading import Thread
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import polars as pl

from fieldline_connectors.odata import Odata, OdataConfig, OdataQuery, OdataTarget
from fieldline_core.batch import Batch
from fieldline_core.ports import Cursor, Page, Slice
from fieldline_core.receipts import Outcome, Receipts
from fieldline_core.secret import Secret
from fieldline_simulators import sap
from fieldline_simulators.sap.idocs import IDOCS, PATHS
from fieldline_simulators.sap.values import taken
from fieldline_simulators.sap.writes import as_person, as_text
from fieldline_simulators.serving import Reply

LOOPBACK = tuple({"host": host, "network": "127.0.0.0/8"} for host in ("127.0.0.1", "localhost"))
Request = tuple[str, str, Mapping[str, str], bytes]
"""Method, what stands behind the root of the service, headers and body."""


class Shop:
    """A system with some sets of records; `answers` are given instead of its own to requests that begin as `on` says."""

    def __init__(self, version: int, sets: Sequence[sap.EntitySet], page: int = 3, **options: Any) -> None:
        self.version = version
        self.root = sap.V2_ROOT if version == 2 else sap.V4_ROOT
        self.system = sap.open_system(sap.Options(model=sap.Model(tuple(sets)), page_rows=page, **options))
        self.seen: list[Request] = []
        self.idocs: list[Element] = []
        self.answers: list[dict[str, Any]] = []
        self.meddle: Callable[[], object] = lambda: None
        """What somebody else does before each request that changes something."""

    @property
    def sets(self) -> Mapping[str, sap.EntitySet]:
        """The sets by name."""
        return self.system.options.model.by_set

    def put(self, name: str, /, **row: Any) -> None:
        """Puts a row there, as a person would; its values are those of V4."""
        kind = self.sets[name]
        with self.system.store.lock:
            values = {each: taken(kind.by_name[each], value, v4=True) for each, value in row.items()}
            as_person(self.system.store, kind, tuple(values[each] for each in kind.keys), values)

    def remove(self, name: str, key: str) -> None:
        """Deletes a row, as a person would."""
        with self.system.store.atomic():
            self.system.store.remove(self.sets[name], (key,))

    def rows(self, name: str) -> dict[str, dict[str, Any]]:
        """What a set holds, by the parts of the key with a bar between them; values as in V4."""
        with self.system.store.lock:
            kind = self.sets[name]
            return {"|".join(map(str, kind.key_of(each.row))): as_text(kind, each.row) for each in self.system.store.all(kind)}

    def column(self, name: str, of: str = "Partners") -> list[Any]:
        """The values of one property."""
        return [row[name] for row in self.rows(of).values()]

    def versions(self, name: str = "Partners") -> list[int]:
        """How often each record of a set was written."""
        with self.system.store.lock:
            return [each.version for each in self.system.store.all(self.sets[name])]

    def requests(self, method: str = "", path: str = "") -> list[Request]:
        """The requests that came with this method for a path that begins so."""
        return [each for each in self.seen if each[0].startswith(method) and each[1].startswith(path)]

    def lose(self, on: str, count: int = 1) -> None:
        """Has the answer to such a request be lost, after the work is done."""
        self.answers += [{"on": on, "lost": True}] * count

    def reply(self, work: Callable[[], Reply], request: Request) -> Reply:
        """What a request gets."""
        method, target, _, body = request
        self.seen.append(request)
        instead = next((each for each in self.answers if f"{method} {target}".startswith(each["on"])), None)
        if instead:
            self.answers.remove(instead)
            if "status" in instead:
                return Reply(instead["status"], instead.get("body", b""), instead.get("headers", {}))
        if method not in ("GET", "HEAD"):
            self.meddle()
        made = work()
        if target.startswith(PATHS) and made.status == 200:
            self.idocs += list(fromstring(body))
        return Reply(cut="drop") if instead else made


class _Service(sap.Simulator):
    def __init__(self, shop: Shop) -> None:
        super().__init__(shop.system)
        self._shop = shop

    def reply(self, method: str, target: str, headers: Mapping[str, str], body: bytes, origin: str) -> Reply:
        """What the shop says of it."""
        request = (method, target.removeprefix(self._shop.root), headers, body)
        return self._shop.reply(lambda: super(_Service, self).reply(method, target, headers, body, origin), request)


@contextmanager
def serving(shop: Shop) -> Iterator[str]:
    """The service on a free port; its root."""
    with _Service(shop) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"{server.url}{shop.root.rstrip('/')}"
        finally:
            server.shutdown()
            thread.join()


def refusal(row: dict[str, Any]) -> str:
    """Why the service refuses a row: a score of 666."""
    return f"The score {row['score']} of '{row.get('name')}' is not allowed" if row.get("score") == 666.0 else ""


PARTNERS = sap.EntitySet(
    "Partners",
    (
        sap.Property("ID", length=20, nullable=False), sap.Property("name"), sap.Property("score", "Double"),
        sap.Property("limit", "Decimal", precision=19, scale=2), sap.Property("changed", "DateTimeOffset"),
        sap.Property("day", "Date"),
    ),
    ("ID",), refusal=refusal, tracked=True, navigations=(sap.Navigation("items", "Items", (("ID", "partner"),)),),
)  # fmt: skip
"""Partners with a score and a time of change."""
ITEMS = sap.EntitySet(
    "Items",
    (
        sap.Property("partner", nullable=False), sap.Property("number", "Int32", nullable=False),
        sap.Property("quantity", "Decimal", precision=15, scale=3),
    ),
    ("partner", "number"),
)  # fmt: skip
"""Their items."""
TASKS = sap.EntitySet(
    "Tasks",
    (
        sap.Property("number", "Guid", nullable=False), sap.Property("mark", length=64), sap.Property("partner"),
        sap.Property("score", "Double"), sap.Property("title"),
    ),
    ("number",), numbered="number", refusal=refusal,
)  # fmt: skip
"""Tasks that are added, each with a number of its own."""
ENTITY_SETS = (PARTNERS, ITEMS, TASKS, IDOCS)


def with_sets(*others: sap.EntitySet) -> tuple[sap.EntitySet, ...]:
    """The sets with these in the place of those of the same names, or beside them."""
    named = {each.name: each for each in (*ENTITY_SETS, *others)}
    return tuple(named.values())


def with_property(entity_set: sap.EntitySet, name: str, **changes: Any) -> sap.EntitySet:
    """The set, where one property is otherwise."""
    properties = tuple(replace(each, **changes) if each.name == name else each for each in entity_set.properties)
    return replace(entity_set, properties=properties)


@contextmanager
def connected(shop: Shop, **settings: Any) -> Iterator[Odata]:
    """A connection to the service."""
    with serving(shop) as root, closing(connection(root, **settings)) as connector:
        yield connector


def connection(root: str, **settings: Any) -> Odata:
    """A connection to a service at that root."""
    login = {"flow": "basic", "user": sap.USER, "password": Secret(sap.PASSWORD)}
    document = {"service_url": root, "preset": "sap", "login": login, "allow_private": LOOPBACK, **settings}
    return Odata(OdataConfig.model_validate(document))


def filled(version: int, count: int, sets: Sequence[sap.EntitySet] = ENTITY_SETS, **options: Any) -> Shop:
    """A service with so many partners P00, P01 …"""
    shop = Shop(version, sets, **options)
    for number in range(count):
        shop.put("Partners", ID=f"P{number:02}", name=f"Partner {number}", score=float(number), limit=f"{number}.50",
                 changed=f"2024-05-01T00:{number:02}:00Z", day="2024-02-29")  # fmt: skip
    return shop


def read(connector: Odata, query: OdataQuery, limit: int = 100, after: Cursor | None = None) -> list[Page]:
    """All pages behind a cursor."""
    return list(connector.read(query, after, limit))


def keys(pages: list[Page]) -> list[str]:
    """The keys of all pages, in their order."""
    return [key for page in pages for key in page.batch.keys]


def scores(values: dict[str, float], *, before: list[float] | None = None, fence: int = 1, **target: Any) -> Slice:
    """A slice that writes these scores to the partners of these keys."""
    operation = OdataTarget.model_validate({"entity_set": "Partners", "fields": {"score": "score"}, **target})
    frame = pl.DataFrame({"score": list(values.values())}, schema={"score": pl.Float64})
    known = None if before is None else pl.DataFrame({"score": before}, schema={"score": pl.Float64})
    return Slice("e" * 64, fence, operation, Batch.of(list(values), frame), known)


def outcomes(receipts: Receipts) -> list[Outcome]:
    """The outcome of each row."""
    return [receipts[row].outcome for row in range(receipts.rows)]
