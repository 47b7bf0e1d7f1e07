"""What the parts of the contract share: the fixtures of every connector, and how values are compared."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar, NoReturn, TypeAlias

import polars as pl
import pytest

from fieldline_core.errors import Misconfigured, Unavailable
from fieldline_core.ports import Discovers, Feed, Hook, Lookup, Sink, Source, Subscribes

MakeChange: TypeAlias = Callable[[], str]
"""Changes one record at the system itself, as a person would, and returns its key; another record at each call."""


class ConnectorFixtures:
    """The fixtures that a connector's test gives."""

    connector_class: ClassVar[type[Any]]
    """The connector under test."""

    @pytest.fixture
    def connector(self) -> Any:
        """A connector that works, on real records."""
        missing(self.connector_class, "check", "connector", "a connector that works")

    @pytest.fixture
    def unreachable(self) -> Any:
        """The same connector where its system cannot be reached; None where it always can."""
        missing(self.connector_class, "check", "unreachable", "a connector whose system does not answer, or None")

    @pytest.fixture
    def topic(self) -> Any:
        """What is listened to."""
        missing(self.connector_class, self._hears, "topic", "what is listened to")

    @pytest.fixture
    def make_change(self) -> MakeChange:
        """Changes a record as a person would."""
        missing(self.connector_class, self._hears, "make_change", "a function that changes another record at each call")

    @property
    def _hears(self) -> str:
        return "subscribe" if offers(self.connector_class, "subscribe") else "listen"


_VERBS: dict[type[Any], str] = {
    Discovers: "discover", Feed: "listen", Hook: "receive", Lookup: "lookup", Sink: "write", Source: "read",
    Subscribes: "subscribe",
}  # fmt: skip


def missing(connector_class: type[Any], verb: str, name: str, what: str) -> NoReturn:
    """Fails a test whose class forgot a fixture, and skips it where the connector has no such verb at all."""
    if not offers(connector_class, verb):
        pytest.skip(f"{connector_class.__name__} has no {verb}()")
    pytest.fail(f"this connector's test needs the fixture `{name}`: {what}")


def offers(connector_class: type[Any], verb: str) -> bool:
    """Whether the class defines that verb: `read`, `lookup`, `write`, `receive`, `listen`, `subscribe` or `discover`."""
    return callable(getattr(connector_class, verb, None))


def needs(connector: Any, ability: type[Any]) -> Any:
    """The connector, if it has the ability; skips the test where it does not try, fails it where it has only half of it."""
    if not offers(type(connector), _VERBS[ability]):
        pytest.skip(f"{type(connector).__name__} has no {_VERBS[ability]}()")
    assert isinstance(connector, ability), f"{_VERBS[ability]}() is not all that a {ability.__name__} needs"
    return connector


@contextmanager
def again(connector: Any) -> Iterator[Any]:
    """A second connector to the same system, as another process would have it."""
    second = type(connector)(connector.config)
    try:
        yield second
    finally:
        second.close()


UNREACHABLE = (Unavailable, Misconfigured)
"""What a connector raises where its system does not answer."""


def frames_agree(left: pl.DataFrame, right: pl.DataFrame) -> bool:
    """Whether two frames have the same columns, types and values."""
    return left.schema == right.schema and left.equals(right, null_equal=True)


def same(expected: Any, found: Any) -> bool:
    """Whether a target holds a value; numbers and times may be written another way, as long as they mean the same."""
    if isinstance(expected, datetime) and isinstance(found, str):
        return datetime.fromisoformat(found).replace(tzinfo=None) == expected
    if isinstance(expected, date | time) and isinstance(found, str):
        return expected.isoformat() == found
    return bool(expected == found) or (None not in (expected, found) and _equal_numbers(expected, found))


def _equal_numbers(expected: Any, found: Any) -> bool:
    try:
        return Decimal(str(expected)) == Decimal(str(found))
    except InvalidOperation:
        return False
