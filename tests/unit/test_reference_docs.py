"""The reference pages say what the code says, and the pages around them name things that are there."""

import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.main import get_command

from fieldline_core.events import EVENTS
from fieldline_core.pipeline.facts import FACTS
from fieldline_core.settings import Settings
from fieldline_server.cli import app

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES: dict[str, Callable[[], str]] = runpy.run_path(str(ROOT / "tools/make_reference.py"))["PAGES"]
EVERY_PAGE = sorted([*DOCS.rglob("*.md"), ROOT / "deploy/README.md"], key=str)
COMMAND = re.compile(r"\bfieldline ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?")


def commands() -> dict[str, set[str]]:
    """The commands of the command line, each with those below it."""
    return {name: set(getattr(command, "commands", {})) for name, command in get_command(app).commands.items()}  # type: ignore[attr-defined]


def commands_named(text: str) -> set[tuple[str, str]]:
    """The commands that a page tells its reader to run: in code, not in prose."""
    code = re.findall(r"`([^`\n]+)`|```sh\n(.*?)```", text, re.DOTALL)
    return {found for pair in code for part in pair for found in COMMAND.findall(part)}


@pytest.mark.parametrize("name", PAGES)
def test_a_reference_page_says_what_the_code_says(name: str) -> None:
    assert (DOCS / "reference" / name).read_text() == PAGES[name](), "run: python tools/make_reference.py"


def test_every_setting_is_in_the_reference() -> None:
    page = PAGES["settings.md"]()
    assert [name for name in Settings.model_fields if f"`FIELDLINE_{name.upper()}`" not in page] == []


def test_every_audit_event_is_in_the_reference() -> None:
    page = PAGES["events.md"]()
    assert [name for name in EVENTS if f"`{name}`" not in page] == []


def test_every_metric_of_the_code_is_in_the_reference() -> None:
    source = (ROOT / "server/fieldline_server/metrics.py").read_text()
    page = PAGES["metrics.md"]()
    assert [
        name for name in re.findall(r'"(fieldline_[a-z_]+)"', source) if f"`{name}" not in page and name != "fieldline_server"
    ] == []


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not link.startswith("https://") and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_is_named_is_there(page: Path) -> None:
    known = commands()
    named = commands_named(page.read_text())
    assert [name for name, _ in named if name not in known] == []
    assert [(name, below) for name, below in named if below and known[name] and below not in known[name]] == []


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_and_event_that_is_named_is_there(page: Path) -> None:
    text = page.read_text()
    known = {f"FIELDLINE_{name.upper()}" for name in Settings.model_fields} | {"FIELDLINE_KEY", "FIELDLINE_PUBLISHED_PORT"}
    assert {name for name in re.findall(r"\bFIELDLINE_[A-Z_]+[A-Z]\b", text) if "CRASH" not in name} <= known
    kinds = "|".join(sorted({name.partition(".")[0] for name in EVENTS}))
    assert {name for name in re.findall(rf"`((?:{kinds})\.[a-z_]+)`", text) if not name.startswith("target.")} <= {*EVENTS, *FACTS}


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_promises_exactly_once(page: Path) -> None:
    assert not re.search(r"exactly[- ]once", page.read_text().replace('Never "exactly once"', ""), re.IGNORECASE)


def test_the_index_names_every_page() -> None:
    linked = {(DOCS / link).resolve() for link in re.findall(r"\]\(([^)#\s]+\.md)[^)]*\)", (DOCS / "README.md").read_text())}
    assert [str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if page.name != "README.md" and page not in linked] == []
