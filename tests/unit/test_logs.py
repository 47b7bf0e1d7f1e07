"""What reaches a log, and what does not."""

import json
import logging

import pytest

from fieldline_core.logs import configure_logs, log


def test_only_known_keys_reach_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info")
    log().info("chunk_scored", chunk=7, patient="Jane Doe")

    line = json.loads(capsys.readouterr().err)
    assert line["chunk"] == 7
    assert "Jane" not in json.dumps(line)


def test_an_exception_is_logged_without_its_message(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info")
    try:
        raise ValueError("Jane Doe, born 1970-01-01")
    except ValueError:
        log().error("failed", exc_info=True)
        logging.getLogger("library").exception("Jane Doe %s", "1970")

    lines = capsys.readouterr().err
    assert "Jane" not in lines
    assert "1970" not in lines
    assert [json.loads(line).get("error") for line in lines.splitlines()] == ["ValueError", "ValueError"]
