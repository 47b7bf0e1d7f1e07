"""Sending IDocs to a port that accepts them and posts them later, or not at all."""

from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from typing import Any

import httpx
import polars as pl
import pytest
from tests.odata_connections import TASKS, Shop, connected, connection, filled, outcomes, with_property, with_sets

from fieldline_connectors.odata import Odata, OdataQuery, OdataTarget
from fieldline_core.batch import Batch
from fieldline_core.errors import FieldlineError, Misconfigured, Unavailable
from fieldline_core.ports import Dedupe, Polls, Slice
from fieldline_core.receipts import Outcome, Pending, Receipts
from fieldline_core.secret import Secret
from fieldline_simulators import sap
from fieldline_simulators.sap.idocs import IDOCS as CONTROLS
from fieldline_simulators.sap.idocs import set_status

WRITTEN, REFUSED, UNKNOWN = Outcome.WRITTEN, Outcome.REFUSED, Outcome.UNKNOWN
PORT = "POST /sap/bc/idoc_xml"
CONTROL = {"MESTYP": "ORDERS", "SNDPOR": "FIELDLINE", "SNDPRT": "LS", "SNDPRN": "FIELDLINE", "RCVPRT": "LS", "RCVPRN": "S4"}
IDOC = {
    "type": "ORDERS05", "control": CONTROL,
    "segments": [
        {"segment": "E1EDK01", "values": {"CURCY": "EUR"}},
        {"segment": "E1EDP01", "lengths": {"MENGE": 15}, "segments": [{"segment": "E1EDP20"}]},
    ],
}  # fmt: skip
TARGET = {"operation": "idoc", "idoc": IDOC, "key": "E1EDK01.BELNR", "fields": {"E1EDP20.WMENG": "amount"}}
IDOCS = "Z_IDocStatus"
STATUS = {"idocs": {"status": {"entity_set": IDOCS, "reference": "RefDocnum", "status": "Status", "asks": 3}}}


def sent(count: int, fence: int = 1, **more: Any) -> Slice:
    frame = pl.DataFrame({"E1EDP20.WMENG": [f"{n}.5" for n in range(count)]}, schema={"E1EDP20.WMENG": pl.String})
    batch = Batch.of([f"O{number}" for number in range(count)], frame)
    return Slice("a" * 64, fence, OdataTarget.model_validate(TARGET), batch, **more)


def number(position: int) -> str:
    """The number that SAP gives to an IDoc that comes as that one of all."""
    return str(4_711_000 + position).zfill(16)


def became(shop: Shop, *states: str) -> None:
    """What SAP does with the IDocs that it has."""
    for position, state in enumerate(states):
        set_status(shop.system.store, number(position), state)


def held(shop: Shop) -> list[str]:
    """The ARCKEYs of the IDocs that SAP has."""
    return shop.column("RefDocnum", IDOCS)


def marks(slice: Slice) -> list[str]:
    """The ARCKEY of each row."""
    return [sha256(f"{slice.effect_key}|{row}|{key}".encode()).hexdigest() for row, key in enumerate(slice.batch.keys)]


def written(connector: Odata, slice: Slice) -> Receipts:
    answer = connector.write(slice)
    assert isinstance(answer, Receipts)
    return answer


def test_accepted_is_not_posted_and_the_receipt_says_so() -> None:
    shop = filled(2, 0)
    with connected(shop, sap_client="100") as connector:
        receipts = written(connector, sent(2))
        assert connector.dedupe(sent(1).target) is Dedupe.NONE
    assert outcomes(receipts) == [WRITTEN, WRITTEN]
    assert "accepted the IDoc; whether it was posted is not known" in receipts[1].reason
    ((_, target, headers, body),) = shop.requests("POST")
    assert (target, headers["content-type"]) == ("/sap/bc/idoc_xml?sap-client=100", "application/xml; charset=utf-8")
    assert headers["authorization"].startswith("Basic ")
    assert body.startswith(b"<?xml version='1.0' encoding='utf-8'?>\n<ORDERS05><IDOC BEGIN=")
    control = {each.tag: each.text for each in shop.idocs[0][0]}
    assert len(control.pop("ARCKEY") or "") == 64
    assert control == {**CONTROL, "TABNAM": "EDI_DC40", "MANDT": "100", "DIRECT": "2", "IDOCTYP": "ORDERS05"}
    assert [idoc.findtext("E1EDK01/BELNR") for idoc in shop.idocs] == ["O0", "O1"]
    assert [idoc.findtext("E1EDP01/E1EDP20/WMENG") for idoc in shop.idocs] == ["0.5", "1.5"]
    # No $metadata and no token: a system without a gateway takes IDocs, too.
    assert shop.requests("GET") == shop.requests("HEAD") == []


