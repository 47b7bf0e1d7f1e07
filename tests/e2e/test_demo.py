"""The demo as a newcomer runs it, and how it goes away."""

import os
import re
import signal
from pathlib import Path

import pytest
from tests.command import Command, processes_of
from tests.conftest import Eventually

from fieldline_server.demo_systems import missing_odbc


@pytest.fixture
def demos(server_directory: Path) -> Path:
    """A folder for the folders of demos, which their servers may enter."""
    folder = server_directory / "demos"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    return folder


@pytest.mark.skipif(bool(missing_odbc()), reason="the ODBC driver for PostgreSQL is not installed")
def test_the_demo_runs_its_examples_and_leaves_nothing(demos: Path, tmp_path: Path, eventually: Eventually) -> None:
    demo, log = Command(tmp_path, {"TMPDIR": str(demos)}), tmp_path / "log"
    status = demo.start("demo", "--exit", "--rows", "500", log=log).wait(120)
    said = log.read_text()
    assert status == 0, said
    assert re.search(r"bike-demand +500 +500 +500 +0 ", said)
    assert re.search(r"bike-demand-odata +500 +500 +500 +0 ", said)
    assert re.search(r"lab-triage +143 +143 +143 +0 ", said)
    assert re.search(r"lead-scoring +4\d\d +4\d\d +4\d\d +0 ", said)
    assert re.search(r"a lead changed by hand +scored again after", said)
    assert re.search(r"diabetes +442 +442 +442 +0 ", said)
    assert re.search(r"a chart was opened +Diabetes may progress to \d+ within a year", said)
    assert "written, at attempt 1" in said
    assert re.search(r"admin key +fl_", said)
    assert list(demos.iterdir()) == []
    # Its watchdog ends when it sees that the demo has ended.
    eventually(lambda: not processes_of(str(demos)))


def test_a_demo_that_is_killed_takes_all_with_it_and_the_next_one_sweeps_up(
    demos: Path, tmp_path: Path, eventually: Eventually
) -> None:
    command = Command(tmp_path, {"TMPDIR": str(demos)})
    killed = command.start("demo", "--rows", "20", log=tmp_path / "log")
    # Everything runs, and the flows are under way.
    eventually(lambda: "up after" in (tmp_path / "log").read_text() or killed.poll() is not None, within_s=90)
    assert killed.poll() is None, (tmp_path / "log").read_text()
    assert len(processes_of(str(demos))) > 5
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    eventually(lambda: not processes_of(str(demos)), within_s=30)
    (left,) = demos.iterdir()
    ended = command.start("demo", "--rows", "20", log=tmp_path / "log")
    eventually(lambda: "stays up" in (tmp_path / "log").read_text() or ended.poll() is not None, within_s=90)
    assert not left.exists()
    ended.send_signal(signal.SIGINT)
    assert ended.wait(60) == 0, (tmp_path / "log").read_text()
    assert list(demos.iterdir()) == []
    # Its watchdog ends when it sees that the demo has ended.
    eventually(lambda: not processes_of(str(demos)))


def test_without_odbc_the_demo_says_so_and_runs_what_needs_none(demos: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "pyodbc.py").write_text("raise ImportError('libodbc.so.2: cannot open shared object file')\n")
    path = os.pathsep.join([str(hidden), *filter(None, [os.environ.get("PYTHONPATH")])])
    # Started anew, not forked of a process that has imported pyodbc already.
    demo, log = Command(tmp_path, {"TMPDIR": str(demos), "PYTHONPATH": path}), tmp_path / "log"
    status = demo.start("demo", "--exit", log=log).wait(120)
    said = log.read_text()
    assert status == 0, said
    assert "apt-get install" in said
    assert not re.search(r"^bike-demand ", said, re.MULTILINE)
    assert re.search(r"bike-demand-odata +500 +500 +500 +0 ", said)
    assert re.search(r"lab-triage +143 +143 +143 +0 ", said)
    assert re.search(r"a lead changed by hand +scored again after", said)


def test_where_it_is_installed_without_examples_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fieldline_core.errors import Misconfigured
    from fieldline_server import demo

    monkeypatch.setattr(demo, "__file__", str(tmp_path / "lib/python/site-packages/fieldline_server/demo.py"))
    with pytest.raises(Misconfigured, match="come with a clone"):
        demo.examples_directory()
