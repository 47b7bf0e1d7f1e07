"""Mappings tried over HTTP: previews, golden records, backtests, schemas and suggestions."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import polars as pl
import pytest
import yaml
from tests.api import Served, Template, problem, served

from fieldline_connectors import memory
from fieldline_core.batch import Batch

YAML = {"content-type": "application/yaml"}
MAPPING = {
    "mapping": "triage",
    "record": {"a": "number"},
    "features": [{"name": "a", "formula": "100 / a"}, {"field": "b"}],
    "fields": [{"name": "points", "formula": "score"}],
    "tests": [{"name": "one", "record": {"a": 4, "b": 1}, "features": {"a": 25}, "outputs": {"score": 3}, "fields": {"points": 3}}],
}


@pytest.fixture
def api(template: Template, tmp_path: Path) -> Iterator[Served]:
    memory.store(template.folder.name).tables.clear()
    frame = pl.DataFrame({"a": [4.0, 0.0, 5.0], "b": [1.0, 1.0, None]})
    memory.store(template.folder.name).put("records", Batch.of(["ada", "bob", "cyd"], frame))
    with served(template, tmp_path) as here:
        yield here


def draft(**changes: object) -> bytes:
    return yaml.safe_dump({**MAPPING, **changes}).encode()


def test_a_preview_shows_the_features_of_the_first_records(api: Served, client: httpx.Client) -> None:
    shown = client.post("/v1/flows/nightly/preview", params={"rows": 2}, headers=api.key("audit")).json()["items"]
    assert [each["key"] for each in shown] == ["ada", "bob"]
    features = [(each["feature"], each["formula"], each["value"]) for each in shown[0]["features"]]
    assert features == [("a", "a", 4.0), ("b", "b", 1.0)]
    (event,) = api.events("preview.viewed")
    assert (event["detail"]["flow"], event["detail"]["draft"]) == ("nightly", False)


def test_a_draft_is_previewed_step_by_step_and_not_kept(api: Served, client: httpx.Client) -> None:
    key = api.key("audit")
    text = draft(features=[{"name": "a", "formula": "100 / (a + 1)"}, {"field": "b"}])
    shown = client.post("/v1/flows/nightly/preview", content=text, headers=key).json()["items"]
    first = shown[0]["features"][0]
    steps = [(each["part"], each["value"]) for each in first["steps"]]
    assert steps == [("a", 4.0), ("(a + 1)", 5.0), ("100 / (a + 1)", 20.0)]
    assert (first["value"], first["note"]) == (20.0, "")
    assert client.post("/v1/flows/nightly/preview", headers=key).json()["items"][0]["features"][0]["value"] == 4.0


def test_a_feature_that_cannot_be_computed_says_why(api: Served, client: httpx.Client) -> None:
    shown = client.post("/v1/flows/nightly/preview", content=draft(), headers=api.key("audit")).json()["items"]
    assert shown[1]["features"][0]["value"] is None
    assert "division by zero" in shown[1]["features"][0]["note"]
    assert "blank" in shown[2]["features"][1]["note"]


def test_a_preview_that_cannot_be_made_says_why(api: Served, client: httpx.Client) -> None:
    key = api.key("audit")
    problem(client.post("/v1/flows/none/preview", headers=key), 404, "not_found")
    problem(client.post("/v1/flows/triage/preview", headers=key), 409, "misconfigured")
    wrong = client.post("/v1/flows/nightly/preview", content=draft(features=[{"formula": "a +", "name": "a"}]), headers=key)
    assert "features[0].formula" in problem(wrong, 409, "misconfigured")["detail"]
    two = client.post("/v1/flows/nightly/preview", content=draft() + b"\n---\n" + draft(), headers=key)
    assert "2 mappings" in problem(two, 409, "misconfigured")["detail"]


def test_golden_records_of_a_draft_are_run(api: Served, client: httpx.Client) -> None:
    key = api.key("configure")
    (passed,) = client.post("/v1/mappings/test", content=draft(), headers=key).json()["items"]
    assert passed == {"mapping": "triage", "test": "one", "passed": True, "failures": []}
    golden = {"name": "two", "record": {"a": 4, "b": 1}, "features": {"a": 24}}
    (failed,) = client.post("/v1/mappings/test", content=draft(tests=[golden]), headers=key).json()["items"]
    (failure,) = failed["failures"]
    assert (failure["part"], failure["name"], failure["expected"], failure["given"]) == ("feature", "a", 24, 25.0)
    assert failure["line"] > 1
    said = problem(client.post("/v1/mappings/test", content=draft(features=[]), headers=key), 422, "documents")
    assert said["findings"]


def test_golden_records_of_a_published_mapping_are_run_with_its_model(api: Served, client: httpx.Client) -> None:
    key = api.key("configure")
    golden = {"name": "two", "record": {"a": 4, "b": 1}, "outputs": {"points": 3}}
    assert client.post("/v1/apply", content=draft(tests=[golden]), headers=key).status_code == 200
    (failed,) = client.get("/v1/mappings/triage/test", headers=key).json()["items"]
    assert failed["failures"][0]["note"].startswith("the model has no output 'points'")
    problem(client.get("/v1/mappings/triag/test", headers=key), 409, "misconfigured")


def test_a_backtest_compares_a_draft_with_what_the_flow_does_now(api: Served, client: httpx.Client) -> None:
    records = [{"key": key, "record": {"a": 1, "b": 1}} for key in ("ada", "bob", "eve")]
    assert client.post("/v1/flows/nightly/score", json={"records": records}, headers=api.key("score")).status_code == 200
    text = draft(features=[{"field": "a"}, {"field": "b"}], fields=[{"name": "points", "formula": "score * 2"}])
    found = client.post("/v1/flows/nightly/backtest", params={"last": 10}, content=text, headers=api.key("audit")).json()
    assert (found["rows"], found["gone"], found["changed"]) == (2, 1, 2)
    assert found["fields"][0]["examples"][0] == {"key": "ada", "old": 7.0, "new": 14.0}
    assert [(each["name"], each["old"], each["shift"]) for each in found["means"]] == [("a", 2, 0), ("b", 1, 0), ("score", 3, 0)]
    assert len(api.events("backtest.viewed")) == 1


def test_records_that_came_by_webhook_are_taken_from_their_evidence(api: Served, client: httpx.Client) -> None:
    records = [{"key": "ada", "record": {"a": 4, "b": 1}}, {"key": "bob", "record": {"a": 0, "b": 1}}]
    assert client.post("/v1/flows/triage/score", json={"records": records}, headers=api.key("score")).status_code == 200
    key = api.key("audit")
    found = client.post("/v1/flows/triage/backtest", content=draft(), headers=key).json()
    assert (found["rows"], found["held"]["newly"], found["changed"]) == (2, 1, 1)
    assert found["fields"][0]["examples"] == [{"key": "ada", "old": 7.0, "new": 49.0}]
    more = draft(features=[{"field": "a"}, {"field": "c"}])
    said = problem(client.post("/v1/flows/triage/backtest", content=more, headers=key), 409, "misconfigured")
    assert "the evidence of triage has no field 'c'" in said["detail"]


def test_a_schema_is_shown_and_a_mapping_suggested(api: Served, client: httpx.Client) -> None:
    key = api.key("read")
    schema = client.get("/v1/connections/desk/schema", params={"entity": "records"}, headers=key).json()
    assert schema == {"name": "records", "record": {"a": "number", "b": "number"}, "lists": []}
    asked = {"entity": "records", "model": "triage", "inputs": ["b", "wind"]}
    found = client.get("/v1/connections/desk/suggestion", params=asked, headers=key).json()
    assert found["proposals"] == [{"input": "b", "field": "b", "score": 1.0}, {"input": "wind", "field": None, "score": 0.0}]
    assert yaml.safe_load(found["mapping"])["features"] == [{"field": "b", "type": "number"}]
    problem(client.get("/v1/connections/none/schema", params={"entity": "records"}, headers=key), 404, "not_found")
