"""What a connector promises whose system sends messages: one subscription for a flow, none afterwards, only genuine changes."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import Any, TypeAlias

import pytest

from fieldline_connectors.testing.abilities import UNREACHABLE, ConnectorFixtures, MakeChange, again, missing, needs
from fieldline_core.errors import Rejected
from fieldline_core.ports import Cursor, HookRequest, Subscribes

Subscriptions: TypeAlias = Callable[[], int]
"""How many subscriptions at the system tell the flow `FLOW`."""
NextMessage: TypeAlias = Callable[[], HookRequest]
"""The next message that the system sends to the hook of that flow; waits for it."""

FLOW = "contract"
"""The flow that is told."""
_MOST_LOOKS = 20


class SubscribesContract(ConnectorFixtures):
    """The part of the contract for being told."""

    @pytest.fixture
    def subscriptions(self) -> Subscriptions:
        """Counts the subscriptions of the flow at the system itself."""
        missing(self.connector_class, "subscribe", "subscriptions", "a function that counts the flow's subscriptions at the system")

    @pytest.fixture
    def next_message(self) -> NextMessage:
        """Takes what the system sends."""
        missing(self.connector_class, "subscribe", "next_message", "a function that gives the next message of the system")

    def test_a_subscription_is_made_once_and_found_again(self, connector: Any, topic: Any, subscriptions: Subscriptions) -> None:
        place = _kept(needs(connector, Subscribes), topic, None)
        assert subscriptions() == 1
        with again(connector) as second:
            _kept(second, topic, place)
            # A look that did not live to say what it made.
            _kept(second, topic, None)
        assert subscriptions() == 1

    def test_of_two_that_look_at_once_one_subscription_stays(
        self, connector: Any, topic: Any, subscriptions: Subscriptions
    ) -> None:
        barrier = Barrier(2)

        def look(subscribes: Any) -> Cursor:
            barrier.wait()
            place: Cursor = subscribes.subscribe(topic, FLOW, None).place
            return place

        with again(needs(connector, Subscribes)) as second, ThreadPoolExecutor(2) as both:
            # Only one of them can store its place: the other one has been fenced off.
            place, _ = both.map(look, (connector, second))
            _kept(second, topic, place)
        assert subscriptions() == 1

    def test_a_subscription_is_taken_away_and_what_is_gone_is_left_alone(
        self, connector: Any, topic: Any, subscriptions: Subscriptions
    ) -> None:
        for known in (True, False):
            place = _kept(needs(connector, Subscribes), topic, None)
            with again(connector) as second:
                assert second.unsubscribe(topic, FLOW, place if known else None)
                assert subscriptions() == 0
                assert second.unsubscribe(topic, FLOW, place) == second.unsubscribe(topic, FLOW, None) == ""

    def test_a_change_is_told_by_its_key_and_the_same_whenever_it_is_told(
        self, connector: Any, topic: Any, make_change: MakeChange, next_message: NextMessage
    ) -> None:
        _kept(needs(connector, Subscribes), topic, None)
        key = make_change()
        message = next_message()
        said = connector.told(topic, message)
        heard = said(None)
        assert [change.key for change in heard.changes] == [key]
        json.dumps(heard.after)
        with again(connector) as second:
            for repeated in (said(None), second.told(topic, message)(None)):
                assert [change.id for change in repeated.changes] == [change.id for change in heard.changes]

    def test_a_message_that_does_not_show_its_sender_is_rejected(
        self, connector: Any, topic: Any, make_change: MakeChange, next_message: NextMessage
    ) -> None:
        _kept(needs(connector, Subscribes), topic, None)
        make_change()
        message = next_message()
        for forged in (replace(message, headers={}), replace(message, headers={}, body=b"")):
            with pytest.raises(Rejected):
                connector.told(topic, forged)

    def test_subscribing_where_nobody_answers_raises(self, unreachable: Any, topic: Any) -> None:
        if unreachable is None:
            pytest.skip("always reachable")
        with pytest.raises(UNREACHABLE):
            needs(unreachable, Subscribes).subscribe(topic, FLOW, None)
        with pytest.raises(UNREACHABLE):
            unreachable.unsubscribe(topic, FLOW, None)


def _kept(connector: Any, topic: Any, place: Cursor | None) -> Cursor:
    """The place of the subscription once nothing more is to be done for it."""
    for _ in range(_MOST_LOOKS):
        found = connector.subscribe(topic, FLOW, place)
        restored: Cursor = json.loads(json.dumps(found.place))
        place = restored
        if not found.did and not found.problem:
            return restored
    raise AssertionError(f"the subscription does not stand after {_MOST_LOOKS} looks: {found.did or found.problem}")
