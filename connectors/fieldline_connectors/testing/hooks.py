"""What a hook promises: only genuine, recent and bounded messages get in."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar, TypeAlias

import pytest

from fieldline_connectors.testing.abilities import ConnectorFixtures, missing, needs
from fieldline_core.errors import Rejected
from fieldline_core.ports import Hook, HookRequest

Sign: TypeAlias = Callable[[bytes], HookRequest]
"""Makes a genuine request around a body, as the sender would."""

HOSTILE_BODIES = {
    "no JSON": b"{",
    "no object": b"[]",
    "too deep": b'{"id": "e", "a": ' + b"[" * 1000 + b"]" * 1000 + b"}",
    "a key twice": b'{"id": "e", "a": 1, "a": 2}',
    "NaN": b'{"id": "e", "a": NaN}',
    "no UTF-8": b'{"id": "e", "a": "\xff"}',
    "endless number": b'{"id": "e", "a": ' + b"9" * 5000 + b"}",
    "nothing": b"",
}
_FAR_TOO_LARGE_BYTES = 8 * 1024 * 1024


class HookContract(ConnectorFixtures):
    """The part of the contract for receiving."""

    signs_time: ClassVar[bool] = True
    """Whether the sender signs a time, so that old messages are refused."""

    signs_body: ClassVar[bool] = True
    """Whether the sender signs the body; where only the connection vouches for it, the body must hold nothing that is believed."""

    @pytest.fixture
    def sign(self) -> Sign:
        """Signs a body as the sender would."""
        missing(self.connector_class, "receive", "sign", "a function that makes a genuine request around a body")

    @pytest.fixture
    def body(self) -> bytes:
        """The body of a genuine message."""
        return b'{"id": "event-1", "data": {"name": "Zo\xc3\xab"}}'

    def test_a_genuine_message_is_received(self, connector: Any, sign: Sign, body: bytes) -> None:
        events = needs(connector, Hook).receive(sign(body)).events
        assert events
        assert all(event.id and isinstance(json.loads(event.body), dict) for event in events)
        assert [event.id for event in events] == list(dict.fromkeys(event.id for event in events))
        assert [event.body for event in connector.receive(sign(body)).events] == [event.body for event in events]

    def test_a_changed_body_is_rejected(self, connector: Any, sign: Sign, body: bytes) -> None:
        needs(connector, Hook)
        if not self.signs_body:
            pytest.skip("this sender signs no body")
        request = sign(body)
        for changed in (body + b" ", body[:-1], body.replace(b"1", b"2", 1), b"{}", b""):
            with pytest.raises(Rejected):
                needs(connector, Hook).receive(replace(request, body=changed))

    def test_a_message_without_signature_is_rejected(self, connector: Any, sign: Sign, body: bytes) -> None:
        with pytest.raises(Rejected):
            needs(connector, Hook).receive(replace(sign(body), headers={"content-type": "application/json"}))

    def test_an_old_message_is_rejected(self, connector: Any, sign: Sign, body: bytes) -> None:
        needs(connector, Hook)
        if not self.signs_time:
            pytest.skip("this sender signs no time")
        request = sign(body)
        for shift in (timedelta(days=1), timedelta(days=-1)):
            with pytest.raises(Rejected):
                connector.receive(replace(request, received_at=request.received_at + shift))

    @pytest.mark.parametrize("kind", sorted(HOSTILE_BODIES))
    def test_a_signed_but_hostile_body_is_rejected(self, connector: Any, sign: Sign, kind: str) -> None:
        with pytest.raises(Rejected):
            needs(connector, Hook).receive(sign(HOSTILE_BODIES[kind]))

    def test_a_body_that_is_far_too_large_is_rejected(self, connector: Any, sign: Sign) -> None:
        with pytest.raises(Rejected):
            needs(connector, Hook).receive(sign(b'{"id": "e", "a": "%b"}' % (b"x" * _FAR_TOO_LARGE_BYTES)))
