"""The Bulk API's CSV keeps every text, tells nulls from fields left alone, and is read while it arrives."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_connectors.salesforce.bulk_csv import NULL, encoded, records

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


def in_pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


@given(st.lists(st.fixed_dictionaries({"Id": TEXTS, "Note": TEXTS}), min_size=1, max_size=5), st.integers(1, 7))
def test_texts_come_back_as_they_were_however_they_arrive(rows: list[dict[str, str]], size: int) -> None:
    data = b"".join(encoded(rows)())
    assert list(records(in_pieces(data, size))) == rows


def test_columns_are_those_of_all_records_and_what_a_record_leaves_alone_is_empty() -> None:
    data = b"".join(encoded([{"Id": "1", "A": "x"}, {"Id": "2", "B": NULL}])())
    assert data.decode().splitlines() == ['"Id","A","B"', '"1","x",""', '"2","","#N/A"']


def test_it_can_be_sent_again() -> None:
    body = encoded([{"Id": "1"}])
    assert b"".join(body()) == b"".join(body())


def test_many_records_leave_in_pieces() -> None:
    pieces = list(encoded([{"Id": str(number), "Note": "x" * 1000} for number in range(500)])())
    assert len(pieces) > 5
    assert max(map(len, pieces)) < 100_000


@pytest.mark.parametrize("header", [b'"Id","Account.Name"\n', b""])
def test_a_page_may_come_without_its_header(header: bytes) -> None:
    page = header + '"1","Zoë\nLtd"\n'.encode()
    assert list(records(in_pieces(page, 3), ("Id", "Account.Name"))) == [{"Id": "1", "Account.Name": "Zoë\nLtd"}]


def test_nothing_gives_nothing() -> None:
    assert list(records(iter([]))) == []
    assert list(records(iter([b""]), ("Id",))) == []


@pytest.mark.parametrize("data", [b'"Id"\n"\xff"\n', b'"Id","A"\n"1"\n', b'"Id"\n"1'])
def test_what_is_cut_short_or_no_utf8_is_noticed(data: bytes) -> None:
    with pytest.raises(ValueError, match="Salesforce"):
        list(records(iter([data])))
