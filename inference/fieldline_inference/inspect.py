"""Opens a model that nobody knows yet in a throw-away process, and says what it is."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from fieldline_core.errors import Misconfigured, Rejected
from fieldline_core.signature import Signature
from fieldline_inference.limits import MIB, Limits

_TRACE_CHARACTERS = 2000


class Facts(BaseModel):
    """What is worth knowing about a model beside its signature."""

    model_config = ConfigDict(frozen=True)

    opsets: dict[str, int]
    nodes: int
    size: int
    """Bytes of all its files."""
    files: tuple[str, ...] = ()
    """External data, by path relative to the model file."""
    producer: str = ""
    warnings: tuple[str, ...] = ()
    rows_at_once: int | None = None
    """1 where the model takes one record a run, None where it takes any number."""


class Inspection(BaseModel):
    """What the file of a model says, and what a trial of it showed."""

    model_config = ConfigDict(frozen=True)

    digest: str
    signature: Signature
    facts: Facts


def inspect_model(path: Path, limits: Limits | None = None) -> Inspection:
    """Inspects a model file in a process of its own; raises Rejected, in words, where it may not be used."""
    limits = limits or Limits()
    path = path.absolute()
    if not path.is_file():
        raise Misconfigured(f"there is no model file {path}")
    if not os.access(path, os.R_OK):
        raise Misconfigured(f"the model file {path} may not be read by this user")
    answer = json.loads(_ask_child(path, limits))
    if "refused" in answer:
        raise Rejected(f"{path.name}: {answer['refused']}")
    return Inspection.model_validate(answer["inspection"])


def _ask_child(path: Path, limits: Limits) -> str:
    command = [sys.executable, "-P", "-m", "fieldline_inference.inspect_child", str(path), limits.model_dump_json()]
    # Nothing of this process is handed on: no secrets in the environment, no open files, no working directory.
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ}
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd="/",
        start_new_session=True, text=True, errors="replace",
    ) as child:  # fmt: skip
        try:
            out, trace = child.communicate(timeout=limits.wall_s)
        except subprocess.TimeoutExpired:
            raise Rejected(f"{path.name}: the model does not load within {limits.wall_s:g} s") from None
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
    _check_end(child.returncode, trace, path, limits)
    return out


def _check_end(status: int, trace: str, path: Path, limits: Limits) -> None:
    match -status:
        case 0:
            return
        case signal.SIGXCPU:
            raise Rejected(f"{path.name}: the model takes more than {limits.cpu_s} s of CPU time to load")
        case signal.SIGKILL | signal.SIGABRT:
            raise Rejected(f"{path.name}: the model wants more than {limits.memory_bytes // MIB:,} MiB of memory to load")
        case number if number > 0:
            raise Rejected(f"{path.name}: the model made onnxruntime crash (signal {number})")
    raise RuntimeError(f"the inspection of a model ended with status {status}: {trace[-_TRACE_CHARACTERS:]}")


__all__ = ["Facts", "Inspection", "inspect_model"]
