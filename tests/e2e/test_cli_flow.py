"""One story through the real command line: an installation comes up, a flow is published, run, mended and looked into."""

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql
from tests.command import EXAMPLES, Command
from tests.conftest import Eventually

from fieldline_server.demo_systems import missing_odbc
from fieldline_server.embedded import Database, Postgres, Redis
from fieldline_server.run_file import RunFile

ROWS = 60
UNKNOWN = "volcanic ash"
BIKES = EXAMPLES / "bike-demand"


@pytest.fixture(scope="module")
def erp(postgres: Postgres) -> Iterator[Database]:
    """The example's ERP with its first rows; two of them with weather that the mapping does not know."""
    if why := missing_odbc():
        pytest.skip(why)
    database = postgres.database("erp_of_the_command_line")
    with psycopg.connect(postgres.create_database(database.name)) as connection:
        connection.execute((BIKES / "table.sql").read_bytes())
        with (BIKES / "records.csv").open() as file:
            rows = [row for row, _ in zip(csv.DictReader(file), range(ROWS), strict=False)]
        for number in (3, 4):
            rows[number]["weathersit"] = UNKNOWN
        names, places = (sql.SQL(", ").join(part) for part in (map(sql.Identifier, rows[0]), [sql.Placeholder()] * len(rows[0])))
        query = sql.SQL("INSERT INTO demand_forecast ({}) VALUES ({})").format(names, places)
        connection.cursor().executemany(query, [list(row.values()) for row in rows])
    yield database
    postgres.drop_database(database.name)


@pytest.fixture(scope="module")
def command(
    postgres: Postgres, redis: Redis, migrated_template: str, erp: Database, tmp_path_factory: pytest.TempPathFactory,
    eventually: Eventually,
) -> Iterator[Command]:  # fmt: skip
    """The command line beside a running installation, which it finds by its data directory alone."""
    folder = tmp_path_factory.mktemp("command")
    name = "store_of_the_command_line"
    env = {"FIELDLINE_DATABASE_URL": postgres.create_database(name, template=migrated_template), "FIELDLINE_BROKER_URL": redis.url}
    up = Command(folder, {**env, "FIELDLINE_API_PORT": "0", "ERP_PASSWORD": erp.password})
    log = folder / "up.log"
    process = up.start("up", "--workers", "2", log=log)
    try:
        eventually(lambda: process.poll() is not None or (folder / "data/run.json").exists())
        assert process.poll() is None, log.read_text()
        yield Command(folder, {"ERP_PASSWORD": erp.password})
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)
        postgres.drop_database(name)


