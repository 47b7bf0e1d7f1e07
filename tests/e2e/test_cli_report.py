"""Reports by the real command line."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import models
from tests.command import Command

from fieldline_server.embedded import Postgres

pytestmark = pytest.mark.soak

PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/report.md"
TOLD = [line.split("#")[0].split() for line in re.findall(r"^fieldline (report .+)$", PAGE.read_text(), re.MULTILINE)]
STORE = "store_of_the_reports"
DOCUMENTS = """
connection: crm
connector: memory
settings: {store: crm}
---
mapping: leads
record: {size: number, age: number}
features: [{field: size}, {field: age}]
fields: [{name: points, formula: score}]
---
flow: leads
source: {connection: crm, query: {table: lead}}
mapping: leads
models: [linear]
"""


@pytest.fixture(scope="module")
def command(postgres: Postgres, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """The command line on a store of its own, where two records were decided on."""
    folder = tmp_path_factory.mktemp("reports")
    command = Command(folder, {"FIELDLINE_DATABASE_URL": postgres.create_database(STORE, template=migrated_template)})
    models.save(models.linear((2.0, -1.0)), folder / "linear.onnx")
    (folder / "leads.yaml").write_text(DOCUMENTS)
    for arguments in (("models", "import", "linear.onnx"), ("apply", "leads.yaml")):
        done = command(*arguments)
        assert done.returncode == 0, done.stderr
    given = '{"id": "ada", "size": 3, "age": 1}\n{"id": "bob", "size": 0.1, "age": 2}\n'
    assert command("score", "leads", "--file", "-", given=given).returncode == 0
    yield command
    postgres.drop_database(STORE)


def test_the_reports_are_listed(command: Command) -> None:
    assert {row["kind"] for row in command.json("report", "--list")} >= {"disclosures", "change-log"}
    assert "45 CFR 164.528" in command("report", "--list").stdout


def test_a_report_goes_to_standard_output_or_to_a_file(command: Command) -> None:
    said = json.loads(command("report", "ai-act-log", "--flow", "leads").stdout)
    assert [row["input"].split(" ")[1] for row in said["rows"] if row["what"] == "decision"] == ["ada", "bob"]
    done = command("report", "change-log", "--format", "csv", "--out", "changes.csv")
    assert (done.returncode, done.stdout) == (0, "")
    assert "config.published" in (command.folder / "changes.csv").read_text()
    assert (command.folder / "changes.csv").stat().st_mode & 0o777 == 0o600


def test_one_record_is_reported_as_lines_of_resources(command: Command) -> None:
    done = command("report", "fhir-audit-events", "--key", "ada", "--format", "ndjson")
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["resourceType"] == "AuditEvent"
    assert "bob" not in done.stdout


@pytest.mark.parametrize("told", TOLD, ids=" ".join)
def test_the_commands_of_the_page_run(told: list[str], command: Command) -> None:
    names = {"4711": "ada", "renewals": "leads"}
    done = command(*(names.get(word, word) for word in told))
    assert done.returncode == 0, done.stderr


def test_a_period_bounds_a_report(command: Command) -> None:
    assert command.json("report", "ai-act-log", "--since", "2020-01-01", "--until", "2020-02-01")["rows"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name a report"),
        (("none",), "there is no report 'none'"),
        (("disclosures",), "needs a key"),
        (("change-log", "--flow", "leads"), "takes no flow"),
        (("ai-act-log", "--since", "yesterday"), "is no day or time"),
        (("ai-act-log", "--flow", "nothing"), "nothing"),
        (("ai-act-log", "--out", "nowhere/report.json"), "cannot be written"),
    ],
)
def test_what_cannot_be_reported_is_said(arguments: tuple[str, ...], words: str, command: Command) -> None:
    done = command("report", *arguments)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.replace("│", " ").split())
