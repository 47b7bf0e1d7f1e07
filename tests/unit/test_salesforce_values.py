"""Values are sent as their fields take them, and compared as Salesforce stores them."""

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pytest

from fieldline_connectors.salesforce.bulk_csv import NULL
from fieldline_connectors.salesforce.describe import FieldInfo, object_info
from fieldline_connectors.salesforce.values import Unfit, cell, same, sent
from fieldline_core.errors import Misconfigured

AT = datetime.fromisoformat("2026-02-03T04:05:06")


def field(kind: str, **more: Any) -> FieldInfo:
    return object_info({"name": "Lead", "fields": [{"name": "F__c", "type": kind, **more}]}).fields["f__c"]


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (None, "string", None), ("", "string", None), (None, "boolean", False), ("Zoë", "string", "Zoë"),
        (0.25, "double", 0.25), (3, "double", 3), (3.0, "int", 3),
        ("12.50", "currency", "12.50"), (Decimal("1.10"), "double", "1.10"),
        (True, "boolean", True), (0.5, "string", "0.5"), (True, "string", "true"), (date(2026, 2, 3), "date", "2026-02-03"),
        (AT.replace(microsecond=789000), "datetime", "2026-02-03T04:05:06.789Z"), (time(7, 8), "time", "07:08:00.000Z"),
    ],
)  # fmt: skip
def test_a_value_is_sent_as_its_field_takes_it(value: Any, kind: str, expected: Any) -> None:
    assert sent(value, field(kind)) == expected


@pytest.mark.parametrize(
    ("value", "kind", "more"),
    [
        (float("nan"), "double", {}), (float("inf"), "double", {}), ("abc", "double", {}), (True, "double", {}),
        (1.5, "int", {}), ("too long", "string", {"length": 3}),
    ],
)  # fmt: skip
def test_what_a_field_cannot_take_is_refused_without_the_value(value: Any, kind: str, more: dict[str, int]) -> None:
    with pytest.raises(Unfit, match="F__c") as caught:
        sent(value, field(kind, **more))
    assert str(value) not in str(caught.value).replace("too long for", "")


def test_a_list_is_a_mistake_of_the_mapping() -> None:
    with pytest.raises(Misconfigured, match="list"):
        sent([1], field("string"))


@pytest.mark.parametrize(
    ("left", "right", "kind", "more"),
    [
        (0.87, 0.8712, "percent", {"scale": 2}), (5, "5.0", "double", {}), (None, "", "string", {}),
        ("a\r\nb ", "a\nb", "textarea", {}), ("A;B", "B;A", "multipicklist", {}), (None, False, "boolean", {}),
        ("2026-02-03T04:05:06.000+0000", AT.replace(microsecond=789), "datetime", {}),
        ("2026-02-03T04:05:06.000Z", "2026-02-03T05:05:06.000+0100", "datetime", {}),
        ("2026-02-03", date(2026, 2, 3), "date", {}), ("07:08:00.000Z", time(7, 8), "time", {}),
    ],
)  # fmt: skip
def test_values_that_the_field_stores_alike_are_the_same(left: Any, right: Any, kind: str, more: dict[str, int]) -> None:
    assert same(left, right, field(kind, **more))
    assert same(right, left, field(kind, **more))


@pytest.mark.parametrize(
    ("left", "right", "kind", "more"),
    [
        (0.87, 0.8769, "percent", {"scale": 2}), (None, 0, "double", {}), ("a", "A", "string", {}), (None, True, "boolean", {}),
        ("2026-02-03T04:05:06.000Z", "2026-02-03T04:05:07.000Z", "datetime", {}), ("1", "abc", "double", {}),
    ],
)  # fmt: skip
def test_values_that_differ_are_not(left: Any, right: Any, kind: str, more: dict[str, int]) -> None:
    assert not same(left, right, field(kind, **more))


def test_cells_tell_null_from_nothing() -> None:
    assert [cell(value) for value in (None, True, False, 0.5, "x")] == [NULL, "true", "false", "0.5", "x"]