@pytest.fixture(scope="module")
def documents(command: Command, erp: Database) -> Path:
    """The example's documents, for this ERP."""
    parts = list(yaml.safe_load_all((BIKES / "flow.yaml").read_text()))
    address = f"Driver={{PostgreSQL Unicode}};Servername=127.0.0.1;Port={erp.port};Database={erp.name};Uid=fieldline"
    parts[0]["settings"]["connection_string"] = address
    path = command.folder / "bikes.yaml"
    path.write_text(yaml.safe_dump_all(parts, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def published(command: Command, documents: Path) -> Path:
    """The flow's documents, once its model is imported and they are applied."""
    assert command.json("models", "import", str(BIKES / "model.onnx"), "--name", "bike-demand")["version"] == 1
    assert {each["result"] for each in command.json("apply", str(documents))["documents"]} == {"published"}
    return documents


@pytest.fixture(scope="module")
def run(command: Command, published: Path) -> Any:
    """The first run of the flow, waited for."""
    return command.json("run", "bike-demand")


def test_a_model_that_is_not_there_is_a_finding_with_its_place(command: Command, documents: Path) -> None:
    text = documents.read_text().replace("- bike-demand\nwrites", "- bike-demands\nwrites")
    line = text.splitlines().index("- bike-demands") + 1
    done = command("apply", "-", given=text)
    assert done.returncode == 1
    assert f"-:{line}:" in done.stderr
    assert "there is no model 'bike-demands'" in done.stderr
    assert "nothing was published" in done.stderr


def test_what_was_published_is_unchanged_when_it_is_applied_again(command: Command, published: Path) -> None:
    assert {each["result"] for each in command.json("apply", str(published))["documents"]} == {"unchanged"}
    assert command("lint", str(published)).returncode == 0


def test_the_systems_tables_and_fields_are_discovered(command: Command, published: Path) -> None:
    tables = {each["name"].rpartition(".")[2]: each for each in command.json("discover", "erp")}
    assert "demand_forecast" in tables
    fields = {each["name"]: each for each in command.json("discover", "erp", tables["demand_forecast"]["name"])}
    assert fields["hr"]["key"]
    assert command("discover", "erp", "demand_forecasts").returncode == 2


def test_a_preview_shows_each_feature_with_its_formula(command: Command, published: Path) -> None:
    first = command.json("preview", "bike-demand", "--rows", "2")[0]
    month = next(each for each in first["features"] if each["feature"] == "mnth")
    assert (month["formula"], month["computed"], month["value"]) == ("mnth", "Jan", 0)
    day = next(each for each in first["features"] if each["feature"] == "workingday")
    assert {step["part"] for step in day["steps"]} >= {"holiday", "weekday", day["formula"]}


def test_a_run_is_waited_for_and_its_rows_are_counted(command: Command, run: Any, erp: Database) -> None:
    assert (run["state"], run["rows"], run["scored"], run["held"], run["written"]) == ("succeeded", ROWS, ROWS - 2, 2, ROWS - 2)
    with psycopg.connect(erp.url) as connection:
        row = connection.execute("SELECT count(*) FROM demand_forecast WHERE expected_bikers IS NOT NULL").fetchone()
    assert row == (ROWS - 2,)


def test_runs_are_listed_and_shown(command: Command, run: Any) -> None:
    assert run["id"] in [each["id"] for each in command.json("runs")]
    assert command.json("runs", str(run["id"]))["rows"] == ROWS
    assert "succeeded" in command("runs").stdout
    assert command("runs", "show", "999999").returncode == 2


def test_a_decision_is_shown_whole_by_the_parts_of_its_key(command: Command, run: Any) -> None:
    (decision,) = command.json("decisions", "record:1", "record:17")["items"]
    assert decision["fields"]["demand_level"] in ("low", "normal", "high")
    assert decision["writes"][0]["outcome"] == "written"
    assert "expected_bikers" in command("decisions", "record:1", "record:17").stdout


def test_dead_letters_are_looked_at_mended_and_run_again(command: Command, run: Any) -> None:
    (cause,) = command.json("dead-letters", "causes")
    assert (cause["count"], cause["stage"]) == (2, "map")
    letters = command.json("dead-letters", "--run", str(run["id"]))
    shown = command.json("dead-letters", "show", str(letters[0]["id"]))
    assert shown["record"]["weathersit"] == UNKNOWN
    assert (
        command.json("dead-letters", "edit", str(letters[0]["id"]), "--set", "weathersit=clear", "--why", "typo")["replayed"] == 1
    )
    assert command.json("dead-letters", "discard", "bike-demand", str(letters[1]["id"]), "--why", "no such day")["discarded"] == 1
    assert command.json("dead-letters") == []


def test_a_record_is_scored_at_once(command: Command, published: Path) -> None:
    record = ('{"day": 366, "hr": 8, "mnth": "May", "season": 2, "holiday": false, "weekday": 1, "workingday": true, "temp": 0.5, '
              '"atemp": 0.5, "hum": 0.4, "windspeed": 0.1, "weathersit": "clear"}')  # fmt: skip
    (answer,) = command.json("score", "bike-demand", "--record", record)
    assert (answer["key"], answer["held"]) == ('["366", "8"]', None)
    assert answer["fields"]["demand_level"] in ("low", "normal", "high")
    held = command.json("score", "bike-demand", "--record", record.replace("clear", UNKNOWN), status=1)
    assert held[0]["held"]


def test_flows_writes_and_targets_are_stopped_and_go_on(command: Command, published: Path) -> None:
    assert command("flows", "pause", "bike-demand", "--why", "stocktaking").returncode == 0
    assert command.json("flows")[0]["paused"] == "stocktaking"
    waiting = command("run", "bike-demand")
    assert waiting.returncode == 1
    assert "the flow is paused (stocktaking)" in waiting.stderr
    assert command("runs", "cancel", str(command.json("runs")[0]["id"])).returncode == 0
    for arguments in (["flows", "resume", "bike-demand"], ["writes", "pause"], ["writes", "resume"], ["targets", "retry", "erp"]):
        assert command(*arguments).returncode == 0
    assert command("flows", "pause", "bikes").returncode == 2
    assert command("targets", "retry", "crm").returncode == 2


def test_keys_are_made_once_and_revoked(command: Command) -> None:
    made = command.json("keys", "make", "a script", "--scope", "read", "--days", "1")
    assert made["key"].startswith("fl_")
    assert made["key"] not in command("keys").stdout
    assert command("keys", "revoke", made["id"]).returncode == 0
    assert command("keys", "revoke", made["id"]).returncode == 2
    assert command("keys", "make", "a script", "--scope", "everything").returncode == 1


def test_a_secret_is_read_from_standard_input_and_kept_sealed(command: Command, postgres: Postgres) -> None:
    assert "store:erp-password" in command("secrets", "set", "erp-password", given="hush\n").stdout
    with psycopg.connect(postgres.database("store_of_the_command_line").url) as connection:
        row = connection.execute("SELECT body FROM secret WHERE name = 'erp-password'").fetchone()
    assert row
    assert b"hush" not in bytes(row[0])


def test_models_are_listed_and_aliases_moved(command: Command, published: Path) -> None:
    assert command.json("models")[0]["aliases"] == ["champion"]
    assert command.json("models", "alias", "bike-demand", "challenger", "1")["aliases"] == ["challenger", "champion"]
    assert command.json("models", "show", "bike-demand@challenger")["signature"]["inputs"]
    assert command("models", "alias", "bike-demand", "challenger", "9").returncode == 2


def test_every_act_is_in_the_audit_trail(command: Command, run: Any) -> None:
    command("decisions", "record:1", "record:17")
    command("secrets", "set", "another", given="x")
    seen = {each["event"] for each in command.json("audit", "--limit", "500")["items"]}
    assert seen >= {"config.published", "run.requested", "decision.viewed", "model.imported", "secret.stored", "key.made"}
    refused = command("audit", "list", "action:run.reqested")
    assert (refused.returncode, "Did you mean 'run.requested'?" in " ".join(refused.stderr.split())) == (2, True), refused.stderr


def test_decisions_and_events_are_found_page_by_page(command: Command, run: Any) -> None:
    first = command.json("decisions", "flow:bike-demand", "outcome:written", "--limit", "2")
    second = command.json("decisions", "flow:bike-demand", "outcome:written", "--limit", "2", "--cursor", first["next"])
    assert len({each["decision"] for each in [*first["items"], *second["items"]]}) == 4
    (asked,) = command.json("audit", "list", "action:run.requested", "--limit", "1")["items"]
    assert asked["detail"]["flow"] == "bike-demand"
    refused = command("decisions", "flow:bike-demnad")
    assert (refused.returncode, "Did you mean" in refused.stderr) == (2, True)
    assert command("decisions", "record:none").stdout == "nothing was decided on this record\n"


def test_the_evidence_on_a_record_is_exported_and_verified_by_a_program_that_knows_nothing_of_us(
    command: Command, run: Any, tmp_path: Path
) -> None:
    kept, out = tmp_path / "checkpoint", tmp_path / "evidence.zip"
    size = command.json("audit", "checkpoint", "--out", str(kept))["size"]
    key = command.json("audit", "key")["vkey"]

    done = command.json("audit", "export", "--key", "1", "--key", "17", "--since", str(kept), "--out", str(out))

    assert (done["entries"], done["rows"]) == (2, 2)
    assert done["log_size"] > size
    assert out.stat().st_mode & 0o777 == 0o600
    verifier = [sys.executable, "-I", str(EXAMPLES.parent / "verifier/fieldline_verify.py"), str(out)]
    told = subprocess.run([*verifier, "--key", key, "--seen", str(kept)], capture_output=True, text=True, timeout=300, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "all that was checked holds" in told.stdout
    assert command("audit", "export", "--key", "no such record", "--out", str(out)).returncode == 2
    assert "cannot be written" in command("audit", "checkpoint", "--out", str(tmp_path / "none" / "checkpoint")).stderr
    assert command("audit", "export", "--from", "5", "--to", "5", "--out", str(out)).returncode == 2


def test_a_range_of_the_log_is_exported_without_the_rows(command: Command, run: Any, tmp_path: Path) -> None:
    done = command.json("audit", "export", "--from", "0", "--to", "4", "--entries-only", "--out", str(tmp_path / "range.zip"))
    assert (done["entries"], done["batches"], done["rows"]) == (4, 0, 0)


def test_the_doctor_finds_the_installation_well(command: Command, run: Any) -> None:
    checks = command.json("doctor")
    assert {check["name"] for check in checks} >= {"database", "migrations", "broker", "workers", "invariants", "wrapping key"}
    assert [check for check in checks if check["state"] == "problem"] == []


def test_the_note_of_what_runs_is_for_its_user_only(command: Command) -> None:
    assert RunFile(command.folder / "data/run.json").path.stat().st_mode & 0o077 == 0
    assert os.access(command.folder / "data/run.json", os.R_OK)


def test_the_doctor_says_what_is_wrong(postgres: Postgres, redis: Redis, tmp_path: Path) -> None:
    url = postgres.create_database("store_of_an_ill_one")
    ill = Command(tmp_path, {"FIELDLINE_DATABASE_URL": url, "FIELDLINE_BROKER_URL": "redis://127.0.0.1:1/0"})
    wrong = {check["name"] for check in ill.json("doctor", status=1) if check["state"] == "problem"}
    assert wrong == {"migrations", "broker"}
    assert "run 'fieldline migrate'" in ill("runs").stderr
    assert ill.json("migrate")["applied"]
    assert ill.json("runs") == []
    postgres.drop_database("store_of_an_ill_one")
