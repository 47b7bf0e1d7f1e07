"""The moves that the engine makes are the ones in the state tables."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import pytest
from tests.engines import Bench, documents, put

from fieldline_connectors import memory
from fieldline_core.errors import Unavailable
from fieldline_core.pipeline import manage
from fieldline_core.pipeline.replay import replay
from fieldline_core.ports import Slice
from fieldline_core.receipts import Receipts
from fieldline_core.states import CHUNK_MOVES, EFFECT_MOVES, RUN_MOVES, ChunkState, EffectState, RunState

TABLES: Mapping[str, tuple[type[StrEnum], Mapping[StrEnum, frozenset[StrEnum]]]] = {
    "run": (RunState, RUN_MOVES),  # type: ignore[dict-item]
    "chunk": (ChunkState, CHUNK_MOVES),  # type: ignore[dict-item]
    "effect": (EffectState, EFFECT_MOVES),  # type: ignore[dict-item]
}
WATCH = """
CREATE TABLE move (of text, old text, new text);
CREATE FUNCTION note_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> NEW.state THEN INSERT INTO move VALUES (TG_TABLE_NAME, OLD.state, NEW.state); END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER note_move BEFORE UPDATE ON run FOR EACH ROW EXECUTE FUNCTION note_move();
CREATE TRIGGER note_move BEFORE UPDATE ON chunk FOR EACH ROW EXECUTE FUNCTION note_move();
CREATE TRIGGER note_move BEFORE UPDATE ON effect FOR EACH ROW EXECUTE FUNCTION note_move();
"""


def test_every_move_is_in_the_state_tables(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(database_url, tmp_path)
    bench.import_linear(tmp_path)
    with bench.engine.store.transaction("watch") as tx:
        tx.connection.execute(WATCH.encode())
    put("moves", {"good": (1.0, 0.0), "held": (None, 0.0)})
    step = {"name": "answer", "connection": "moves", "target": {"table": "answers", "fields": {"score": "score"}}}
    bench.apply(documents("moves", writes=[step | {"retry": {"max_attempts": 1}}]))

    def breaks_off(self: memory.Memory, slice: Slice) -> Receipts:
        raise Unavailable("no answer", sent=True)

    with monkeypatch.context() as patch:
        patch.setattr(memory.Memory, "write", breaks_off)
        manage.request_run(bench.engine, "moves", "test")
        bench.drain()
    replay(bench.engine, "moves", "test")
    bench.drain()
    manage.cancel_run(bench.engine, manage.request_run(bench.engine, "moves", "test"), "test", "enough")

    moves = {(row["of"], row["old"], row["new"]) for row in bench.all("SELECT * FROM move")}
    assert ("effect", "intended", "unknown") in moves
    for of, old, new in moves:
        states, table = TABLES[of]
        assert states(new) in table[states(old)]
    bench.close()
