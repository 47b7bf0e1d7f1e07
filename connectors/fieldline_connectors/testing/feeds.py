"""What a feed promises: it begins now, misses nothing, goes on behind every cursor, and ends when it is told to."""

import json
from collections.abc import Iterator
from threading import Event
from typing import Any

from fieldline_connectors.testing.abilities import ConnectorFixtures, MakeChange, again, needs
from fieldline_core.ports import Change, Cursor, Feed, Heard


class FeedContract(ConnectorFixtures):
    """The part of the contract for listening."""

    def test_listening_begins_now_and_says_where_that_is(self, connector: Any, topic: Any, make_change: MakeChange) -> None:
        make_change()
        feed = needs(connector, Feed).listen(topic, None, lambda: False)
        first = next(feed)
        assert not first.changes
        assert not first.gap
        key = make_change()
        assert [change.key for change in _heard(feed, 1).changes] == [key]

    def test_listening_goes_on_behind_every_cursor(self, connector: Any, topic: Any, make_change: MakeChange) -> None:
        begin = next(needs(connector, Feed).listen(topic, None, lambda: False)).after
        keys = [make_change(), make_change(), make_change()]
        whole = _heard(connector.listen(topic, _stored(begin), lambda: False), 3)
        assert [change.key for change in whole.changes] == keys
        with again(connector) as second:
            behind = make_change()
            rest = _heard(second.listen(topic, _stored(whole.after), lambda: False), 1)
            assert [change.key for change in rest.changes] == [behind]

    def test_what_is_heard_again_has_the_same_ids(self, connector: Any, topic: Any, make_change: MakeChange) -> None:
        begin = next(needs(connector, Feed).listen(topic, None, lambda: False)).after
        make_change()
        make_change()
        first, second = (_heard(connector.listen(topic, _stored(begin), lambda: False), 2).changes for _ in range(2))
        assert [change.id for change in first] == [change.id for change in second]
        assert len({change.id for change in first}) == 2

    def test_listening_ends_when_it_is_told_to(self, connector: Any, topic: Any) -> None:
        told = Event()
        for _ in needs(connector, Feed).listen(topic, None, told.is_set):
            told.set()
        assert told.is_set()


def _stored(cursor: Cursor) -> Cursor:
    """The cursor as it comes back from the store."""
    restored: Cursor = json.loads(json.dumps(cursor))
    return restored


def _heard(feed: Iterator[Heard], count: int) -> Heard:
    """The next changes, so many of them, and the cursor behind them."""
    changes: list[Change] = []
    for heard in feed:
        assert not heard.gap, "changes were missed"
        changes += heard.changes
        if len(changes) >= count:
            return Heard(changes, heard.after)
    raise AssertionError(f"the feed ended after {len(changes)} changes of {count}")
