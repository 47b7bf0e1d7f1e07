"""The OData connector on the simulated SAP system as it comes: deltas, faults, sessions that end, logins."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import polars as pl
import pytest

from fieldline_connectors.odata import Odata, OdataConfig, OdataQuery, OdataTarget
from fieldline_core.batch import Batch, key_text
from fieldline_core.errors import Unavailable
from fieldline_core.ports import Slice
from fieldline_core.receipts import Outcome, Pending, Receipts
from fieldline_core.secret import Secret
from fieldline_simulators import sap
from fieldline_simulators.sap.writes import as_person

HOURS = "Z_MaterialPlanningHour"
LOCAL = ({"host": "localhost", "network": "127.0.0.0/8"},)
TARGET = OdataTarget(entity_set=HOURS, fields={"PlannedDemandQuantity": "quantity", "DemandLevel": "level"})


@pytest.fixture
def simulator() -> Iterator[sap.Simulator]:
    with sap.running(sap.Options(partners=8, orders=12, hours=24, page_rows=5, link_host="https://internal.example")) as simulator:
        yield simulator


@pytest.fixture(params=[2, 4])
def odata(simulator: sap.Simulator, request: pytest.FixtureRequest) -> Iterator[Odata]:
    with closing(connected(simulator, request.param)) as connector:
        yield connector


def connected(simulator: sap.Simulator, version: int, **settings: Any) -> Odata:
    login = {
        "flow": "client_credentials", "token_url": f"{simulator.url}/sap/bc/sec/oauth2/token", "client_id": sap.CLIENT_ID,
        "client_secret": Secret(sap.CLIENT_SECRET),
    }  # fmt: skip
    root = simulator.v2_url if version == 2 else simulator.v4_url
    document = {"service_url": root, "preset": "sap", "sap_client": "100", "login": login, "allow_private": LOCAL, **settings}
    return Odata(OdataConfig.model_validate(document))


def forecast(count: int, fence: int = 1) -> Slice:
    """A forecast for the first hours of the first day."""
    frame = pl.DataFrame({"PlannedDemandQuantity": [hour + 0.5 for hour in range(count)], "DemandLevel": ["low"] * count})
    return Slice("e" * 64, fence, TARGET, Batch.of([key_text(["RENTAL-BIKE", "1", str(hour)]) for hour in range(count)], frame))


def outcomes(receipts: Receipts | Pending) -> list[Outcome]:
    assert isinstance(receipts, Receipts)
    return [receipts[row].outcome for row in range(receipts.rows)]


def forecasts(simulator: sap.Simulator) -> list[str]:
    kind = sap.MODEL.by_set[HOURS]
    return [str(each.row["PlannedDemandQuantity"]) for each in simulator.system.store.all(kind) if each.row["DemandLevel"]]


def test_only_what_changed_since_the_last_reading_is_read_again(simulator: sap.Simulator, odata: Odata) -> None:
    query = OdataQuery(entity_set="A_SalesOrder", track_changes=True, fields=("SalesOrder", "OverallSDProcessStatus"))
    first = list(odata.read(query, None, 4))
    assert sum(len(page.batch) for page in first) == 12
    store, orders = simulator.system.store, sap.MODEL.by_set["A_SalesOrder"]
    as_person(store, orders, ("0000000007",), {"OverallSDProcessStatus": "C"})
    with store.atomic():
        store.remove(orders, ("0000000008",))
    second = list(odata.read(query, first[-1].after, 4))
    assert [key for page in second for key in page.batch.keys] == ["0000000007"]
    assert sum(len(page.batch) for page in odata.read(query, second[-1].after, 4)) == 0


def test_child_records_are_read_as_lists_and_found_by_key(odata: Odata) -> None:
    query = OdataQuery(entity_set="A_SalesOrder", expand={"to_Item": ("SalesOrderItem", "NetAmount")}, filter="TotalNetAmount gt 0")
    batches = [page.batch for page in odata.read(query, None, 100)]
    items = [row for batch in batches for rows in batch.frame["to_Item"] for row in rows]
    assert sum(len(batch) for batch in batches) == 12
    assert {"SalesOrderItem", "NetAmount"} == set(items[0])


def test_a_session_that_ends_under_way_is_renewed_and_every_row_is_written(simulator: sap.Simulator, odata: Odata) -> None:
    assert outcomes(odata.write(forecast(3))) == [Outcome.WRITTEN] * 3
    httpx.delete(f"{simulator.url}/_sim/sessions", trust_env=False).raise_for_status()
    assert outcomes(odata.write(forecast(6))) == [Outcome.UNCHANGED] * 3 + [Outcome.WRITTEN] * 3
    assert forecasts(simulator) == [f"{hour}.500" for hour in range(6)]


def test_a_record_that_somebody_changed_meanwhile_is_decided_again(simulator: sap.Simulator, odata: Odata) -> None:
    simulator.system.faults.set([{"kind": "stale", "entity": HOURS, "key": "*hr=2"}])
    assert outcomes(odata.write(forecast(4))) == [Outcome.WRITTEN] * 4
    assert simulator.system.faults.all[0].struck == 1


@pytest.mark.parametrize("rows", [1, 10])
def test_of_a_batch_that_fails_in_half_the_other_half_is_written(simulator: sap.Simulator, rows: int) -> None:
    simulator.system.faults.set([{"kind": "refuse", "entity": HOURS, "key": f"*hr={hour}", "times": None} for hour in (1, 4)])
    with closing(connected(simulator, 2, changeset_rows=rows)) as odata:
        found = outcomes(odata.write(forecast(6)))
    assert [position for position, outcome in enumerate(found) if outcome is not Outcome.WRITTEN] == [1, 4]
    assert forecasts(simulator) == ["0.500", "2.500", "3.500", "5.500"]


def test_a_lost_answer_is_looked_up_and_nothing_is_written_twice(simulator: sap.Simulator, odata: Odata) -> None:
    # The reading before the write is the first batch.
    simulator.system.faults.set([{"kind": "drop", "path": "*$batch", "after_commit": True, "nth": 2}])
    with pytest.raises(Unavailable) as lost:
        odata.write(forecast(4))
    assert lost.value.sent
    versions = simulator.system.store.position
    assert set(outcomes(odata.write(forecast(4, fence=2)))) <= {Outcome.WRITTEN, Outcome.UNCHANGED}
    assert simulator.system.store.position == versions


def test_a_service_that_asks_to_wait_is_heard(simulator: sap.Simulator, odata: Odata) -> None:
    simulator.system.faults.set([{"kind": "status", "status": 429, "retry_after": 17, "entity": "A_Product", "page": True}])
    with pytest.raises(Unavailable) as throttled:
        list(odata.read(OdataQuery(entity_set="A_Product"), None, 10))
    assert throttled.value.retry_after == 17
