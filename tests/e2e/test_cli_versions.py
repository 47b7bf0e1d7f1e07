"""What changes between versions of a mapping, and who uses what: by the real command line and over the API."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests import models
from tests.api import Served, client_of, problem, settings_for
from tests.command import Command

from fieldline_server.api import create_app
from fieldline_server.embedded import Postgres
from fieldline_server.wiring import Wiring, open_engine

STORE = "store_of_the_versions"
DOCUMENTS = """
connection: crm
connector: memory
settings: {store: crm}
---
mapping: leads
record: {opportunities: {amount: number, stage: text}}
tables: {sectors: {Banking: 3, Energy: 5}}
features:
  - {name: won, formula: 'SUM(opportunities.amount, stage = "Closed Won")'}
  - {name: sector, formula: 'LOOKUP("sectors", industry)', if_blank: 0}
fields:
  - {name: points, formula: ROUND(score)}
  - {name: note, formula: UPPER(industry)}
---
flow: leads
source: {connection: crm, query: {table: lead}}
lookups: [{name: opportunities, connection: crm, query: {table: opportunity, by: lead_id}}]
mapping: leads
models: [linear]
writes: [{name: answer, connection: crm, target: {table: lead, fields: {rating: points}}}]
""".replace("record: {", "record: {industry: text, ")
CHANGED = DOCUMENTS.replace("if_blank: 0", "if_blank: 1").replace("Banking: 3", "Banking: 4")


@pytest.fixture(scope="module")
def command(postgres: Postgres, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """The command line on a store of its own, with two published versions of a mapping."""
    folder = tmp_path_factory.mktemp("versions")
    command = Command(folder, {"FIELDLINE_DATABASE_URL": postgres.create_database(STORE, template=migrated_template)})
    models.save(models.linear((2.0, -1.0)), folder / "linear.onnx")
    assert command("models", "import", "linear.onnx").returncode == 0
    for name, text in (("first.yaml", DOCUMENTS), ("second.yaml", CHANGED)):
        (folder / name).write_text(text)
        done = command("apply", name)
        assert done.returncode == 0, done.stderr
    yield command
    postgres.drop_database(STORE)


@pytest.fixture(scope="module")
def digests(command: Command) -> list[str]:
    """The digests of the two versions, the newest first."""
    return [row["digest"] for row in command.json("versions", "leads")]


@dataclass(frozen=True)
class Api:
    """The API over the same store, called with a key that may read and configure."""

    client: httpx.Client
    key: dict[str, str]

    def get(self, path: str) -> httpx.Response:
        return self.client.get(f"/v1/{path}", headers=self.key)

    def items(self, method: str, path: str, **call: Any) -> Any:
        response = self.client.request(method, f"/v1/{path}", headers=self.key, **call)
        assert response.status_code == 200, response.text
        return response.json()["items"]


@pytest.fixture(scope="module")
def api(command: Command) -> Iterator[Api]:
    engine = open_engine(settings_for(command.env["FIELDLINE_DATABASE_URL"], command.folder / "data"), "test")
    assert isinstance(engine.parts, Wiring)
    served = Served(engine, create_app(engine, engine.parts.registry))
    with client_of(served) as client:
        yield Api(client, served.key("read", "configure"))
    engine.store.close()


def test_the_versions_of_a_mapping_are_listed_with_the_flows_that_use_them(command: Command) -> None:
    newest, first = command.json("versions", "leads")
    assert (newest["current"], first["current"]) == (True, False)
    assert [(use["flow"], use["current"]) for use in newest["used"]] == [("leads", True)]
    assert [(use["flow"], use["current"]) for use in first["used"]] == [("leads", False)]
    assert newest["published_by"].startswith("cli:")
    shown = command("versions", "leads").stdout
    assert newest["digest"][:12] in shown
    assert "(leads)" in shown
    assert "Did you mean 'leads'?" in command("versions", "lead").stderr


def test_two_published_versions_are_compared_by_the_first_digits_of_their_digests(command: Command, digests: list[str]) -> None:
    changes = command.json("diff", f"leads@{digests[1][:8]}", "leads", status=1)
    assert {(change["kind"], change["name"]) for change in changes} == {("table-rows", "sectors"), ("feature-blank", "sector")}
    assert all((change["features"], change["fields"]) == (["sector"], ["points"]) for change in changes)
    assert command.json("diff", f"leads@{digests[0]}", "leads") == []


def test_a_draft_is_compared_with_what_is_published(command: Command) -> None:
    (command.folder / "draft.yaml").write_text(CHANGED.replace("UPPER(industry)", "upper( Industry )"))
    assert command("diff", "leads", "draft.yaml").returncode == 0
    (command.folder / "draft.yaml").write_text(CHANGED.replace("UPPER(industry)", "LOWER(industry)"))
    done = command("diff", "leads", "draft.yaml")
    assert done.returncode == 1
    assert re.search(r"before:\s+UPPER\(industry\)\n\s+now:\s+LOWER\(industry\)\n\s+touches fields note", done.stdout)


def test_files_are_compared_where_nothing_runs(command: Command, tmp_path: Path) -> None:
    alone = Command(tmp_path)
    for name in ("first.yaml", "second.yaml"):
        (tmp_path / name).write_text((command.folder / name).read_text())
    assert len(alone.json("diff", "first.yaml", "second.yaml", status=1)) == 2
    assert alone("diff", "first.yaml", "absent.yaml").returncode == 2


def test_a_version_that_is_not_there_is_said(command: Command) -> None:
    assert "see 'fieldline versions leads'" in command("diff", "leads@0000", "leads").stderr
    assert command("diff", "leads@", "leads").returncode == 0


def test_the_audit_event_of_a_published_mapping_names_what_changed(command: Command) -> None:
    details = [event["detail"] for event in command.json("audit", "list", "action:config.published")["items"]]
    changed = [detail["changes"] for detail in details if "changes" in detail]
    assert changed == [[{"kind": "table-rows", "name": "sectors"}, {"kind": "feature-blank", "name": "sector"}]]


@pytest.mark.parametrize(
    ("kind", "name", "places", "features", "fields"),
    [
        ("field", "Industry", ["reads industry"], ["sector"], ["points", "note"]),
        ("field", "Lead.Industry", ["reads industry"], ["sector"], ["points", "note"]),
        ("field", "Opportunities.Amount", ["reads opportunities.amount"], ["won"], ["points"]),
        ("field", "opportunity.amount", ["reads opportunities.amount"], ["won"], ["points"]),
        ("field", "lead_id", ["lookups.opportunities.query.by"], [], []),
        ("field", "Lead.Rating", ["writes.answer.target.fields"], [], []),
        ("model", "linear@1", ["models: linear"], ["won", "sector"], ["points", "note"]),
        ("mapping", "leads", ["mapping"], ["won", "sector"], ["points", "note"]),
        ("connection", "crm", ["source", "lookups.opportunities", "writes.answer"], ["won", "sector"], ["points", "note"]),
    ],
)
def test_who_uses_a_thing_is_found(
    api: Api, kind: str, name: str, places: list[str], features: list[str], fields: list[str]
) -> None:
    (use,) = api.items("GET", "where-used", params={kind: name})
    assert (use["flow"], use["mapping"], use["model"]) == ("leads", "leads", "linear@1")
    assert (use["places"], use["features"], use["fields"]) == (places, features, fields)


@pytest.mark.parametrize(
    ("kind", "name"), [("field", "Contact.Industry"), ("field", "stages"), ("model", "linear@2"), ("connection", "erp")]
)
def test_what_nobody_uses_has_no_users(api: Api, kind: str, name: str) -> None:
    assert api.items("GET", "where-used", params={kind: name}) == []


def test_who_uses_a_thing_is_listed(command: Command, api: Api) -> None:
    assert command.json("where-used", "Lead.Industry") == api.items("GET", "where-used", params={"field": "Lead.Industry"})
    assert "points, note" in command("where-used", "--model", "linear").stdout
    assert "no flow uses the field 'Contact.Industry'" in command("where-used", "Contact.Industry").stderr


def test_one_thing_is_asked_for_at_a_time(command: Command) -> None:
    assert command("where-used").returncode == 2
    assert command("where-used", "industry", "--model", "linear").returncode == 2


def test_the_api_compares_versions_and_drafts(command: Command, api: Api, digests: list[str]) -> None:
    assert [row["digest"] for row in api.items("GET", "mappings/leads/versions")] == digests
    changes = api.items("GET", "mappings/leads/difference", params={"old": digests[1][:8]})
    assert changes == command.json("diff", f"leads@{digests[1]}", "leads", status=1)
    draft = CHANGED.split("---")[1].encode()
    assert api.items("POST", "mappings/leads/difference", content=draft) == []
    assert len(api.items("POST", "mappings/leads/difference", params={"old": digests[1]}, content=draft)) == 2
    problem(api.get("mappings/none/versions"), 404, "not_found")
    problem(api.get("mappings/leads/difference?old=0000"), 409, "misconfigured")
    problem(api.get("where-used"), 422, "rejected")
    problem(api.get("flows/none/specification"), 404, "not_found")


def test_a_specification_is_written_in_each_format_from_what_runs(command: Command, api: Api, digests: list[str]) -> None:
    spec = command.json("spec", "leads")
    assert (spec["mapping_digest"], spec["writes"][0]["dedupe"]) == (digests[0], "ledger")
    assert "`UPPER(industry)`" in command("spec", "leads").stdout
    assert command("spec", "leads", "--format", "html", "--out", "spec.html").stdout == ""
    assert "<code>UPPER(industry)</code>" in (command.folder / "spec.html").read_text()
    served = api.get("flows/leads/specification").json()
    assert served | {"generated_at": ""} == spec | {"generated_at": ""}
    assert api.get("flows/leads/specification?format=markdown").headers["content-type"] == "text/markdown; charset=utf-8"
    assert api.get("flows/leads/specification?format=html").text.startswith("<!doctype html>")
    assert command("spec", "lead").returncode == 2
    assert command("spec", "leads", "--out", "absent/spec.md").returncode == 2
