"""What editors are offered, by the real command line and over HTTP."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from tests.api import Served, Template, client_of, problem, served
from tests.command import Command

from fieldline_mappings.completion import functions, operators, words

DRAFT = {
    "mapping": "triage",
    "record": {"Signed on": "date", "Orders": {"amount": "number"}},
    "tables": {"risk": {"Banking": 0.2}},
    "features": [{"name": "days", "formula": "DAYS_SINCE(`Signed on`)"}],
    "fields": [{"name": "points", "formula": "SUM("}],
}


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """The command where nothing runs."""
    return Command(tmp_path)


@pytest.fixture(scope="module")
def api(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(template, tmp_path_factory.mktemp("api")) as here:
        yield here


@pytest.fixture(scope="module")
def client(api: Served) -> Iterator[httpx.Client]:
    with client_of(api) as client:
        yield client


def test_the_command_lists_all_functions_by_group(command: Command) -> None:
    lines = command("functions").stdout.splitlines()
    assert lines[0] == "logic"
    assert lines.index("logic") < lines.index("mathematics") < lines.index("aggregates")
    assert sum(line.startswith(f"{function.usage} ") for function in functions() for line in lines) == len(functions())
    assert [each["name"] for each in command.json("functions")] == [function.name for function in functions()]


def test_the_command_shows_one_function_in_full(command: Command) -> None:
    lines = command("functions", "round").stdout.splitlines()
    assert lines[0].split(maxsplit=1) == ["function", "ROUND(number, [places])"]
    assert lines[-1].split() == ["places", "number", "optional"]
    (shown,) = command.json("functions", "ROUND")
    assert (shown["example"], shown["answer"], shown["results"]) == ("ROUND(2.345, 2)", "2.35", ["number"])
    assert [(each["name"], each["types"], each["optional"]) for each in shown["parameters"]] == [
        ("number", ["number"], False), ("places", ["number"], True),
    ]  # fmt: skip


def test_both_forms_of_a_function_are_shown_with_the_rows_of_the_example(command: Command) -> None:
    said = command("functions", "MAX").stdout
    assert "MAX(number, [number], …)" in said
    assert "MAX(list.field, [condition])" in said
    assert "amount: 30, placed: 2024-01-10, state: paid" in said


def test_an_unknown_function_is_told_the_near_one(command: Command) -> None:
    done = command("functions", "ROUNDD")
    assert (done.returncode, done.stderr) == (2, "fieldline: there is no function 'ROUNDD'. Did you mean 'ROUND'?\n")


def test_the_functions_are_listed_over_http(api: Served, client: httpx.Client) -> None:
    items = client.get("/v1/formula-functions", headers=api.key("read")).json()["items"]
    assert [item["signature"] for item in items] == [function.signature for function in functions()]
    described = api.app.openapi()["components"]["schemas"]["FormulaFunction"]
    assert described["required"] == [*items[0]]


def test_a_draft_is_completed_with_its_names_and_the_outputs_of_its_model(api: Served, client: httpx.Client) -> None:
    key, draft = api.key("configure"), yaml.safe_dump(DRAFT).encode()
    offered = client.post("/v1/mappings/completions", params={"model": "triage"}, content=draft, headers=key).json()
    assert [(name["kind"], name["written"], name["type"]) for name in offered["names"]] == [
        ("field", "`Signed on`", "date"), ("list", "Orders", "list of rows"), ("child field", "Orders.amount", "number"),
        ("feature", "days", "number"), ("table", '"risk"', "number"), ("output", "score", "number"),
    ]  # fmt: skip
    without = client.post("/v1/mappings/completions", content=draft, headers=key).json()
    assert [name["kind"] for name in without["names"]] == [name["kind"] for name in offered["names"][:-1]]


def test_without_a_draft_the_language_is_offered(api: Served, client: httpx.Client) -> None:
    offered = client.post("/v1/mappings/completions", headers=api.key("configure")).json()
    assert offered["names"] == []
    assert [each["signature"] for each in offered["functions"]] == [function.signature for function in functions()]
    assert [each["usage"] for each in offered["operators"]] == [operator.usage for operator in operators()]
    assert [each["name"] for each in offered["words"]] == [word.name for word in words()]


def test_a_draft_that_cannot_be_read_says_why(api: Served, client: httpx.Client) -> None:
    key = api.key("configure")
    wrong = client.post("/v1/mappings/completions", content=b"mapping: m\nfeatures: []\n", headers=key)
    assert "features" in problem(wrong, 409, "misconfigured")["detail"]
    problem(client.post("/v1/mappings/completions", params={"model": "none"}, headers=key), 409, "misconfigured")
