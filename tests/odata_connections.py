"""Connections to the test service, as the OData tests share them."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import polars as pl

from fieldline_connectors.odata import Odata, OdataConfig, OdataQuery, OdataTarget
from fieldline_core.batch import Batch
from fieldline_core.ports import Cursor, Page, Slice
from fieldline_core.receipts import Outcome, Receipts
from fieldline_core.secret import Secret
from tests.odata_language import Kind
from tests.odata_service import Shop, serving

LOOPBACK = ({"host": "127.0.0.1", "network": "127.0.0.0/8"},)


def refusal(row: dict[str, Any]) -> str:
    """Why the test service refuses a row: a score of 666."""
    return f"The score {row['score']} of '{row.get('name')}' is not allowed" if row.get("score") == 666.0 else ""


def kinds(**flags: str) -> dict[str, Kind]:
    """Partners with a score and a time of change, their items, and tasks that are added."""
    partner = {
        "ID": 'String MaxLength="20" Nullable="false"', "name": "String", "score": "Double", "limit": 'Decimal Scale="2"',
        "changed": "DateTimeOffset", "day": "Date",
    }  # fmt: skip
    return {
        "Partners": Kind(partner, lists={"items": ("Items", "partner", "ID")}, refusal=refusal, flags=flags),
        "Items": Kind({"partner": "String", "number": "Int32", "quantity": 'Decimal Scale="3"'}, keys=("partner", "number")),
        "Tasks": Kind({"mark": 'String MaxLength="64"', "partner": "String", "score": "Double"}, keys=("mark",), refusal=refusal),
    }


@contextmanager
def connected(shop: Shop, **settings: Any) -> Iterator[Odata]:
    """A connection to the service."""
    with serving(shop) as root, closing(connection(root, **settings)) as connector:
        yield connector


def connection(root: str, **settings: Any) -> Odata:
    """A connection to a service at that root."""
    login = {"flow": "basic", "user": "tech", "password": Secret("the password")}
    document = {"service_url": root, "preset": "sap", "login": login, "allow_private": LOOPBACK, **settings}
    return Odata(OdataConfig.model_validate(document))


def filled(version: int, count: int, **settings: Any) -> Shop:
    """A service with so many partners P00, P01 …"""
    shop = Shop(version, settings.pop("kinds", kinds()), **settings)
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