def test_a_lost_answer_without_a_status_is_said_to_be_unknown_and_not_repeated() -> None:
    shop = filled(2, 0)
    with connected(shop) as connector:
        shop.lose(PORT)
        receipts = written(connector, sent(2))
    assert outcomes(receipts) == [UNKNOWN, UNKNOWN]
    assert "may or may not have arrived: look for its ARCKEY" in receipts[0].reason
    assert len(shop.idocs) == 2


def test_what_surely_was_not_sent_may_be_sent_again() -> None:
    shop = filled(2, 0)
    with connected(shop) as connector:
        shop.answers.append({"on": PORT, "status": 429, "headers": {"retry-after": "3"}})
        with pytest.raises(Unavailable) as caught:
            connector.write(sent(1))
        assert not caught.value.sent
    with connected(shop) as connector:
        assert outcomes(written(connector, sent(1, fence=2))) == [WRITTEN]


def test_a_status_is_asked_for_until_the_idoc_is_posted_or_not() -> None:
    shop = filled(2, 0)
    with connected(shop, **STATUS) as connector:
        slice = sent(3)
        assert connector.dedupe(slice.target) is Dedupe.QUERY
        assert isinstance(connector, Polls)
        first = connector.write(slice)
        assert isinstance(first, Pending)
        became(shop, "53", "51", "64")
        second = connector.poll(slice, first.handle)
        assert isinstance(second, Pending)
        assert second.poll_after_s == 10
        third = connector.poll(slice, second.handle)
        assert isinstance(third, Pending)
        last = connector.poll(slice, third.handle)
    assert isinstance(last, Receipts)
    assert outcomes(last) == [WRITTEN, REFUSED, UNKNOWN]
    assert last[0].reason == "SAP has posted the IDoc (status 53)"
    assert "did not post it (status 51)" in last[1].reason
    assert "has not posted it so far (status 64)" in last[2].reason


def test_a_repeat_finds_by_the_arckey_what_has_arrived_and_sends_the_rest() -> None:
    shop = filled(2, 0)
    with connected(shop, **STATUS) as connector:
        shop.lose(PORT)
        with pytest.raises(Unavailable) as caught:
            connector.write(sent(2))
        assert caught.value.sent
        shop.remove(IDOCS, number(1))
        became(shop, "53")
        # A newer decision has come in the meantime: what has arrived is still told as it is.
        assert isinstance(connector.write(sent(2, fence=2, overtaken=frozenset({0}))), Pending)
        assert held(shop) == marks(sent(2))
        became(shop, "53", "53")
        answer = connector.poll(sent(2, fence=3, overtaken=frozenset({0})), {"asked": 0, "refused": {}, "aside": []})
    assert isinstance(answer, Receipts)
    assert outcomes(answer) == [WRITTEN, WRITTEN]


def test_an_overtaken_row_is_not_sent() -> None:
    shop = filled(2, 0)
    with connected(shop) as connector:
        receipts = written(connector, sent(2, overtaken=frozenset({0})))
    assert outcomes(receipts) == [Outcome.SUPERSEDED, WRITTEN]
    assert [idoc.findtext("E1EDK01/BELNR") for idoc in shop.idocs] == ["O1"]


