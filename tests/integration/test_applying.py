"""Applying documents one by one: what they break in flows that were published earlier."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.engines import Bench, documents

from fieldline_core.findings import Finding
from fieldline_server.apply import apply


@pytest.fixture
def bench(database_url: str, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(database_url, tmp_path)
    made.import_linear(tmp_path)
    made.apply(documents("scores"))
    made.apply(documents("others"))
    yield made
    made.close()


def found(bench: Bench, *pieces: dict[str, Any]) -> list[Finding]:
    return apply(bench.engine, bench.registry, {"test.yaml": yaml.safe_dump_all(pieces)}, "test").findings


def renamed(bench: Bench) -> tuple[dict[str, Any], dict[str, Any]]:
    """The mapping `scores` with another name of its field, and the flow that writes the new one."""
    _, mapping, flow = yaml.safe_load_all(documents("scores"))
    mapping["fields"][0]["name"] = "points"
    flow["writes"][0]["target"]["fields"] = {"score": "points"}
    return mapping, flow


def test_a_mapping_whose_field_is_renamed_is_refused_while_a_published_flow_writes_it(bench: Bench) -> None:
    mapping, _ = renamed(bench)

    (finding,) = found(bench, mapping)

    assert finding.rule == "unknown-field"
    assert finding.line == 0
    assert "'scores'" in finding.message
    assert "without a line here" in finding.message
    assert len(bench.all("SELECT 1 FROM document WHERE kind = 'mapping' AND name = 'scores'")) == 1


def test_a_mapping_and_its_flow_are_renamed_together(bench: Bench) -> None:
    assert found(bench, *renamed(bench)) == []


def test_a_connection_that_can_no_longer_write_is_refused_while_a_published_flow_writes_to_it(bench: Bench) -> None:
    connection = {"connection": "scores", "connector": "webhook", "settings": {"inbound": {"secret": "env:SECRET"}}}

    broken = [finding for finding in found(bench, connection) if "the flow 'scores'" in finding.message]

    assert "ability" in {finding.rule for finding in broken}
    assert {finding.line for finding in broken} == {0}


def test_documents_that_no_broken_flow_uses_are_applied(bench: Bench) -> None:
    bench.all(
        "UPDATE document SET body = jsonb_set(body, '{models,0}', '\"gone\"') WHERE kind = 'flow' AND name = 'others' RETURNING 1"
    )
    _, mapping, _ = yaml.safe_load_all(documents("scores"))

    assert found(bench, mapping) == []
