"""Reports of many batches: read in pages, in the order of the log, and of a record without the others."""

from collections.abc import Mapping
from typing import Any

import pytest
from tests.engines import Bench, decisions_on, documents, put

from fieldline_core.errors import Misconfigured
from fieldline_core.pipeline.manage import request_run
from fieldline_server.reports import Question, Report, Row, make_report, reading

ROWS = 450


def decide(bench: Bench, name: str, times: int = 2) -> None:
    """Decides on records `name0` and so on, 100 in a chunk, and writes the answers."""
    put(name, {f"{name}{number}": (float(number), 1.0) for number in range(ROWS)})
    bench.apply(documents(name))
    for _ in range(times):
        request_run(bench.engine, name, "cli:ada", rescore=True)
        bench.drain()


def made(bench: Bench, kind: str, **asked: Any) -> Report:
    return make_report(bench.engine, kind, Question(**asked), "test")


def positions(rows: list[Row]) -> list[int]:
    return [row.entry.position for row in rows if row.entry is not None]


@pytest.mark.parametrize("page", [1, 3, 500])
def test_pages_leave_nothing_out_and_tell_nothing_twice(page: int, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_AT_ONCE", page)
    decide(bench, "many")
    rows = list(made(bench, "ai-act-log", flow="many").rows)
    decided = [row.values["input"].split(" ")[1] for row in rows if row.values["what"] == "decision"]
    assert sorted(decided) == sorted(2 * [f"many{number}" for number in range(ROWS)])
    assert positions(rows) == sorted(positions(rows))
    one = list(made(bench, "fhir-audit-events", key="many123").rows)
    assert [row.values["action"] for row in one] == ["R", "U", "R", "U"]
    outcomes = [row.values["outcome"] for row in made(bench, "disclosures", key="many123").rows]
    # The report above left Fieldline, too.
    assert outcomes == ["written", "written", "exported"]


def test_batches_are_opened_one_at_a_time_as_rows_are_asked_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    decide(bench, "slow", times=1)
    opened: list[int] = []
    real = reading.unseal

    def counted(keyring: Any, stored: Mapping[str, Any]) -> Any:
        opened.append(1)
        return real(keyring, dict(stored))

    monkeypatch.setattr(reading, "unseal", counted)
    rows = made(bench, "fhir-audit-events", flow="slow").rows
    assert opened == []
    next(rows)
    assert len(opened) == 1


def test_who_looked_at_a_record_is_told_though_they_looked_at_others_too(bench: Bench) -> None:
    decide(bench, "seen", times=1)
    decisions_on(bench.engine, "seen7")
    rows = list(made(bench, "fhir-audit-events", key="seen7").rows)
    assert [row.values["data"].split(" ")[0] for row in rows][-1] == "decision.viewed"
    assert not [row for row in made(bench, "fhir-audit-events", key="seen8").rows if "viewed" in row.values["data"]]


def test_who_asked_for_a_run_is_the_person_of_its_reads(bench: Bench) -> None:
    decide(bench, "asked", times=1)
    first = next(made(bench, "fhir-audit-events", key="asked1").rows)
    assert first.values["person"] == "cli:ada"
    assert first.values["system"] == "asked"


def test_evidence_that_is_gone_is_not_passed_over(bench: Bench) -> None:
    decide(bench, "lost", times=1)
    bench.all("UPDATE evidence SET event_id = -event_id WHERE id = 1 RETURNING id")
    with pytest.raises(Misconfigured, match="not in the store any more"):
        list(made(bench, "ai-act-log", flow="lost").rows)
    bench.all("UPDATE evidence SET event_id = -event_id WHERE id = 1 RETURNING id")


def test_a_report_does_not_tell_of_itself(bench: Bench) -> None:
    decide(bench, "own", times=1)
    assert not [row for row in made(bench, "disclosures", key="own1").rows if row.values["outcome"] == "exported"]
    assert [row for row in made(bench, "disclosures", key="own1").rows if row.values["outcome"] == "exported"]
