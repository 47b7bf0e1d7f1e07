"""The memory connector keeps the contract."""

from uuid import uuid4

import polars as pl
import pytest

from fieldline_connectors.memory import Memory, MemoryConfig, MemoryQuery, MemoryTarget, MemoryTopic, Mode, store
from fieldline_connectors.testing import ConnectorContract, MakeChange, TargetRows, sample_rows
from fieldline_core.batch import Batch

FIELDS = {name: name for name in sample_rows().frame.columns}


class TestMemory(ConnectorContract):
    connector_class = Memory

    @pytest.fixture
    def connector(self) -> Memory:
        name = uuid4().hex
        store(name).put("orders", sample_rows([f"o-{number}" for number in (3, 1, 20, 10)]))
        store(name).put("orders", Batch.of(["o-4"], pl.DataFrame({"note": ["a fifth"]})))
        return Memory(MemoryConfig(store=name))

    @pytest.fixture
    def unreachable(self) -> None:
        return None

    @pytest.fixture
    def query(self) -> MemoryQuery:
        return MemoryQuery(table="orders")

    @pytest.fixture
    def target(self) -> MemoryTarget:
        return MemoryTarget(table="answers", fields=FIELDS)

    @pytest.fixture
    def rows(self) -> Batch:
        return sample_rows()

    @pytest.fixture
    def bad_row(self) -> None:
        return None

    @pytest.fixture
    def topic(self) -> MemoryTopic:
        return MemoryTopic(table="orders")

    @pytest.fixture
    def make_change(self, connector: Memory) -> MakeChange:
        keys = (f"c-{number}" for number in range(100))

        def change() -> str:
            key = next(keys)
            store(connector.config.store).put("orders", sample_rows([key, *"xyz"]).slice(0, 1))
            return key

        return change

    @pytest.fixture
    def target_rows(self, connector: Memory) -> TargetRows:
        return lambda: list(store(connector.config.store).rows("answers").items())


class TestMemoryUpdate(TestMemory):
    @pytest.fixture
    def connector(self) -> Memory:
        name = uuid4().hex
        store(name).put("answers", sample_rows())
        store(name).put("orders", sample_rows(list("dcba")))
        store(name).put("orders", Batch.of(["e"], pl.DataFrame({"note": ["a fifth"]})))
        return Memory(MemoryConfig(store=name))

    @pytest.fixture
    def target(self) -> MemoryTarget:
        return MemoryTarget(table="answers", fields=FIELDS, mode=Mode.UPDATE)

    @pytest.fixture
    def bad_row(self) -> Batch:
        return sample_rows(["nobody", *"xyz"]).slice(1, 1)
