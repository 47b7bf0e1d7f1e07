"""The connector against SAP's own CAP server, which shares no code with it, in OData V2 and V4."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import polars as pl
import pytest
from tests.interop.cap import Cap, running

from fieldline_connectors.odata import Odata, OdataQuery, OdataTarget
from fieldline_connectors.testing import ConnectorContract, TargetRows, sample_rows
from fieldline_core.batch import Batch
from fieldline_core.ports import Slice
from fieldline_core.receipts import Outcome

pytestmark = pytest.mark.interop
VERSIONS = ("v2", "v4")
NAMES = {"note": "name", "amount": "credit", "count": "visits", "day": "since", "at": "met"}


@pytest.fixture(scope="module")
def cap() -> Iterator[Cap]:
    with running() as server:
        yield server


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def odata(cap: Cap, version: str) -> Iterator[Odata]:
    connector = cap.connector(version)
    yield connector
    connector.close()


def partners(count: int) -> list[dict[str, Any]]:
    return [{"ID": f"P{i:05}", "name": f"Partner {i}", "credit": f"{i}.25", "score": i / 4} for i in range(count)]


def slice_of(target: OdataTarget, batch: Batch, before: pl.DataFrame | None = None, fence: int = 1) -> Slice:
    return Slice("c" * 64, fence, target, batch, before)


class _ShopContract(ConnectorContract):
    connector_class = Odata
    signs_body = False
    signs_time = False
    version = ""
    operation = "upsert"

    @pytest.fixture
    def connector(self, cap: Cap) -> Iterator[Odata]:
        cap.fill(Orders=[{"ID": each, "amount": "1.50", "partner_ID": "x"} for each in "dacbé"], Partners=self.there())
        connector = cap.connector(self.version)
        yield connector
        connector.close()

    def there(self) -> list[dict[str, Any]]:
        keys = ["bad", *sample_rows().keys] if self.operation == "update" else []
        return [{"ID": key, "name": "as it was before"} for key in keys]

    @pytest.fixture
    def unreachable(self) -> Odata:
        return Cap("http://127.0.0.1:1").connector(self.version)

    @pytest.fixture
    def query(self) -> OdataQuery:
        return OdataQuery(entity_set="Orders")

    @pytest.fixture
    def target(self, rows: Batch) -> OdataTarget:
        return OdataTarget(operation=self.operation, entity_set="Partners", fields={name: name for name in rows.frame.columns})

    @pytest.fixture
    def rows(self) -> Batch:
        found = sample_rows()
        # CAP keeps 15 digits of a decimal in SQLite, and three of a second.
        moment = pl.col("met").dt.truncate("1ms")
        credit = pl.col("credit").replace("98765432101234567.89", "9876543210123.45")
        return Batch(found.keys, found.frame.rename(NAMES).with_columns(moment, credit, planned=pl.lit("1.500")))

    @pytest.fixture
    def bad_row(self, rows: Batch) -> Batch:
        return Batch.of(["bad"], rows.frame[:1].with_columns(planned=pl.lit("2000000.000")))

    @pytest.fixture
    def target_rows(self, cap: Cap, connector: Odata) -> TargetRows:
        def ask() -> list[tuple[str, dict[str, Any]]]:
            rows = cap.rows("Partners")
            return [(row["ID"], {name: row[name] for name in row if name[0] != "@" and name != "changed"}) for row in rows]

        return ask

    @pytest.fixture
    def sign(self) -> None:
        pytest.skip("what is received has nothing to do with CAP")


class TestV2(_ShopContract):
    version = "v2"


class TestV4(_ShopContract):
    version = "v4"


class TestV2Update(_ShopContract):
    version = "v2"
    operation = "update"


class TestV4Update(_ShopContract):
    version = "v4"
    operation = "update"


def test_pages_of_the_server_are_read_to_their_end(cap: Cap, odata: Odata) -> None:
    cap.fill(Partners=partners(3_000))
    for order in ("key", "server"):
        pages = list(odata.read(OdataQuery(entity_set="Partners", order=order), None, 1_700))
        keys = [key for page in pages for key in page.batch.keys]
        assert keys == [f"P{i:05}" for i in range(3_000)]
        assert pages[0].batch.frame["credit"][7] == "7.25"


def test_child_rows_and_the_record_above_are_expanded(cap: Cap, odata: Odata) -> None:
    items = [{"parent_ID": "O1", "position": i, "material": f"M{i}", "quantity": "2.500"} for i in (1, 2)]
    cap.fill(Partners=partners(2), Orders=[{"ID": "O1", "partner_ID": "P00001", "amount": "5.00"}, {"ID": "O2"}], Items=items)
    query = OdataQuery(entity_set="Orders", fields=("amount", "partner.name"), expand={"items": ("material", "quantity")})
    frame = odata.lookup(query, ["O1", "O2"]).frame.sort("amount", nulls_last=True)
    assert frame["partner.name"].to_list() == ["Partner 1", None]
    rows = sorted(frame["items"].to_list()[0], key=lambda row: str(row["material"]))
    assert rows == [{"material": "M1", "quantity": "2.500"}, {"material": "M2", "quantity": "2.500"}]


def test_rows_that_belong_to_records_are_found_by_a_foreign_key_and_by_a_key_of_two_parts(cap: Cap, odata: Odata) -> None:
    cap.fill(Items=[{"parent_ID": f"O{i % 2}", "position": i, "material": f"M{i}"} for i in range(4)])
    found = odata.children(OdataQuery(entity_set="Items", key=("parent_ID",), fields=("material",)), ["O1", "O7"])
    assert sorted(zip(found.keys, found.frame["material"], strict=True)) == [("O1", "M1"), ("O1", "M3")]
    assert odata.lookup(OdataQuery(entity_set="Items"), ['["O1", "3"]', '["O1", "9"]']).keys.to_list() == ['["O1", "3"]']


def test_a_record_that_a_person_changed_is_left_alone(cap: Cap, odata: Odata) -> None:
    cap.fill(Partners=partners(3))
    target = OdataTarget(entity_set="Partners", fields={"score": "score"})
    batch = Batch.of([f"P{i:05}" for i in range(3)], pl.DataFrame({"score": [9.0, 9.0, 9.0]}))
    receipts = odata.write(slice_of(target, batch, pl.DataFrame({"score": [0.0, 17.0, 0.5]})))
    outcomes = [receipts[row].outcome for row in range(3)]
    assert outcomes == [Outcome.WRITTEN, Outcome.CHANGED_BY_PERSON, Outcome.WRITTEN]
    assert [row["score"] for row in cap.rows("Partners")] == [9, 0.25, 9]


@pytest.mark.parametrize(("size", "batch"), [(1, "multipart"), (10, "multipart"), (50, "multipart"), (10, "json"), (1, "none")])
def test_the_bad_rows_of_a_changeset_are_found_and_the_others_written(cap: Cap, version: str, size: int, batch: str) -> None:
    cap.fill(Partners=partners(50))
    bad = {3, 17, 18, 49}
    planned = [2_000_000.0 if i in bad else float(i + 1) for i in range(50)]
    target = OdataTarget(entity_set="Partners", fields={"planned": "planned"})
    with closing(cap.connector(version, changeset_rows=size, batch=batch)) as odata:
        receipts = odata.write(slice_of(target, Batch.of([f"P{i:05}" for i in range(50)], pl.DataFrame({"planned": planned}))))
    assert {row for row in range(50) if receipts[row].outcome is Outcome.REFUSED} == bad
    assert receipts.count(Outcome.WRITTEN) == 46
    held = {row["ID"]: row["planned"] for row in cap.rows("Partners")}
    assert [held[f"P{i:05}"] is None for i in range(50)] == [i in bad for i in range(50)]


def test_what_is_there_is_discovered(cap: Cap, odata: Odata) -> None:
    cap.fill(Partners=partners(2))
    found = odata.discover().entity("Partners")
    assert found is not None
    fields = {field.name: field for field in found.fields}
    assert fields["ID"].key
    assert fields["credit"].type == "decimal"
    assert fields["since"].type == "date"
    assert fields["orders"].type == "list"
    assert fields["credit"].samples == ("0.25", "1.25")
