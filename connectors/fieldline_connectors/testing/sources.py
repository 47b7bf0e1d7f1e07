"""What a source promises: stable pages that can be resumed, and lookups that find exactly what was asked for."""

import json
from typing import Any

import polars as pl
import pytest

from fieldline_connectors.testing.abilities import UNREACHABLE, ConnectorFixtures, again, frames_agree, missing, needs
from fieldline_core.batch import Batch
from fieldline_core.ports import Cursor, Lookup, Page, Prepares, Source
from fieldline_core.waiting import pages_of


class SourceContract(ConnectorFixtures):
    """The part of the contract for reading."""

    @pytest.fixture
    def query(self) -> Any:
        """What to read: at least five records."""
        missing(self.connector_class, "read", "query", "what to read, with at least five records behind it")

    @pytest.fixture
    def absent_key(self) -> str:
        """A key in the right form that no record has."""
        return "no-such-key"

    def test_reading_in_pages_equals_reading_at_once(self, connector: Any, query: Any) -> None:
        at_once = _whole(needs(connector, Source), query, 100_000)
        assert len(at_once) >= 5, "the fixture `query` needs at least five records behind it"
        for limit in (1, 2, len(at_once) - 1, len(at_once)):
            _assert_same(_whole(connector, query, limit), at_once)

    def test_pages_keep_their_limit_and_their_types(self, connector: Any, query: Any) -> None:
        pages = list(pages_of(needs(connector, Source), query, None, 2))
        assert all(1 <= len(page.batch) <= 2 for page in pages)
        assert all(page.batch.frame.schema == pages[0].batch.frame.schema for page in pages)

    def test_keys_are_unique_texts(self, connector: Any, query: Any) -> None:
        keys = _whole(needs(connector, Source), query, 3).keys
        assert keys.dtype == pl.String
        assert keys.null_count() == 0
        assert keys.n_unique() == len(keys)

    def test_reading_resumes_exactly_behind_every_page(self, connector: Any, query: Any) -> None:
        pages = list(pages_of(needs(connector, Source), query, None, 2))
        whole = _joined(pages)
        for count in range(1, len(pages) + 1):
            cursor = json.loads(json.dumps(pages[count - 1].after))
            with again(connector) as second:
                rest = list(pages_of(second, query, cursor, 3))
            done = sum(len(page.batch) for page in pages[:count])
            assert [key for page in rest for key in page.batch.keys] == whole.keys.to_list()[done:]

    def test_reading_stops_anywhere_without_harm(self, connector: Any, query: Any) -> None:
        reading = pages_of(needs(connector, Source), query, None, 2)
        first = next(reading)
        reading.close()
        _assert_same(next(pages_of(connector, query, None, 2)).batch, first.batch)

    def test_what_is_prepared_is_read_by_its_handle_alone(self, connector: Any, query: Any) -> None:
        first, *more = needs(connector, Source).read(query, None, 100_000)
        if first.again_s is None:
            pytest.skip("answers at once")
        assert (len(first.batch), more) == (0, []), "a page that asks to be read again has no rows, and is the last"
        handle = json.loads(json.dumps(first.after))
        with again(connector) as second:
            found = _whole(second, query, 2, handle)
        assert sorted(found.keys) == sorted(_whole(connector, query, 2).keys)
        assert isinstance(connector, Prepares), "a connector whose pages ask to be read again needs abandon()"
        for _ in range(2):
            connector.abandon(handle)

    def test_reading_where_nobody_answers_raises(self, unreachable: Any, query: Any) -> None:
        if unreachable is None:
            pytest.skip("always reachable")
        with pytest.raises(UNREACHABLE):
            list(pages_of(needs(unreachable, Source), query, None, 2))

    def test_lookup_finds_exactly_the_keys(self, connector: Any, query: Any, absent_key: str) -> None:
        whole = _whole(needs(connector, Lookup), query, 100_000)
        wanted = [whole.keys[4], absent_key, whole.keys[0], whole.keys[2]]
        found = connector.lookup(query, wanted)
        assert sorted(found.keys) == sorted({whole.keys[4], whole.keys[0], whole.keys[2]})
        _assert_same(_sorted(found), _sorted(whole.take(whole.keys.is_in(wanted))))

    def test_lookup_of_nothing_finds_nothing(self, connector: Any, query: Any, absent_key: str) -> None:
        assert len(needs(connector, Lookup).lookup(query, [])) == 0
        assert len(connector.lookup(query, [absent_key])) == 0


def _whole(connector: Any, query: Any, limit: int, after: Cursor | None = None) -> Batch:
    return _joined(list(pages_of(connector, query, after, limit)))


def _joined(pages: list[Page]) -> Batch:
    assert pages, "the query gives no records"
    return Batch(pl.concat([page.batch.keys for page in pages]), pl.concat([page.batch.frame for page in pages]))


def _sorted(batch: Batch) -> Batch:
    order = batch.keys.arg_sort()
    return Batch(batch.keys[order], batch.frame[order])


def _assert_same(found: Batch, expected: Batch) -> None:
    assert found.keys.to_list() == expected.keys.to_list()
    assert frames_agree(found.frame.select(expected.frame.columns), expected.frame)
