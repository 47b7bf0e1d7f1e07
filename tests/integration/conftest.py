"""What the engine's tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engines import Bench

from fieldline_connectors import memory
from fieldline_core.pipeline.invariants import check_invariants


@pytest.fixture
def bench(database_url: str, tmp_path: Path) -> Iterator[Bench]:
    """An engine on a store of its own with the model `linear`; at the end its invariants hold."""
    made = Bench(database_url, tmp_path)
    made.import_linear(tmp_path)
    yield made
    assert check_invariants(made.engine.store) == []
    made.close()
    # Memories have names, and would outlive the test: the next one's records are its own.
    memory.forget()