def test_only_what_was_set_aside_when_it_was_sent_is_told_as_overtaken() -> None:
    shop = filled(2, 0)
    with connected(shop, **STATUS) as connector:
        first = connector.write(sent(3, overtaken=frozenset({1})))
        assert isinstance(first, Pending)
        # The third one was overtaken as well, but after SAP had it: it does not show its status yet.
        shop.remove(IDOCS, number(1))
        became(shop, "53")
        last = connector.poll(sent(3, fence=2, overtaken=frozenset({1, 2})), {**first.handle, "asked": 9})
    assert isinstance(last, Receipts)
    assert outcomes(last) == [WRITTEN, Outcome.SUPERSEDED, UNKNOWN]


def test_without_a_status_each_idoc_is_a_slice_of_its_own() -> None:
    target = OdataTarget.model_validate(TARGET)
    # A replay of one that is unknown would send again those of its slice that were accepted.
    assert connection("https://s4.example/service").max_rows(target) == 1
    assert connection("https://s4.example/service", **STATUS).max_rows(target) == 50


def test_a_status_that_cannot_be_asked_for_is_a_question_that_sends_nothing() -> None:
    shop = filled(2, 0)
    with connected(shop, **STATUS) as connector:
        shop.answers.append({"on": "GET Z_IDocStatus", "status": 429, "headers": {"retry-after": "3"}})
        with pytest.raises(Unavailable) as caught:
            connector.write(sent(1, fence=2))
    assert (caught.value.sent, caught.value.retry_after) == (False, 3.0)


@pytest.mark.parametrize("settings", [{}, STATUS])
def test_an_idoc_that_was_refused_is_none_that_has_arrived(settings: dict[str, Any]) -> None:
    shop = filled(2, 0)
    with connected(shop, **settings) as connector:
        refused = {"on": PORT, "status": 400}
        shop.answers += [refused, {**refused}, {"on": PORT, "status": 429, "headers": {"retry-after": "7"}}]
        with pytest.raises(Unavailable) as caught:
            connector.write(sent(2))
    assert (caught.value.sent, caught.value.retry_after) == (False, 7.0)


def test_what_surely_was_not_sent_is_not_all_of_it_where_others_have_arrived() -> None:
    shop = filled(2, 0)
    with connected(shop, **STATUS) as connector:
        shop.put(IDOCS, Docnum="1", RefDocnum=marks(sent(2))[0], Status="53")
        shop.answers.append({"on": PORT, "status": 429})
        with pytest.raises(Unavailable) as caught:
            connector.write(sent(2, fence=2))
    assert caught.value.sent


