"""The template of an IDoc: what may stand in it, and that no value of a record changes its shape."""

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fieldline_connectors.odata import OdataTarget
from fieldline_connectors.odata.idoc_template import Idoc, text_of
from fieldline_connectors.odata.literals import Unfit

CONTROL = {"MESTYP": "ORDERS", "SNDPOR": "FL", "SNDPRT": "LS", "SNDPRN": "FL", "RCVPRT": "LS", "RCVPRN": "S4"}
SEGMENTS: list[dict[str, Any]] = [
    {"segment": "E1EDKA1", "name": "buyer", "values": {"PARVW": "AG"}, "lengths": {"PARTN": 17}},
    {"segment": "E1EDKA1", "name": "shop", "values": {"PARVW": "WE"}, "segments": [{"segment": "/ACME/Z1TEXT"}]},
]


def idoc(**changes: Any) -> Idoc:
    return Idoc.model_validate({"type": "ORDERS05", "control": CONTROL, "segments": SEGMENTS, **changes})


def test_segments_stand_in_the_order_of_the_template_each_under_its_own_name() -> None:
    found = fromstring(idoc().xml("m" * 64, None, {"buyer.PARTN": "4711", "shop.PARTN": "4712", "Z1TEXT.LINE": "so"}))
    assert [each.tag for each in found] == ["EDI_DC40", "E1EDKA1", "E1EDKA1"]
    assert [(each.findtext("PARVW"), each.findtext("PARTN")) for each in found[1:]] == [("AG", "4711"), ("WE", "4712")]
    # The slashes of a namespace cannot stand in XML.
    assert found[2].findtext("_-ACME_-Z1TEXT/LINE") == "so"
    assert all(each.get("SEGMENT") == "1" for each in (*found, found[2][2]))


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=17))
def test_no_text_leaves_its_field(text: str) -> None:
    read = text_of("buyer.PARTN", text, "UTC")
    assert read == (text or None)
    template = idoc()
    message = fromstring(template.message([template.xml("m", None, {"buyer.PARTN": text})] * 2))
    assert message.tag == "ORDERS05"
    assert [len(each) for each in message] == [3, 3]
    assert (message[0].findtext("E1EDKA1/PARTN") or "") == text


@pytest.mark.parametrize("text", ["two\nlines", "\x00", "a\x1bb", "\ud800", "\uffff", "\x85"])
def test_a_control_character_is_refused_without_repeating_the_text(text: str) -> None:
    with pytest.raises(Unfit, match=r"the text for A1\.B holds a line break"):
        text_of("A1.B", text, "UTC")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-7, "0.0000001"), (12.5, "12.5"), (Decimal("1E+3"), "1000"), (7, "7"), (True, "X"), (False, ""), (None, None),
        ("", None),
        (date(2026, 5, 4), "20260504"), (time(10, 15), "101500"), (datetime(2026, 5, 4, 22, 30), "20260505003000"),  # noqa: DTZ001
    ],
)  # fmt: skip
def test_values_are_written_as_abap_has_them(value: Any, text: str | None) -> None:
    assert text_of("A1.B", value, "Europe/Berlin") == text


def test_what_is_too_long_is_refused_and_never_cut() -> None:
    with pytest.raises(Unfit, match=r"buyer\.PARTN is longer than its 17"):
        idoc().xml("m", None, {"buyer.PARTN": "x" * 18})
    with pytest.raises(Unfit, match="shop has more than 1,000"):
        idoc().xml("m", None, {"shop.NAME1": "x" * 600, "shop.NAME2": "x" * 600})
    with pytest.raises(Unfit, match="not a finite number"):
        text_of("A1.B", float("nan"), "UTC")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"control": {"MESTYP": "ORDERS"}}, "control lacks SNDPOR"),
        ({"control": {**CONTROL, "ARCKEY": "x"}}, "control takes no ARCKEY"),
        ({"control": {**CONTROL, "SNDPRN": "x" * 11}}, "at most 10 characters"),
        ({"control": {**CONTROL, "SNDLAD": "a\nb"}}, "no line break"),
        ({"segments": [{"segment": "E1EDKA1"}, {"segment": "E1EDKA1"}]}, "occurs twice"),
        ({"segments": [{"segment": "E1><x"}]}, "no name of an IDoc"),
        ({"segments": [{"segment": "A", "values": {"B": "x" * 2_000}}]}, "at most 1000"),
        (
            {"segments": [{"segment": "A", "segments": [{"segment": f"B{number}"} for number in range(200)]}]},
            "at most 200 segments",
        ),
        ({"type": "orders05"}, "no name of an IDoc"),
    ],
)
def test_a_template_that_cannot_work_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        idoc(**changes)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({"fields": {"nobody.PARTN": "f"}}, "nobody.PARTN is no free place"),
        ({"fields": {"buyer.PARVW": "f"}}, "buyer.PARVW is no free place"),
        ({"fields": {"buyer.partn": "f"}}, "buyer.partn is no free place"),
        ({"key": "PARTN"}, "PARTN is no free place"),
        ({"idoc": None}, "the operation idoc, which needs it"),
        ({"operation": "create"}, "belongs to the operation idoc"),
        ({"entity_set": "Orders"}, "but idoc, which has none"),
        ({"constants": {"buyer.NAME1": "x"}}, "leave out constants"),
        ({"operation": "update", "idoc": None}, "each operation needs it"),
    ],
)
def test_an_operation_that_does_not_fit_its_template_is_refused(target: dict[str, Any], words: str) -> None:
    whole = {"operation": "idoc", "idoc": {"type": "ORDERS05", "control": CONTROL, "segments": SEGMENTS},
             "fields": {"buyer.PARTN": "f"}, **target}  # fmt: skip
    with pytest.raises(ValidationError, match=words):
        OdataTarget.model_validate(whole)
