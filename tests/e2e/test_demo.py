"""The demo as a newcomer runs it, and how it goes away."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.command import Command, processes_of
from tests.conftest import Eventually

from fieldline_server.demo_systems import missing_odbc

Start = Callable[..., "subprocess.Popen[bytes]"]

_WITHIN_S = 400.0


@pytest.fixture
def demos(server_directory: Path) -> Path:
    """A folder for the folders of demos, which their servers may enter."""
    folder = server_directory / "demos"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    return folder


@pytest.fixture
def start(demos: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts the demo with these options; its processes end with it where a test fails."""
    with ExitStack() as stack:

        def started(*options: str, **env: str) -> "subprocess.Popen[bytes]":
            running = Command(tmp_path, {"TMPDIR": str(demos), **env}).start("demo", *options, log=tmp_path / "log")
            stack.callback(running.wait)
            stack.callback(running.kill)
            return running

        yield started


@pytest.mark.skipif(bool(missing_odbc()), reason="the ODBC driver for PostgreSQL is not installed")
def test_the_demo_runs_its_examples_stays_up_and_leaves_nothing(
    demos: Path, tmp_path: Path, start: Start, eventually: Eventually
) -> None:
    log = tmp_path / "log"
    running = start("--rows", "500")
    eventually(lambda: "stays up" in log.read_text() or running.poll() is not None, within_s=_WITHIN_S)
    said = log.read_text()
    assert running.poll() is None, said
    assert re.search(r"bike-demand +500 +500 +500 +0 ", said)
    assert re.search(r"bike-demand-odata +500 +500 +500 +0 ", said)
    assert re.search(r"lab-triage +143 +143 +143 +0 ", said)
    assert re.search(r"lead-scoring +4\d\d +4\d\d +4\d\d +0 ", said)
    assert re.search(r"a lead changed by hand +scored again after", said)
    assert re.search(r"diabetes +442 +442 +442 +0 ", said)
    assert re.search(r"a chart was opened +Diabetes may progress to \d+ within a year", said)
    assert "written, at attempt 1" in said
    assert re.search(r"admin key +fl_", said)
    running.send_signal(signal.SIGINT)
    assert running.wait(_WITHIN_S) == 0, log.read_text()
    assert list(demos.iterdir()) == []
    # Its watchdog ends when it sees that the demo has ended.
    eventually(lambda: not processes_of(str(demos)))


def test_a_demo_that_is_killed_takes_all_with_it_and_the_next_one_sweeps_up(
    demos: Path, tmp_path: Path, start: Start, eventually: Eventually
) -> None:
    log = tmp_path / "log"
    killed = start("--rows", "20")
    # Everything runs, and the flows are under way.
    eventually(lambda: "up after" in log.read_text() or killed.poll() is not None, within_s=_WITHIN_S)
    assert killed.poll() is None, log.read_text()
    assert len(processes_of(str(demos))) > 5
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    eventually(lambda: not processes_of(str(demos)))
    (left,) = demos.iterdir()
    following = start("--rows", "20")
    # It sweeps up before it starts anything.
    eventually(lambda: "starting PostgreSQL" in log.read_text() or following.poll() is not None)
    assert not left.exists()
    assert following.poll() is None, log.read_text()
    following.send_signal(signal.SIGINT)
    assert following.wait(_WITHIN_S) != 0
    assert list(demos.iterdir()) == []
    eventually(lambda: not processes_of(str(demos)))


def test_without_odbc_the_demo_says_so_and_runs_what_needs_none(demos: Path, tmp_path: Path, start: Start) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "pyodbc.py").write_text("raise ImportError('libodbc.so.2: cannot open shared object file')\n")
    path = os.pathsep.join([str(hidden), *filter(None, [os.environ.get("PYTHONPATH")])])
    # Started anew, not forked of a process that has imported pyodbc already.
    status = start("--exit", PYTHONPATH=path).wait(_WITHIN_S)
    said = (tmp_path / "log").read_text()
    assert status == 0, said
    assert "apt-get install" in said
    assert not re.search(r"^bike-demand ", said, re.MULTILINE)
    assert re.search(r"bike-demand-odata +500 +500 +500 +0 ", said)
    assert re.search(r"lab-triage +143 +143 +143 +0 ", said)
    assert re.search(r"a lead changed by hand +scored again after", said)
    assert list(demos.iterdir()) == []


def test_where_it_is_installed_without_examples_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fieldline_core.errors import Misconfigured
    from fieldline_server import demo

    monkeypatch.setattr(demo, "__file__", str(tmp_path / "lib/python/site-packages/fieldline_server/demo.py"))
    with pytest.raises(Misconfigured, match="come with a clone"):
        demo.examples_directory()
