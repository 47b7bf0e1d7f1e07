"""The OData connector keeps the contract with the simulated SAP system, in V2 and V4, and in the ways of Dynamics 365."""

import base64
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

import polars as pl
import pytest

from fieldline_connectors.odata import Odata, OdataConfig, OdataQuery, OdataTarget
from fieldline_connectors.testing import ConnectorContract, HookContract, Sign, TargetRows, sample_rows
from fieldline_core.batch import Batch
from fieldline_core.errors import Rejected
from fieldline_core.ports import HookRequest
from fieldline_core.secret import Secret
from fieldline_simulators import sap
from fieldline_simulators.sap.writes import as_person

REACHABLE = tuple({"host": host, "network": "127.0.0.0/8"} for host in ("127.0.0.1", "localhost"))
INBOUND = {"accepts": "cloudevents", "user": "EVENTS", "password": Secret("of the event mesh")}
NOW = datetime(2026, 5, 4, tzinfo=UTC)
ANSWER = (
    sap.Property("note"), sap.Property("amount", "Decimal", precision=19, scale=2), sap.Property("count", "Int64"),
    sap.Property("score", "Double"), sap.Property("open", "Boolean"), sap.Property("day", "Date"),
    sap.Property("at", "DateTimeOffset", precision=7), sap.Property("mark", length=64),
)  # fmt: skip
FIELDS = {name: name for name in sample_rows().frame.columns}
BASIC = "Basic " + base64.b64encode(b"EVENTS:of the event mesh").decode()


def model() -> sap.Model:
    """Orders to read, and answers that are changed, added, or found by an alternate key."""
    order = (sap.Property("ID", length=10, nullable=False), sap.Property("amount", "Decimal", scale=2), sap.Property("day", "Date"))
    named, number = sap.Property("ID", length=20, nullable=False), sap.Property("number", "Guid", nullable=False)
    account = sap.Property("accountid", "Guid", nullable=False)
    return sap.Model((
        sap.EntitySet("Orders", order, ("ID",)),
        sap.EntitySet("Answers", (named, *ANSWER), ("ID",), refusal=_refusal),
        sap.EntitySet("accounts", (account, named, *ANSWER), ("accountid",), numbered="accountid", alternate=("ID",),
                      refusal=_refusal),
        sap.EntitySet("Added", (number, sap.Property("ID"), *ANSWER), ("number",), numbered="number", refusal=_refusal),
    ))  # fmt: skip


def _refusal(row: dict[str, Any]) -> str:
    return f"score {row['score']} of {row.get('note')} is refused" if row.get("score") == 666.0 else ""


def connect(root: str, **settings: Any) -> Odata:
    login = {"flow": "basic", "user": sap.USER, "password": Secret(sap.PASSWORD)}
    return Odata(OdataConfig.model_validate({"service_url": root, "login": login, "allow_private": REACHABLE, **settings}))


def stored(value: Any) -> Any:
    """A value of the system as the sample rows have it."""
    match value:
        case Decimal():
            return str(value)
        case date():
            return value.isoformat()
    return value


class _OdataContract(ConnectorContract):
    connector_class = Odata
    signs_body = False
    signs_time = False
    version: ClassVar[int] = 4
    operation: ClassVar[str] = "upsert"
    settings: ClassVar[dict[str, Any]] = {"preset": "sap", "sap_client": "100"}
    order: ClassVar[str] = "auto"

    @pytest.fixture
    def simulator(self) -> Iterator[sap.Simulator]:
        # Links of V2 name a host that nobody here can reach.
        with sap.running(sap.Options(model=model(), page_rows=3, link_host="https://internal.example:44300")) as simulator:
            self.fill(simulator.system.store, simulator.system.options.model.by_set)
            yield simulator

    def fill(self, store: Any, sets: Any) -> None:
        """Puts records there."""
        for name in ("d", "a", "c", "b", "é'", "f"):
            as_person(store, sets["Orders"], (name,), {"amount": Decimal("1.50"), "day": date(2024, 2, 29)})
        for name in ["bad", *sample_rows().keys] if self.operation == "update" else []:
            as_person(store, sets["Answers"], (name,), {"note": "as it was before"})

    @pytest.fixture
    def connector(self, simulator: sap.Simulator) -> Iterator[Odata]:
        connector = connect(simulator.v2_url if self.version == 2 else simulator.v4_url, inbound=INBOUND, **self.settings)
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
        # The system keeps milliseconds.
        whole = found.frame.with_columns(pl.col("at").dt.truncate("1ms"))
        return Batch(found.keys, whole)

    @pytest.fixture
    def bad_row(self, rows: Batch) -> Batch:
        return Batch.of(["bad"], rows.frame[:1].with_columns(score=pl.lit(666.0)))

    @pytest.fixture
    def target_rows(self, simulator: sap.Simulator, target: OdataTarget) -> TargetRows:
        store, kind = simulator.system.store, simulator.system.options.model.by_set[target.entity_set]
        return lambda: [(each.row["ID"], {name: stored(each.row[name]) for name in FIELDS}) for each in store.all(kind)]

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
    # The system asks for a token whatever the preset is.
    settings: ClassVar[dict[str, Any]] = {"preset": "dynamics", "page_rows": 3, "csrf": True}

    def fill(self, store: Any, sets: Any) -> None:
        for number in range(6):
            as_person(store, sets["accounts"], (UUID(int=number),), {"ID": f"A{number}"})

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
