"""The pages that a newcomer reads first say what is there."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from fieldline_connectors.odbc.config import OdbcQuery, OdbcTarget
from fieldline_core.flow import Flow
from fieldline_core.validation import validate
from fieldline_core.yaml_source import parse
from fieldline_mappings import MappingDocument, lint_mapping
from fieldline_mappings.golden import run_golden

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")


@pytest.fixture(scope="module")
def sizes() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "tools/check_sizes.py"))


def test_the_flow_on_the_front_page_is_sound_and_short() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    sources, findings = parse(text)
    mapping, wrong_mapping = validate(MappingDocument, sources[0])
    flow, wrong_flow = validate(Flow, sources[1])
    assert [*findings, *wrong_mapping, *wrong_flow] == []
    assert mapping
    assert flow
    assert flow.source
    assert flow.mapping == mapping.mapping
    OdbcQuery.model_validate(flow.source.query)
    target = OdbcTarget.model_validate(flow.writes[0].target)
    assert set(target.fields.values()) == {field.name for field in mapping.fields}
    assert len(text.splitlines()) <= 15


def test_the_mapping_that_is_written_step_by_step_is_sound_and_does_what_it_says() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/how-to/write-a-mapping.md").read_text(), re.DOTALL)
    sources, findings = parse("".join(blocks))
    mapping, wrong = validate(MappingDocument, sources[0])
    assert mapping
    assert [*findings, *wrong, *lint_mapping(mapping)] == []
    outcomes = run_golden(mapping)
    assert outcomes
    assert [failure for outcome in outcomes for failure in outcome.failures] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text())
    assert [link for link in links if not link.startswith("https://") and not (ROOT / link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_that_is_named_is_there(page: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z]+)", (ROOT / page).read_text(), re.MULTILINE)) <= targets


def test_the_check_of_sizes_names_what_is_too_long(sizes: dict[str, Any]) -> None:
    long_function = "def work():\n" + "    pass\n" * 40
    assert list(sizes["findings"](Path("core/a.py"), long_function)) == ["core/a.py:1: work has 41 lines, at most 40"]
    assert list(sizes["findings"](Path("tests/a.py"), long_function)) == []
    assert list(sizes["findings"](Path("tests/a.py"), "\n" * 401)) == ["tests/a.py: 401 lines, at most 400"]
