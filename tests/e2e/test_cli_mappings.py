"""Mappings tried through the real command line, on records of a real database."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import polars as pl
import psycopg
import pytest
import yaml
from tests import models
from tests.command import Command

from fieldline_server.demo_systems import missing_odbc
from fieldline_server.embedded import Database, Postgres

TABLE = """
CREATE TABLE account (id integer PRIMARY KEY, name text, employees integer, revenue numeric(12, 2), signed date,
                      seen_at timestamp, churned boolean);
INSERT INTO account VALUES
    (1, 'Ada', 10, 1000.50, '2026-01-01', '2026-01-31 10:00', false),
    (2, 'Bob', 0, 200, '2026-01-01', '2026-02-10 23:30', true),
    (3, 'Cyd', 4, 400, '2026-02-01', NULL, true),
    (4, 'Dan', 5, 50, '2026-02-01', '2026-02-02 00:00', NULL);
"""
MAPPING: dict[str, Any] = {
    "mapping": "churn",
    "record": {"employees": "integer", "revenue": "decimal", "signed": "date"},
    "features": [
        {"name": "per_head", "formula": "revenue / employees"},
        {"name": "days", "formula": "DAYS_SINCE(signed)"},
    ],
    "fields": [{"name": "risk", "formula": "ROUND(score, 1)"}],
    "tests": [
        {
            "name": "a customer of a month", "record": {"employees": 4, "revenue": 10, "signed": "2026-01-01"},
            "now": "2026-01-31T12:00:00Z", "features": {"per_head": 2.5, "days": 30}, "outputs": {"score": 0.25},
            "fields": {"risk": 0.3},
        }
    ],
}  # fmt: skip


def flow(database: Database) -> list[dict[str, Any]]:
    address = f"Driver={{PostgreSQL Unicode}};Servername=127.0.0.1;Port={database.port};Database={database.name};Uid=fieldline"
    return [
        {
            "connection": "crm", "connector": "odbc",
            "settings": {"connection_string": f"{address};BoolsAsChar=0", "password": {"secret": "env:CRM_PASSWORD"}},
        },
        {
            "flow": "churn", "source": {"connection": "crm", "query": {"table": "account", "key": ["id"]}}, "mapping": "churn",
            "models": ["churn"],
        },
    ]  # fmt: skip


@pytest.fixture(scope="module")
def crm(postgres: Postgres) -> Iterator[Database]:
    if why := missing_odbc():
        pytest.skip(why)
    database = postgres.database("crm_of_the_mappings")
    with psycopg.connect(postgres.create_database(database.name)) as connection:
        connection.execute(TABLE.encode())
    yield database
    postgres.drop_database(database.name)


@pytest.fixture(scope="module")
def command(
    postgres: Postgres, migrated_template: str, crm: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Command]:
    """The command line on a store of its own with one flow over the database."""
    folder = tmp_path_factory.mktemp("mappings")
    name = "store_of_the_mappings"
    env = {"FIELDLINE_DATABASE_URL": postgres.create_database(name, template=migrated_template), "CRM_PASSWORD": crm.password}
    command = Command(folder, env)
    onnx.save(models.linear(), folder / "churn.onnx")
    command.json("models", "import", "churn.onnx")
    (folder / "churn.yaml").write_text(yaml.safe_dump_all([MAPPING, *flow(crm)], sort_keys=False))
    command.json("apply", "churn.yaml")
    yield command
    postgres.drop_database(name)


def changed(command: Command, **changes: Any) -> str:
    """A file with the mapping, changed."""
    path = command.folder / "changed.yaml"
    path.write_text(yaml.safe_dump({**MAPPING, **changes}, sort_keys=False))
    return path.name


def test_a_preview_shows_each_feature_and_how_it_comes_about(command: Command) -> None:
    first, second = command.json("preview", "churn", "--rows", "2")
    assert [(each["feature"], each["formula"]) for each in first["features"]] == [
        ("per_head", "revenue / employees"), ("days", "DAYS_SINCE(signed)"),
    ]  # fmt: skip
    assert first["features"][0]["value"] == pytest.approx(100.05)
    assert "division by zero" in second["features"][0]["note"]
    shown = command("preview", "churn", "--rows", "1", "--steps").stdout.splitlines()
    assert shown[0] == "record 1"
    assert [line.split() for line in shown[1:5]] == [
        ["feature", "value", "formula", "gives", "note"],
        ["per_head", "100.05", "revenue", "/", "employees", "100.05"],
        ["revenue", "1000.5"],
        ["employees", "10"],
    ]


def test_a_draft_is_previewed_before_it_is_published(command: Command) -> None:
    features = [{"name": "length", "formula": "LEN(name)"}, MAPPING["features"][1]]
    draft = changed(command, features=features, record={"name": "text", "signed": "date"})
    (first,) = command.json("preview", "churn", "--rows", "1", "--mapping", draft)
    assert (first["features"][0]["feature"], first["features"][0]["value"]) == ("length", 3)
    wrong = changed(command, features=[{"name": "one", "formula": "employes"}])
    done = command("preview", "churn", "--mapping", wrong)
    assert (done.returncode, "Did you mean 'employees'?" in done.stderr) == (2, True)


def test_golden_records_are_run_without_an_installation(command: Command, tmp_path: Path) -> None:
    alone = Command(tmp_path)
    text = (command.folder / "churn.yaml").read_text()
    (passed,) = alone.json("test", "-", given=text)
    assert passed["passed"]
    done = alone("test", "-", given=text.replace("days: 30", "days: 31"))
    assert done.returncode == 1
    assert "FAILED  churn: a customer of a month" in done.stdout
    line = text.splitlines().index("    days: 30") + 1
    failures = [words.split() for words in done.stdout.splitlines() if "feature" in words]
    assert failures == [[f"-:{line}", "feature", "days", "31", "30"]]
    assert done.stdout.endswith("0 passed, 1 failed\n")
    assert alone("test", "-", given=text.replace("DAYS_SINCE(", "DAY_SINCE(")).returncode == 1
    assert alone("test").returncode == 2


def test_golden_records_of_a_published_mapping_are_run(command: Command) -> None:
    (passed,) = command.json("test", "--mapping", "churn")
    assert (passed["test"], passed["passed"]) == ("a customer of a month", True)
    assert "Did you mean 'churn'?" in command("test", "--mapping", "chrn").stderr


def test_training_rows_are_as_they_were_then(command: Command) -> None:
    done = command.json("export-features", "churn", "--out", "rows.parquet", "--as-of", "seen_at", "--labels", "churned, name")
    assert (done["read"], done["rows"], done["held"]) == (4, 2, 2)
    reasons = sorted(done["reasons"])
    assert "division by zero" in reasons[0]
    assert reasons[1] == "the column 'seen_at' holds no date or time"
    frame = pl.read_parquet(command.folder / "rows.parquet")
    assert frame.to_dict(as_series=False) == {
        "key": ["1", "4"], "per_head": [pytest.approx(100.05), 10.0], "days": [30, 1], "churned": [False, None],
        "name": ["Ada", "Dan"],
    }  # fmt: skip


def test_rows_held_back_are_kept_with_their_reason_where_asked(command: Command) -> None:
    done = command("export-features", "churn", "--out", "all.parquet", "--keep-held", "--limit", "2")
    assert done.stdout == "all.parquet: 2 rows; 1 held back and kept\n"
    assert "division by zero" in done.stderr
    frame = pl.read_parquet(command.folder / "all.parquet")
    assert frame["key"].to_list() == ["1", "2"]
    assert frame["held"].is_null().to_list() == [True, False]
    assert frame["per_head"].is_null().to_list() == [False, True]


def test_a_file_is_there_whole_or_not_at_all(command: Command) -> None:
    (command.folder / "kept.parquet").write_bytes(b"before")
    for wrong, words in (("nothing", "no column nothing"), ("per_head", "would be called 'per_head'")):
        done = command("export-features", "churn", "--out", "kept.parquet", "--labels", wrong)
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr
    assert (command.folder / "kept.parquet").read_bytes() == b"before"
    assert [path.name for path in command.folder.iterdir() if path.name.startswith(".kept")] == []
    assert command("export-features", "churn", "--out", "nowhere/rows.parquet").returncode == 2


def test_who_read_records_is_in_the_audit_trail(command: Command) -> None:
    command("preview", "churn", "--rows", "1")
    command("export-features", "churn", "--out", "audited.parquet", "--labels", "churned")
    events = {each["event"]: each["detail"] for each in reversed(command.json("audit", "--limit", "500")["items"])}
    assert events["preview.viewed"]["flow"] == "churn"
    assert events["features.exported"]["labels"] == ["churned"]


def test_the_discovered_schema_is_a_record_for_a_mapping(command: Command) -> None:
    shown = command("describe", "crm", "account", "--schema").stdout
    assert shown.startswith("# public.account\nrecord:\n  id: integer")
    types = yaml.safe_load(shown)["record"]
    assert types == {
        "id": "integer", "name": "text", "employees": "integer", "revenue": "decimal", "signed": "date", "seen_at": "datetime",
        "churned": "boolean",
    }  # fmt: skip
    assert command.json("describe", "crm", "account", "--schema")["record"] == types
    facts = command.json("describe", "crm", "account")
    assert (facts["key"], facts["fields"][0]) == (["id"], "id")
    assert "account" in command("describe", "crm").stdout
    assert "Did you mean" in command("describe", "crm", "acount").stderr
    pasted = {**MAPPING, "record": types}
    assert command("lint", "-", given=yaml.safe_dump(pasted)).returncode == 0


@pytest.fixture(scope="module")
def decided(command: Command) -> None:
    """Decisions on the four accounts, one of which is gone since then."""
    accounts = [{"id": number, "employees": number, "revenue": 100, "signed": "2026-01-01"} for number in (1, 2, 3, 4, 5)]
    (command.folder / "accounts.jsonl").write_text("\n".join(json.dumps(account) for account in accounts))
    command.json("score", "churn", "--file", "accounts.jsonl")


@pytest.mark.usefixtures("decided")
def test_a_backtest_shows_what_a_draft_would_change(command: Command) -> None:
    per_head = {"name": "per_head", "formula": "IF(employees = 0, 1, revenue / employees)"}
    fields = [{"name": "risk", "formula": "ROUND(score, 1) + IF(employees = 4, 1, 0)"}, {"name": "new", "formula": "score"}]
    draft = changed(command, features=[per_head, MAPPING["features"][1]], fields=fields)
    found = command.json("backtest", draft, "--flow", "churn")
    assert (found["rows"], found["gone"], found["decided_both_ways"], found["changed"]) == (4, 1, 3, 1)
    (risk,) = found["fields"]
    assert (risk["field"], risk["changed"], [each["key"] for each in risk["examples"]]) == ("risk", 1, ["3"])
    assert risk["examples"][0]["new"] == pytest.approx(risk["examples"][0]["old"] + 1)
    assert found["fields_added"] == ["new"]
    held = found["held"]
    assert (held["old"], held["new"], held["newly"], held["no_longer"]) == (1, 0, 0, 1)
    assert "division by zero" in next(iter(held["reasons_old"]))
    means = {(each["part"], each["name"]): each for each in found["means"]}
    assert means["feature", "per_head"]["old"] == pytest.approx((100.05 + 100 + 10) / 3)
    assert means["output", "score"]["shift"] == 0


@pytest.mark.usefixtures("decided")
def test_a_backtest_reads_well_and_is_audited(command: Command) -> None:
    draft = changed(command, fields=[{"name": "risk", "formula": "ROUND(score, 0)"}])
    shown = command("backtest", "churn", draft, "--flow", "churn", "--last", "2").stdout
    assert "2 records of churn decided under" in shown
    assert "; 1 no longer in the source" in command("backtest", "churn", draft, "--flow", "churn").stdout
    assert command("backtest", draft, "--flow", "none").returncode == 2
    assert command("backtest", "nowhere.yaml", "--flow", "churn").returncode == 2
    wrong = command("backtest", changed(command, features=[{"name": "a", "formula": "revenu"}]), "--flow", "churn")
    assert "Did you mean 'revenue'?" in wrong.stderr
    events = [each["detail"] for each in command.json("audit", "list", "action:backtest.viewed")["items"]]
    assert events[0]["flow"] == "churn"
    assert set(events[0]) == {"flow", "release", "old", "new", "count"}


def test_a_mapping_is_suggested_that_can_be_applied(command: Command) -> None:
    asked = ("suggest", "churn", "--model", "churn")
    assert "give them, in order, by --inputs" in command(*asked).stderr
    text = command(*asked, "--inputs", "employee_count,annual revenue").stdout
    assert "mapping: churn" in text
    found = yaml.safe_load(text)
    assert (found["record"], len(found["features"])) == ({"employees": "integer", "revenue": "decimal"}, 2)
    assert command("lint", "-", given=text).stdout == ""
    by_entity = command.json("suggest", "crm", "account", "--model", "churn@1", "--inputs", "signed,wind")
    assert [(each["input"], each["field"]) for each in by_entity["proposals"]] == [("signed", "signed"), ("wind", None)]
    assert command("suggest", "crm", "account", "--model", "nothing").returncode == 2


def test_a_suggestion_adds_only_what_is_not_there(command: Command) -> None:
    path = command.folder / "mine.yaml"
    mine = "# mine\nmapping: churn\nfeatures:\n  - {field: revenue}  # own\n\n# end\nfields:\n  - {name: risk, formula: score}\n"
    path.write_text(mine)
    asked = ("suggest", "churn", "--model", "churn", "--inputs", "revenue,employees,signed", "--into", "mine.yaml")
    done = command(*asked)
    assert done.stderr == "mine.yaml: added employees\nleft out signed: list `signed: date` under `record` first\n"
    start, end = mine.split("\n\n")
    added = path.read_text().removeprefix(f"{start}\n").removesuffix(f"\n{end}")
    assert added == "  - {field: employees, type: integer}  # 1.00\n"
    before = path.read_text()
    assert command(*asked).stderr.startswith("mine.yaml: nothing was added\n")
    assert path.read_text() == before
    path.write_text("mapping: churn\nfeatures: [{field: revenue}]\nfields: [{name: risk, formula: score}]\n")
    assert "add them by hand" in command(*asked).stderr
