"""The contract finds out connectors that break it: each one here breaks one promise."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from inspect import signature
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from pydantic import Field

from fieldline_connectors.memory import Memory, MemoryConfig, MemoryQuery, MemoryTarget, MemoryTopic, store
from fieldline_connectors.testing import ConnectorContract, sample_rows
from fieldline_core.batch import Batch
from fieldline_core.errors import Unavailable
from fieldline_core.ports import ConnectorConfig, Cursor, Event, Heard, HookRequest, Page, Slice
from fieldline_core.receipts import Outcome, Pending, Receipts, RowReceipt
from fieldline_core.secret import Secret

QUERY = MemoryQuery(table="orders")
TARGET = MemoryTarget(table="answers", fields={})
BROKEN = (AssertionError, pytest.fail.Exception)


def contract_of(connector_class: type[Any]) -> Any:
    return type("TestIt", (ConnectorContract,), {"connector_class": connector_class})()


def filled(connector_class: type[Memory]) -> Memory:
    name = uuid4().hex
    for keys in (list("abcd"), list("efgh")):
        store(name).put("orders", sample_rows(keys))
    return connector_class(MemoryConfig(store=name))


def held(memory: Memory) -> Any:
    return lambda: list(store(memory.config.store).rows("answers").items())


class RepeatsTheLastRow(Memory):
    def read(self, query: MemoryQuery, after: Cursor | None, limit: int) -> Iterator[Page]:
        before = {"key": chr(ord(after["key"]) - 1)} if after else None
        return super().read(query, before, limit)


class IgnoresTheLimit(Memory):
    def read(self, query: MemoryQuery, after: Cursor | None, limit: int) -> Iterator[Page]:
        return super().read(query, after, limit + 1)


class ForgetsTheEnd(Memory):
    def read(self, query: MemoryQuery, after: Cursor | None, limit: int) -> Iterator[Page]:
        yield from list(super().read(query, after, limit))[: 3 if limit > 1 else 9]


class FindsTooMuch(Memory):
    def lookup(self, query: MemoryQuery, keys: Sequence[str]) -> Batch:
        return super().lookup(query, [*keys, "b"])


@pytest.mark.parametrize(
    ("liar", "test"),
    [
        (RepeatsTheLastRow, "test_reading_resumes_exactly_behind_every_page"),
        (IgnoresTheLimit, "test_pages_keep_their_limit_and_their_types"),
        (ForgetsTheEnd, "test_reading_in_pages_equals_reading_at_once"),
    ],
)
def test_a_source_that_breaks_its_promise_is_found_out(liar: type[Memory], test: str) -> None:
    getattr(contract_of(Memory), test)(filled(Memory), QUERY)
    with pytest.raises(BROKEN):
        getattr(contract_of(liar), test)(filled(liar), QUERY)


class HearsTheOld(Memory):
    def listen(self, topic: MemoryTopic, after: Cursor | None, stopped: Callable[[], bool]) -> Iterator[Heard]:
        yield Heard((), after or {"at": 0})
        yield from super().listen(topic, after or {"at": 0}, stopped)


class ForgetsItsPlace(Memory):
    def listen(self, topic: MemoryTopic, after: Cursor | None, stopped: Callable[[], bool]) -> Iterator[Heard]:
        for heard in super().listen(topic, after, stopped):
            yield Heard(heard.changes, {"at": 0})


@pytest.mark.parametrize(
    ("liar", "test"),
    [
        (HearsTheOld, "test_listening_begins_now_and_says_where_that_is"),
        (ForgetsItsPlace, "test_listening_goes_on_behind_every_cursor"),
    ],
)
def test_a_feed_that_breaks_its_promise_is_found_out(liar: type[Memory], test: str) -> None:
    def change(memory: Memory) -> Callable[[], str]:
        keys = (f"c-{number}" for number in range(100))

        def one() -> str:
            key = next(keys)
            store(memory.config.store).put("orders", sample_rows([key, *"xyz"]).slice(0, 1))
            return key

        return one

    topic = MemoryTopic(table="orders")
    sound, lying = filled(Memory), filled(liar)
    getattr(contract_of(Memory), test)(sound, topic, change(sound))
    with pytest.raises(BROKEN):
        getattr(contract_of(liar), test)(lying, topic, change(lying))


def test_a_lookup_that_finds_too_much_is_found_out() -> None:
    with pytest.raises(BROKEN):
        contract_of(FindsTooMuch).test_lookup_finds_exactly_the_keys(filled(FindsTooMuch), QUERY, "none")


class ForgetsItsEffects(Memory):
    def write(self, slice: Slice) -> Receipts:
        self._store.effects.clear()
        return super().write(slice)


class WritesOneRowMoreEachTime(Memory):
    def write(self, slice: Slice) -> Receipts:
        self._store.put("answers", sample_rows([uuid4().hex, "x", "y", "z"]))
        return super().write(slice)


class NeverEnds(Memory):
    def write(self, slice: Slice) -> Any:
        return Pending({"job": 1}, 0.0)

    def poll(self, slice: Slice, handle: Any) -> Pending:
        return Pending(handle, 0.0)


class StopsAtABadRow(Memory):
    def write(self, slice: Slice) -> Receipts:
        bad = slice.batch.keys.to_list().index("bad") if "bad" in slice.batch.keys else len(slice.batch)
        super().write(Slice(slice.effect_key, slice.fence, slice.target, slice.batch.slice(0, bad)))
        return Receipts(len(slice.batch), others={bad: RowReceipt(Outcome.REFUSED, "bad")})


class QuotesTheRecord(Memory):
    def write(self, slice: Slice) -> Receipts:
        others = {1: RowReceipt(Outcome.REFUSED, f"cannot store {slice.batch.frame['note'][1]}")}
        return Receipts(len(slice.batch), others={} if len(slice.batch) < 5 else others)


@pytest.mark.parametrize(
    ("liar", "test"),
    [
        (WritesOneRowMoreEachTime, "test_a_repeat_is_harmless"),
        (ForgetsItsEffects, "test_an_older_claim_changes_nothing"),
        (NeverEnds, "test_every_row_gets_its_receipt"),
        (WritesOneRowMoreEachTime, "test_an_empty_slice_writes_nothing"),
    ],
)
def test_a_sink_that_breaks_its_promise_is_found_out(liar: type[Memory], test: str) -> None:
    for connector_class in (Memory, liar):
        connector = filled(connector_class)
        values = {"connector": connector, "target": TARGET, "rows": sample_rows(), "target_rows": held(connector)}
        names = signature(getattr(ConnectorContract, test)).parameters
        given = {name: value for name, value in values.items() if name in names}
        if connector_class is Memory:
            getattr(contract_of(connector_class), test)(**given)
            continue
        with pytest.raises(BROKEN):
            getattr(contract_of(connector_class), test)(**given)


@pytest.mark.parametrize("liar", [StopsAtABadRow, QuotesTheRecord, Memory])
def test_a_bad_row_that_is_handled_wrongly_is_found_out(liar: type[Memory]) -> None:
    connector, bad = filled(liar), Batch(sample_rows(["bad"] * 4).keys[:1], sample_rows().frame[:1])
    with pytest.raises(BROKEN):
        contract_of(liar).test_one_bad_row_does_not_stop_the_others(connector, TARGET, sample_rows(), bad, held(connector))


class TalkativeConfig(ConnectorConfig):
    """Settings that say too much and explain too little."""

    token: Secret = Field(description="Token.")
    unexplained: int = 1


class Talkative:
    """Shows its secret, accepts every message, and has half of what a source needs."""

    name = "talkative"
    Config = TalkativeConfig
    Query: ClassVar[Any]

    def __init__(self, config: TalkativeConfig) -> None:
        self.config = config

    def __repr__(self) -> str:
        return f"Talkative({self.config.token.reveal()})"

    def check(self) -> None:
        raise Unavailable(f"refused the token {self.config.token.reveal()}")

    def close(self) -> None:
        del self.config

    def receive(self, request: HookRequest) -> Event:
        return Event("always the same", request.body)

    def read(self, query: Any, after: Cursor | None, limit: int) -> Iterator[Page]:
        yield from ()


def test_settings_secrets_and_half_abilities_are_found_out() -> None:
    contract, connector = contract_of(Talkative), Talkative(TalkativeConfig(token=Secret("s3cret-value")))
    with pytest.raises((*BROKEN, AttributeError)):
        contract.test_every_setting_is_described()
    for test in (contract.test_secrets_are_never_shown, contract.test_it_says_who_cannot_be_reached):
        with pytest.raises(BROKEN):
            test(connector)
    with pytest.raises(BROKEN, match="not all that a Source needs"):
        contract.test_pages_keep_their_limit_and_their_types(connector, None)
    with pytest.raises((*BROKEN, AttributeError)):
        contract.test_it_can_be_closed_twice(connector)


def test_a_hook_that_accepts_everything_is_found_out() -> None:
    contract, connector = contract_of(Talkative), Talkative(TalkativeConfig(token=Secret("s3cret-value")))
    now = datetime.now(UTC)
    for test in (contract.test_a_changed_body_is_rejected, contract.test_a_message_without_signature_is_rejected):
        with pytest.raises(BROKEN):
            test(connector, lambda body: HookRequest({}, body, now), b"{}")


def test_a_forgotten_fixture_fails_and_an_absent_ability_has_no_tests() -> None:
    assert contract_of(Memory).test_a_changed_body_is_rejected is None
    with pytest.raises(pytest.fail.Exception, match="fixture `query`"):
        ConnectorContract.query.__wrapped__(contract_of(Memory))  # type: ignore[attr-defined]
