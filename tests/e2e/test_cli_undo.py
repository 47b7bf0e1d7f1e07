"""Undoing and explaining by the real command line, on a real database over ODBC."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import yaml
from tests import models
from tests.command import Command
from tests.engines import Bench

from fieldline_core.pipeline.sequence import seal_all
from fieldline_server.embedded import Database

pytestmark = pytest.mark.soak

TABLE = """
CREATE TABLE leads (id int PRIMARY KEY, size float8, score float8);
INSERT INTO leads VALUES (1, 3, 10), (2, 4, NULL), (3, NULL, 30)"""


def documents(erp: Database) -> str:
    """A flow that reads `leads` and writes the score into the same rows."""
    address = ";".join(part for part in erp.odbc.split(";") if not part.startswith("Pwd="))
    settings = {"connection_string": address, "password": {"secret": "env:ERP_PASSWORD"}}
    target = {"table": "leads", "key": "id", "fields": {"score": "points"}}
    mapping = {
        "mapping": "leads", "record": {"size": "number"}, "features": [
            {"name": "a", "formula": "size * 2", "label": "Twice the size"}, {"name": "b", "formula": "0"}],
        "fields": [{"name": "points", "formula": "ROUND(score, 1)"}],
    }  # fmt: skip
    flow = {"flow": "leads", "source": {"connection": "erp", "query": {"table": "leads", "key": "id"}}, "mapping": "leads",
            "models": ["linear"], "writes": [{"name": "back", "connection": "erp", "target": target}]}  # fmt: skip
    return yaml.safe_dump_all([{"connection": "erp", "connector": "odbc", "settings": settings}, mapping, flow])


class Desk:
    """The command line, and an engine beside it that does the work it asks for."""

    def __init__(self, folder: Path, url: str, erp: Database) -> None:
        self.erp = erp
        self.command = Command(folder, {"FIELDLINE_DATABASE_URL": url, "ERP_PASSWORD": erp.password})
        models.save(models.linear((2.0, -1.0)), folder / "linear.onnx")
        (folder / "leads.yaml").write_text(documents(erp))
        for arguments in (("models", "import", "linear.onnx"), ("apply", "leads.yaml")):
            done = self.command(*arguments)
            assert done.returncode == 0, done.stderr
        self.bench = Bench(url, folder / "data")

    def ask(self, sql: str) -> list[tuple[object, ...]]:
        """Rows of the ERP's database."""
        with psycopg.connect(self.erp.url, autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def scores(self) -> list[object]:
        """The scores that are there."""
        return [row[0] for row in self.ask("SELECT score FROM leads ORDER BY id")]

    def work(self) -> None:
        """Does all that is due, and seals it."""
        self.bench.drain()
        seal_all(self.bench.engine)


@pytest.fixture
def desk(database_url: str, erp: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("ERP_PASSWORD", erp.password)
    made = Desk(tmp_path, database_url, erp)
    made.ask(TABLE)
    assert made.command("run", "leads", "--no-wait").returncode == 0
    made.work()
    assert made.scores() == [12.0, 16.0, 30.0]
    yield made
    made.bench.engine.parts.connector("erp").close()
    made.bench.close()


def test_an_undo_is_shown_first_then_applied_and_never_twice(desk: Desk) -> None:
    dry = desk.command("undo", "--run", "1")
    assert (dry.returncode, desk.scores()) == (0, [12.0, 16.0, 30.0])
    assert re.search(r"back +2 +to be put back", dry.stdout)
    assert "nothing was written" in dry.stderr
    assert desk.command.json("undo", "--run", "1")["put_back"] == 2

    desk.ask("UPDATE leads SET score = 99 WHERE id = 1")
    refused = desk.command("undo", "--run", "1", "--apply", "--yes")
    assert (refused.returncode, "--why" in refused.stderr) == (2, True)
    done = desk.command("undo", "--run", "1", "--apply", "--yes", "--why", "bad release")
    assert (done.returncode, done.stdout) == (0, "run 2 puts back 1 row: see 'fieldline runs 2'\n")
    desk.work()

    assert desk.scores() == [99.0, None, 30.0]
    again = desk.command("undo", "--run", "1", "--apply", "--yes", "--why", "bad release")
    desk.work()
    assert desk.scores() == [99.0, None, 30.0]
    assert (again.returncode, again.stdout) == (0, "there is nothing to put back\n")
    (event, *_) = reversed(desk.command.json("audit", "list", "action:undo.requested")["items"])
    assert (event["detail"]["why"], event["detail"]["put_back"]) == ("bad release", 1)


def test_an_undo_without_yes_is_asked_for(desk: Desk) -> None:
    no = desk.command("undo", "--flow", "leads", "--since", "1d", "--apply", "--why", "bad", given="n\n")
    assert (no.returncode, desk.bench.all("SELECT count(*) AS n FROM run WHERE kind = 'undo'")[0]["n"]) == (1, 0)
    yes = desk.command("undo", "--flow", "leads", "--since", "1d", "--apply", "--why", "bad", given="y\n")
    assert yes.returncode == 0, yes.stderr
    desk.work()

    assert desk.scores() == [10.0, None, 30.0]


def test_what_is_undone_is_named_once(desk: Desk) -> None:
    for wish in ("", "--run 1 --flow leads", "--flow leads", "--flow leads --since x"):
        assert desk.command("undo", *wish.split()).returncode == 2


def test_a_decision_is_explained_from_the_record_to_the_log(desk: Desk) -> None:
    told = desk.command("explain", "2")

    assert told.returncode == 0, told.stderr
    for words in (
        "Decision 1-1 on 2, by the flow leads", "Run 1, asked for by", "read the record from erp",
        "Twice the size; = size * 2; from size 4.0", "The model linear@1 said score = 16.0",
        "= ROUND(score, 1); goes to back.score", "it took it at attempt 1", "before: blank",
        "under the signed checkpoint", "imported the model linear@1", "wrote and published the mapping leads",
        "No approval is recorded",
    ):  # fmt: skip
        assert words in told.stdout
    story = desk.command.json("explain", "2", "--decision", "1-1")
    assert [step["step"] for step in story["steps"]] == ["received", "mapped", "scored", "decided", "written", "sealed"]
    times = [step["at"] for step in story["steps"]]
    assert times == sorted(times)
    assert {step["entry"]["position"] is not None for step in story["steps"] if step["entry"]} == {True}
    assert len(desk.command.json("audit", "list", "action:decision.viewed")["items"]) == 2


def test_a_held_an_undone_and_an_erased_decision_have_their_stories(desk: Desk) -> None:
    held = desk.command.json("explain", "3")
    assert [step["step"] for step in held["steps"]] == ["received", "mapped", "held back", "set aside", "sealed"]
    assert desk.command("undo", "--run", "1", "--apply", "--yes", "--why", "bad release").returncode == 0
    desk.work()
    undone = desk.command("explain", "2").stdout
    assert "(bad release), put back what erp held before" in undone
    assert desk.command("audit", "erase", "--key", "2", "--why", "asked for").returncode == 0

    erased = desk.command("explain", "2")

    assert "erased the record (asked for): 1 decision" in erased.stdout
    assert "its commitment stays" in desk.command("explain", "2", "--decision", "1-1").stdout
    assert desk.command("explain", "nobody").returncode == 2
