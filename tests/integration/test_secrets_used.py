"""That secrets were used is in the log, by reference and once a day, and never what they are."""

import json
from pathlib import Path

import pytest
from tests.engines import Bench

from fieldline_server import secrets_used
from fieldline_server.wiring import Wiring

CONNECTION = """
connection: desk
connector: webhook
settings:
  url: https://desk.example/hook
  signing_secrets: [{{secret: "file:{path}"}}, {{secret: env:DESK_SECRET}}]
"""


def uses(bench: Bench) -> list[dict[str, object]]:
    """What the log is told of uses."""
    return [dict(row["detail"]) for row in bench.all("SELECT detail FROM audit_outbox WHERE event = 'secret.used' ORDER BY id")]


@pytest.fixture
def desk(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A connection with two secrets, whose first one is in this file."""
    path = tmp_path / "desk.secret"
    path.write_text("whsec_" + "c2VjcmV0IG9mIHRoZSBkZXNrIGFuZCBubyBvdGhlcg==")
    monkeypatch.setenv("DESK_SECRET", path.read_text())
    bench.apply(CONNECTION.format(path=path))
    return path


def process(bench: Bench) -> Wiring:
    """The parts of another process."""
    return Wiring(bench.engine.settings, bench.engine.store)


def test_a_use_is_recorded_once_for_each_process_with_its_references_and_no_value(bench: Bench, desk: Path) -> None:
    before = len(uses(bench))
    parts, other = process(bench), process(bench)
    for each in (parts, parts, other):
        each.connector("desk")

    told = uses(bench)[before:]
    assert [detail["connection"] for detail in told] == ["desk", "desk"]
    assert told[0]["secrets"] == ["env:DESK_SECRET", f"file:{desk}"]
    assert "whsec_" not in json.dumps(told)


def test_a_use_is_recorded_again_on_the_next_day_and_where_the_document_changed(
    bench: Bench, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bench.engine.store.transaction("document") as tx:
        row = tx.one("flows.document", kind="connection", name="desk")
    assert row is not None
    used, before = secrets_used.SecretsUsed(bench.engine.store), len(uses(bench))
    used.note("desk", row)
    used.note("desk", row)
    assert len(uses(bench)) == before + 1
    used.note("desk", {**row, "digest": "another"})
    assert len(uses(bench)) == before + 2
    monkeypatch.setattr(secrets_used, "_DAY_S", 0.0)
    used.note("desk", {**row, "digest": "another"})
    assert len(uses(bench)) == before + 3


def test_a_connection_without_secrets_says_nothing(bench: Bench) -> None:
    bench.apply("connection: plain\nconnector: memory\nsettings: {store: plain}\n")
    before = len(uses(bench))
    process(bench).connector("plain")
    assert len(uses(bench)) == before
