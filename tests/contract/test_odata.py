"""The OData connector keeps the contract, in V2 and V4, as SAP and as Dynamics 365 have it."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar

import polars as pl
import pytest
from tests.odata_language import Kind
from tests.odata_service import Shop, serving

from fieldline_connectors.odata import Odata, OdataConfig, OdataQuery, OdataTarget
from fieldline_connectors.testing import ConnectorContract, HookContract, Sign, TargetRows, sample_rows
from fieldline_core.batch import Batch
from fieldline_core.errors import Rejected
from fieldline_core.ports import HookRequest
from fieldline_core.secret import Secret

LOOPBACK = ({"host": "127.0.0.1", "network": "127.0.0.0/8"},)
INBOUND = {"accepts": "cloudevents", "user": "EVENTS", "password": Secret("of the event mesh")}
NOW = datetime(2026, 5, 4, tzinfo=UTC)
TYPES = {
    "note": "String", "amount": 'Decimal Precision="19" Scale="2"', "count": "Int64", "score": "Double", "open": "Boolean",
    "day": "Date", "at": 'DateTimeOffset Precision="7"', "mark": 'String MaxLength="64"',
}  # fmt: skip
FIELDS = {name: name for name in sample_rows().frame.columns}
BASIC = "Basic " + base64.b64encode(b"EVENTS:of the event mesh").decode()


def kinds() -> dict[str, Kind]:
    return {
        "Orders": Kind({"ID": 'String MaxLength="10"', "amount": 'Decimal Scale="2"', "day": "Date"}),
        "Answers": Kind({"ID": 'String MaxLength="20" Nullable="false"', **TYPES}, refusal=_refusal),
        "accounts": Kind({"accountid": "Guid", "ID": "String", **TYPES}, keys=("accountid",), refusal=_refusal, alternate="ID"),
        "Added": Kind({"number": "String", "ID": "String", **TYPES}, keys=("mark",), refusal=_refusal),
    }


def _refusal(row: dict[str, Any]) -> str:
    return f"score {row['score']} of {row.get('note')} is refused" if row.get("score") == 666.0 else ""


def connect(root: str, **settings: Any) -> Odata:
    login = {"flow": "basic", "user": "tech", "password": Secret("the password")}
    return Odata(OdataConfig.model_validate({"service_url": root, "login": login, "allow_private": LOOPBACK, **settings}))


class _OdataContract(ConnectorContract):
    connector_class = Odata
    signs_body = False
    signs_time = False
    version: ClassVar[int] = 4
    operation: ClassVar[str] = "upsert"
    settings: ClassVar[dict[str, Any]] = {"preset": "sap"}
    order: ClassVar[str] = "auto"

    @pytest.fixture
    def shop(self) -> Shop:
        shop = Shop(self.version, kinds())
        for name in ("d", "a", "c", "b", "é'", "f"):
            shop.put("Orders", ID=name, amount="1.50", day="2024-02-29")
        for name in ["bad", *sample_rows().keys] if self.operation == "update" else []:
            shop.put("Answers", ID=name, note="as it was before")
        return shop

    @pytest.fixture
    def connector(self, shop: Shop) -> Iterator[Odata]:
        with serving(shop) as root:
            connector = connect(root, inbound=INBOUND, **self.settings)
            yield connector
            connector.close()

    @pytest.fixture
    def unreachable(self) -> Odata:
        return connect("http://127.0.0.1:1/service", **self.settings)

    @pytest.fixture
    def query(self) -> OdataQuery:
        return OdataQuery(entity_set="Orders", order=self.order)

    @pytest.fixture
    def target(self) -> OdataTarget:
        return OdataTarget(operation=self.operation, entity_set="Answers", fields=FIELDS)

    @pytest.fixture
    def rows(self) -> Batch:
        found = sample_rows()
        # V2 counts milliseconds.
        whole = found.frame.with_columns(pl.col("at").dt.truncate("1ms"))
        return Batch(found.keys, whole)

    @pytest.fixture
    def bad_row(self, rows: Batch) -> Batch:
        return Batch.of(["bad"], rows.frame[:1].with_columns(score=pl.lit(666.0)))

    @pytest.fixture
    def target_rows(self, shop: Shop, target: OdataTarget, connector: Odata) -> TargetRows:
        name = target.entity_set
        return lambda: [(row["ID"], {each: row[each] for each in FIELDS}) for row in shop.rows[name].values()]

    @pytest.fixture
    def sign(self) -> Sign:
        return lambda body: HookRequest({"authorization": BASIC}, body, NOW)

    @pytest.fixture
    def body(self) -> bytes:
        return b'{"specversion": "1.0", "id": "1", "source": "/s4", "type": "partner.changed", "data": {"BusinessPartner": "4711"}}'


class TestV2(_OdataContract):
    version = 2


@pytest.mark.soak
class TestV2Update(_OdataContract):
    version = 2
    operation = "update"
    settings: ClassVar[dict[str, Any]] = {"preset": "sap", "changeset_rows": 10}


@pytest.mark.soak
class TestV2ByTheServersLinks(_OdataContract):
    version = 2
    order = "server"
    settings: ClassVar[dict[str, Any]] = {"preset": "sap", "batch": "none"}


class TestV4(_OdataContract):
    pass


@pytest.mark.soak
class TestV4Update(_OdataContract):
    operation = "update"
    settings: ClassVar[dict[str, Any]] = {"preset": "sap", "changeset_rows": 10}


class TestV4Json(_OdataContract):
    settings: ClassVar[dict[str, Any]] = {"preset": "sap", "batch": "json"}


@pytest.mark.soak
class TestV4Create(_OdataContract):
    operation = "create"

    @pytest.fixture
    def target(self) -> OdataTarget:
        return OdataTarget(operation="create", entity_set="Added", key="ID", fields=FIELDS, marker="mark")


class TestDynamics(_OdataContract):
    settings: ClassVar[dict[str, Any]] = {"preset": "dynamics", "page_rows": 3}

    @pytest.fixture
    def shop(self) -> Shop:
        shop = Shop(self.version, kinds())
        shop.csrf = False
        for number in range(6):
            shop.put("accounts", accountid=f"00000000-0000-0000-0000-00000000000{number}", ID=f"A{number}")
        return shop

    @pytest.fixture
    def query(self) -> OdataQuery:
        return OdataQuery(entity_set="accounts", fields=("ID", "amount"))

    @pytest.fixture
    def target(self) -> OdataTarget:
        return OdataTarget(operation="upsert", entity_set="accounts", key="ID", fields=FIELDS)


class TestIdocs(HookContract):
    connector_class = Odata
    signs_body = False
    signs_time = False

    @pytest.fixture
    def connector(self) -> Odata:
        inbound = {"accepts": "idoc", "tokens": (Secret("a token of sixteen characters"),)}
        return connect("https://s4.example/service", inbound=inbound)

    @pytest.fixture
    def sign(self) -> Sign:
        return lambda body: HookRequest({"authorization": "Bearer a token of sixteen characters"}, body, NOW)

    @pytest.fixture
    def body(self) -> bytes:
        return b"<ORDERS05><IDOC><EDI_DC40><MANDT>100</MANDT><DOCNUM>0000000000000471</DOCNUM></EDI_DC40></IDOC></ORDERS05>"

    def test_another_token_is_refused(self, connector: Odata, body: bytes) -> None:
        for shown in ("Bearer a token of sixteen characterS", "Bearer ", "Basic YTpi", ""):
            with pytest.raises(Rejected):
                connector.receive(HookRequest({"authorization": shown}, body, NOW))
