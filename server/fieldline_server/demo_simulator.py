"""A simulator of the demo, in a process of its own."""

import json
import os
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from fieldline_server.processes import Child, Program


class Simulator:
    """`fieldline simulate SYSTEM`, which says where it is, and what opens it, as soon as it is ready."""

    def __init__(self, system: str, *options: str, log: Path) -> None:
        argv = [sys.executable, "-m", "fieldline_server", "simulate", system, "--json", *options]
        # What it leaves when it is killed lies in the demo's own folder, and goes with that.
        env = {**os.environ, "TMPDIR": str(log.parent / "tmp")}
        self._program = Program(f"simulated {system}", argv, env, ready=self._announced)
        self._log = log
        self._child: Child | None = None

    def start(self) -> None:
        """Starts it, and waits until it is ready."""
        self._child = Child(self._program, self._log)
        self._child.wait_until_ready()

    def stop(self) -> None:
        """Ends it."""
        if self._child:
            # What it holds is of no use to anybody, and what it leaves lies in the folder.
            self._child.stop(grace_s=0.0)

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """What it said of itself."""
        facts: Mapping[str, Any] = json.loads(self._log.read_text().splitlines()[-1])
        return facts

    def _announced(self) -> bool:
        return self._log.exists() and self._log.read_text().endswith("\n")
