"""The page on the first flow, done as it is written."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import Eventually

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/first-flow.md").read_text()
BLOCKS: list[tuple[str, str]] = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
UP = "fieldline up"


@pytest.fixture
def folder(server_directory: Path) -> Iterator[Path]:
    """The folder of the page; the embedded servers, which do not run as root, may enter it."""
    made = server_directory / "first-flow"
    made.mkdir()
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    """What the first block of the page sets."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FIELDLINE_")}
    return {
        **kept, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "FIELDLINE_API_PORT": "0",
        "EXAMPLE": str(ROOT / "examples/bike-demand"), "FIELDLINE_DATA_DIRECTORY": str(folder / "data"), "COLUMNS": "200",
    }  # fmt: skip


def shell(text: str, folder: Path, environment: dict[str, str]) -> str:
    """What the commands of a block print; fails where one of them fails."""
    command = ["sh", "-e", "-c", text]
    done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def test_the_first_flow_does_what_its_page_says(folder: Path, environment: dict[str, str], eventually: Eventually) -> None:
    here = [(kind, text.replace("/tmp/first-flow", str(folder))) for kind, text in BLOCKS]
    files = {kind: text for kind, text in here if kind in ("python", "yaml")}
    (folder / "erp.py").write_text(files["python"])
    (folder / "bikes.yaml").write_text(files["yaml"])
    commands = [text for kind, text in here[1:] if kind == "sh"]
    started = next(text for text in commands if UP in text)
    printed: list[str] = []
    log = folder / "up.log"
    with log.open("wb") as out:
        shell(commands[0], folder, environment)
        up = subprocess.Popen(["sh", "-c", f"exec {UP}"], cwd=folder, env=environment, stdout=out, stderr=out)
    try:
        eventually(lambda: "Ctrl-C ends it" in log.read_text() or up.poll() is not None, 90.0)
        assert up.poll() is None, log.read_text()
        printed = [shell(text, folder, environment) for text in commands[1:] if text != started]
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(120)
    said = "\n".join(printed)
    assert "500 rows, 499 scored, 1 held, 499 written" in said
    assert "'weathersit' is not one of its 4 categories" in said
    assert "expected_bikers=175.4" in said
    assert "500 rows, 500 skipped" in said
    with sqlite3.connect(folder / "erp.db") as erp:
        assert erp.execute("SELECT count(*), count(expected_bikers) FROM demand_forecast").fetchone() == (500, 500)
    erp.close()
