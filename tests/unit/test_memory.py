"""Tables in memory, beyond the contract."""

from uuid import uuid4

import polars as pl
import pytest

from fieldline_connectors.memory import Memory, MemoryConfig, MemoryQuery, MemoryTarget, store
from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured
from fieldline_core.ports import Slice
from fieldline_core.schema import FieldType

ORDERS = Batch.of(["1", "2"], pl.DataFrame({"total": [1.5, None], "items": [[1], [2, 3]], "on_hold": [True, False]}))


@pytest.fixture
def memory() -> Memory:
    name = uuid4().hex
    store(name).put("orders", ORDERS)
    return Memory(MemoryConfig(store=name))


def test_connections_with_one_name_share_their_tables(memory: Memory) -> None:
    other = Memory(MemoryConfig(store=memory.config.store))
    assert other.lookup(MemoryQuery(table="orders"), ["2"]).frame["items"].to_list() == [[2, 3]]


def test_a_table_that_is_not_there_is_named(memory: Memory) -> None:
    with pytest.raises(Misconfigured, match=r"'order'.*orders"):
        list(memory.read(MemoryQuery(table="order"), None, 10))


def test_a_column_keeps_its_type(memory: Memory) -> None:
    wrong = Batch.of(["3"], pl.DataFrame({"total": ["much"]}))
    with pytest.raises(Misconfigured, match="total holds Float64"):
        memory.write(Slice("e" * 64, 1, MemoryTarget(table="orders", fields={}), wrong))
    assert store(memory.config.store).rows("orders").keys() == {"1", "2"}


def test_fields_that_are_not_written_stay(memory: Memory) -> None:
    changed = Batch.of(["1"], pl.DataFrame({"total": [9.0]}))
    memory.write(Slice("e" * 64, 1, MemoryTarget(table="orders", fields={}), changed))
    assert store(memory.config.store).rows("orders")["1"] == {"total": 9.0, "items": [1], "on_hold": True}


def test_it_knows_what_its_writes_overwrite() -> None:
    target = MemoryTarget(table="orders", fields={"score": "score"})
    assert target.overwrites(MemoryQuery(table="orders")) == ("score",)
    assert target.overwrites(MemoryQuery(table="others")) == ()


def test_discovery_gives_types_labels_and_samples(memory: Memory) -> None:
    entity = memory.discover().entity("Orders")
    assert entity
    assert (entity.label, entity.rows) == ("Orders", 2)
    assert [(field.name, field.type, field.label, field.samples) for field in entity.fields] == [
        ("total", FieldType.NUMBER, "Total", ("1.5",)),
        ("items", FieldType.LIST, "Items", ("[1]", "[2, 3]")),
        ("on_hold", FieldType.BOOLEAN, "On hold", ("True", "False")),
    ]
