"""A run that finds nothing new while the writes of an earlier one still wait."""


import pytest
from tests.engines import Bench, answers, documents, put

from fieldline_connectors import memory
from fieldline_core.errors import Unavailable
from fieldline_core.pipeline.manage import request_run


def test_a_waiting_write_is_not_given_up_for_a_later_run_that_found_its_record_unchanged(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("waits", {"x": (1.0, 0.0)})
    bench.apply(documents("waits"))
    with monkeypatch.context() as patch:
        patch.setattr(memory.Memory, "write", lambda self, slice: (_ for _ in ()).throw(Unavailable("the target is away")))
        request_run(bench.engine, "waits", "test")
        bench.drain()
        request_run(bench.engine, "waits", "test")
        bench.drain()
    bench.all("UPDATE effect SET due_at = now(), sent_at = NULL WHERE lease_owner IS NULL RETURNING 1")
    bench.drain()

    assert answers("waits") == {"x": 2.0}