@pytest.mark.parametrize(
    ("status", "error", "wait"), [(429, Unavailable, 3.0), (501, Unavailable, None), (403, Misconfigured, None)]
)
def test_an_error_behind_idocs_that_were_accepted_keeps_its_kind_and_wait(
    status: int, error: type[FieldlineError], wait: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fieldline_connectors.odata.idoc_out._MOST_BYTES", 1)
    shop = filled(2, 0)
    with connected(shop, **STATUS) as connector:
        shop.answers += [{"on": PORT, "status": 200}, {"on": PORT, "status": status, "headers": {"retry-after": "3"}}]
        with pytest.raises(error) as caught:
            connector.write(sent(2))
    assert (caught.value.sent, getattr(caught.value, "retry_after", None)) == (True, wait)


@pytest.mark.parametrize("arckey", [{"length": 40}, {"type": "Int32"}, {"type": "Guid"}])
def test_a_view_in_which_no_idoc_can_be_found_is_refused(arckey: dict[str, Any]) -> None:
    with connected(filled(2, 0, with_sets(with_property(CONTROLS, "RefDocnum", **arckey))), **STATUS) as connector:
        (found,) = connector.check_target(OdataTarget.model_validate(TARGET), {})
        assert "must be a text of 64 characters" in found.message
        with pytest.raises(Misconfigured, match="RefDocnum of Z_IDocStatus, by which an IDoc is found"):
            connector.write(sent(1, fence=2))


def test_a_refusal_repeats_no_value_of_the_record() -> None:
    shop = filled(2, 0)
    slice = replace(sent(1), batch=Batch.of(["Miller Ltd"], sent(1).batch.frame))
    with connected(shop) as connector:
        shop.answers.append({"on": PORT, "status": 400, "body": b"Customer Miller Ltd does not exist"})
        assert written(connector, slice)[0].reason == "SAP refused the IDoc: Customer … does not exist [400]"


def test_one_idoc_that_is_refused_does_not_stop_the_others() -> None:
    shop = filled(2, 0)
    bad = {"key": marks(sent(5))[3], "message": "IDoc-XML-inbound error: segment 4711", "page": True, "times": None}
    shop.system.faults.set([{"kind": "refuse", "entity": IDOCS, **bad}])
    with connected(shop) as connector:
        receipts = written(connector, sent(5))
    assert outcomes(receipts) == [WRITTEN, WRITTEN, WRITTEN, REFUSED, WRITTEN]
    assert receipts[3].reason == "SAP refused the IDoc: IDoc-XML-inbound error: segment … [400]"
    assert len(shop.idocs) == 4


@pytest.mark.parametrize(
    ("page", "kind", "error", "words"),
    [
        (b"<html><body><form><input type='password'></form></body></html>", "text/html", Misconfigured, "login page"),
        (b"<!DOCTYPE html><html><title>Something else</title></html>", "", Unavailable, "did not say that it accepted"),
        (b"\xef\xbb\xbf<HTML><input type=password>", "", Misconfigured, "login page"),
        (b"<?xml version='1.0'?>\n<!-- x --><html xmlns='x'><input type='password'/></html>", "", Misconfigured, "login page"),
        (b"Please log in", "application/xhtml+xml", Unavailable, "did not say that it accepted"),
    ],
)
def test_a_page_with_the_status_200_is_no_acceptance(page: bytes, kind: str, error: type[Exception], words: str) -> None:
    shop = filled(2, 0)
    with connected(shop, **STATUS) as connector:
        shop.answers.append({"on": PORT, "status": 200, "headers": {"content-type": kind}, "body": page})
        with pytest.raises(error, match=words):
            connector.write(sent(1))


def test_the_simulated_system_shows_what_became_of_an_idoc() -> None:
    status = {"entity_set": "Z_IDocStatus", "reference": "RefDocnum", "status": "Status"}
    login = {"flow": "basic", "user": sap.USER, "password": Secret(sap.PASSWORD)}
    controls = OdataQuery(entity_set="Z_IDocStatus", key=("RefDocnum",))
    slice = sent(2)
    with sap.running(sap.Options(partners=1, orders=1, hours=1)) as simulator:
        root = simulator.v4_url.replace("localhost", "127.0.0.1")
        with closing(connection(root, login=login, idocs={"status": status})) as connector:
            first = connector.write(slice)
            assert isinstance(first, Pending)
            number = connector.lookup(controls, marks(slice)[1:]).frame["Docnum"][0]
            httpx.put(f"{simulator.url}/_sim/idocs/{number}", json={"status": "51"}, trust_env=False).raise_for_status()
            # A repeat sends nothing: both are there.
            assert isinstance(connector.write(replace(slice, fence=2)), Pending)
            assert len(connector.lookup(controls, marks(slice))) == 2
            assert isinstance(connector.poll(slice, first.handle), Pending)
            last = connector.poll(slice, {**first.handle, "asked": 9})
    assert isinstance(last, Receipts)
    assert outcomes(last) == [UNKNOWN, REFUSED]


def test_what_a_repeat_may_do_is_said_before_anything_runs() -> None:
    target = OdataTarget.model_validate(TARGET)
    with connected(filled(2, 0)) as connector:
        (found,) = connector.check_target(target, {})
        assert (found.severity, "may send an IDoc twice" in found.message) == ("warning", True)
        with pytest.raises(Misconfigured, match="cannot be compared or put back"):
            connector.differing(target, sent(1).batch)
    with connected(filled(2, 0), **STATUS) as connector:
        assert list(connector.check_target(target, {})) == []
    with connected(filled(2, 0, (TASKS,)), **STATUS) as connector:
        assert [f"no entity set {IDOCS}" in each.message for each in connector.check_target(target, {})] == [True]
