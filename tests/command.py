"""The real command line, in processes of its own: what runs on is started anew, what only answers is forked."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.forks import forks

COMMAND = (sys.executable, "-m", "fieldline_server")
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@dataclass(frozen=True)
class Command:
    """Runs `fieldline` in a folder, with these settings and none of ours."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What the command sees."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("FIELDLINE_", "COLUMNS"))}
        return {**ours, "FIELDLINE_DATA_DIRECTORY": str(self.folder / "data"), **self.env}

    def __call__(self, *arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
        """What it printed and ended with."""
        return forks().run(arguments, self.folder, self.environment, given)

    def json(self, *arguments: str, status: int = 0, given: str = "") -> Any:
        """What it printed as JSON; fails where it ends with another status."""
        done = self(*arguments, "--json", given=given)
        assert done.returncode == status, done.stderr
        return json.loads(done.stdout)

    def start(self, *arguments: str, log: Path) -> "subprocess.Popen[bytes]":
        """The command, running; its output goes to a file."""
        with log.open("wb") as output:
            return subprocess.Popen([*COMMAND, *arguments], cwd=self.folder, env=self.environment, stdout=output, stderr=output)


def processes_of(word: str) -> set[int]:
    """The processes that have a word in their command line or environment, but not we."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
            running = (folder / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            continue
        if word.encode() in told and running and int(folder.name) != os.getpid():
            found.add(int(folder.name))
    return found
