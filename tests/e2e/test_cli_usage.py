"""Exit codes and words of the command line where something is wrong, and its reference page."""

import json
from pathlib import Path

import pytest
from tests.command import Command

from fieldline_server.cli.reference import reference
from fieldline_server.run_file import NOTHING_RUNS

MAPPING = """mapping: people
features:
  - {field: age, type: integer}
fields:
  - {name: risk, formula: risk}
"""


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """The command where nothing runs."""
    return Command(tmp_path)


def test_the_reference_page_is_made_from_the_commands() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
    assert page.read_text() == reference(), "make it again: see fieldline_server.cli.reference"


def test_every_command_and_option_is_described() -> None:
    assert "| None" not in reference()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--help"], 0, ""),
        (["runs", "--help"], 0, ""),
        (["connectors", "--json"], 0, ""),
        (["doctor"], 0, ""),
        (["nonsense"], 2, "No such command"),
        (["run"], 2, "Missing argument"),
        (["runs"], 2, NOTHING_RUNS),
        (["connectors", "show", "odbcc"], 2, "did you mean odbc?"),
        (["lint", "absent.yaml"], 2, "absent.yaml cannot be read"),
        (["dead-letters", "replay", "people"], 2, "say which ones"),
        (["dead-letters", "edit", "1", "--set", "age"], 2, "FIELD=VALUE"),
        (["worker", "--queues", "fast"], 2, "cpu, gpu and write"),
        (["score", "people"], 2, "either --record or --file"),
        (["secrets", "set", "Not A Name"], 2, "lower case"),
        (["simulate", "sap-of-tomorrow"], 2, "webhook-receiver"),
    ],
)
def test_a_command_ends_with_its_status_and_says_why(command: Command, arguments: list[str], status: int, words: str) -> None:
    done = command(*arguments)
    assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr
    assert words in done.stderr


@pytest.mark.parametrize(
    ("env", "status", "words"),
    [
        ({"FIELDLINE_API_PORT": "many"}, 2, "FIELDLINE_API_PORT"),
        ({"FIELDLINE_DATABASE_URL": "postgresql://fieldline@127.0.0.1:1/x"}, 3, "does not answer"),
        ({"FIELDLINE_DATABASE_URL": "somewhere"}, 2, "FIELDLINE_DATABASE_URL"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path, env: dict[str, str], status: int, words: str) -> None:
    done = Command(tmp_path, env)("runs")
    assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr
    assert words in done.stderr


def test_a_password_in_a_wrong_address_is_not_printed(tmp_path: Path) -> None:
    env = {"FIELDLINE_DATABASE_URL": "postgresql://fieldline:hush@127.0.0.1:1/x"}
    for arguments, status in ((["runs"], 3), (["doctor"], 1), (["migrate"], 3), (["up"], 3)):
        done = Command(tmp_path, {**env, "FIELDLINE_BROKER_URL": "redis://127.0.0.1:1/0"})(*arguments)
        assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr
        assert "hush" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (MAPPING.replace("type: integer", "type: intger"), "people.yaml:3:18", "Did you mean 'integer'?"),
        (MAPPING.replace("features:", "featurs:"), "people.yaml:2:1", "Did you mean 'features'?"),
        (MAPPING + "fields: []\n", "people.yaml:6:1", "stands here twice"),
        ("flow: [a\n", "people.yaml:2:1", "this is not YAML"),
        ("anything: 1\n", "people.yaml:1:1", "neither a connection, a mapping nor a flow"),
        ("connection: crm\nconnector: odbc\nsettings: {}\nlimit: 3\n", "people.yaml:4:1", "Did you mean 'limits'?"),
    ],
)
def test_an_error_in_a_document_is_told_with_its_line_and_column(command: Command, text: str, place: str, words: str) -> None:
    (command.folder / "people.yaml").write_text(text)
    done = command("lint", "people.yaml")
    assert done.returncode == 1
    assert place in done.stdout
    assert words in done.stdout


def test_findings_are_json_for_scripts(command: Command) -> None:
    (found,) = json.loads(command("lint", "-", "--json", given=MAPPING.replace("integer", "intger")).stdout)
    assert (found["file"], found["line"], found["column"], found["severity"]) == ("-", 3, 18, "error")


def test_sound_documents_have_no_findings(command: Command) -> None:
    done = command("lint", "-", given=MAPPING)
    assert (done.returncode, done.stdout) == (0, "")


def test_documents_in_the_place_of_the_settings_are_told_apart(command: Command) -> None:
    (command.folder / "fieldline.yaml").write_text(f"{MAPPING}---\n{MAPPING}")
    done = command("runs")
    assert done.returncode == 2
    assert "give a file of flows another name" in done.stderr


def test_a_note_of_an_installation_that_was_killed_is_not_believed(command: Command) -> None:
    noted = {"pid": 1, "born": 1, "api_url": "", "database_url": "postgresql://fieldline@127.0.0.1:1/x", "broker_url": ""}
    (command.folder / "data").mkdir()
    (command.folder / "data/run.json").write_text(json.dumps(noted))
    assert NOTHING_RUNS in command("runs").stderr


def test_control_characters_never_reach_a_terminal(command: Command) -> None:
    from fieldline_server.cli.show import cell

    assert cell("a\x1b[31mb\nc") == "a\\x1b[31mb\\nc"
