"""Lines of a file that arrives in pieces are the file's lines, from any byte on at which one begins."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_connectors.fhir import lines as module
from fieldline_connectors.fhir.lines import behind, lines
from fieldline_core.errors import Rejected


@given(st.lists(st.sampled_from([b"", b"\n", b"{}", b"a\r\n", b"\xc3", b"\xa9\n\n"])))
def test_lines_are_the_files_lines_with_their_places(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    found = list(lines(pieces, 0))
    assert [line for _, line in found] == [line.rstrip(b"\n") for line in io.BytesIO(data)]
    for number, (place, line) in enumerate(found):
        assert data[place : place + len(line)] == line
        assert list(lines(behind(pieces, place), place)) == found[number:]


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LINE", 10)
    with pytest.raises(Rejected, match="more than 10 bytes"):
        list(lines(iter(lambda: b"abc", b""), 0))
