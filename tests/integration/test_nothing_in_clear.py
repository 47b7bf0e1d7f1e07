"""What a record holds is stored in ciphertext only, and reaches no log and no message."""

from pathlib import Path

import polars as pl
import pytest
import yaml
from tests.engines import Bench, documents

from fieldline_connectors import memory
from fieldline_core.batch import Batch
from fieldline_core.errors import Unavailable
from fieldline_core.logs import configure_logs
from fieldline_core.pipeline import manage
from fieldline_core.pipeline.accept import accept
from fieldline_core.pipeline.replay import replay
from fieldline_core.ports import Event, Slice
from fieldline_core.receipts import Receipts

CANARIES = ["KEYCANARY-81", "KEYCANARY-82", "VALUECANARY-83", "EVENTCANARY-84", "EVENTVALUE-85"]


def stored_text(bench: Bench) -> str:
    """Every row of every table, as PostgreSQL prints it; bytes are decoded where they are text."""
    tables = bench.all("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
    texts = []
    for table in tables:
        for row in bench.all(f"SELECT * FROM {table['relname']}"):
            texts += [value.decode("latin-1") if isinstance(value, bytes) else str(value) for value in row.values()]
    return "\n".join(texts)


def test_no_value_of_a_record_is_found_in_the_store_or_in_the_logs(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logs("debug")
    bench = Bench(database_url, tmp_path)
    bench.import_linear(tmp_path)
    frame = pl.DataFrame({"a": ["1", CANARIES[2]], "b": ["0", "0"]})
    memory.store("clear").put("records", Batch.of(CANARIES[:2], frame))
    inbound = {"scheme": "standard", "secrets": [{"secret": "env:HOOK"}]}
    sender = yaml.safe_dump({"connection": "sender", "connector": "webhook", "settings": {"inbound": inbound}})
    bench.apply(documents("clear"))
    bench.apply(sender + "---\n" + documents("hooked", trigger={"webhook": "sender", "key": "id"}, source=None))

    def breaks_off(self: memory.Memory, slice: Slice) -> Receipts:
        raise Unavailable("no answer", sent=True)

    with monkeypatch.context() as patch:
        patch.setattr(memory.Memory, "write", breaks_off)
        manage.request_run(bench.engine, "clear", "test")
        body = f'{{"id": "{CANARIES[3]}", "a": "{CANARIES[4]}", "b": 1}}'
        accept(bench.engine, manage.current_release(bench.engine, "hooked"), "sender", Event("e1", body.encode()))
        bench.drain()
    seen = stored_text(bench)
    replay(bench.engine, "clear", "test")
    bench.drain()

    seen += stored_text(bench) + "".join(capfd.readouterr())
    assert [canary for canary in CANARIES if canary in seen] == []
    assert "chunk_scored" in seen
    bench.close()
