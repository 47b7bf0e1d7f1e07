"""onnxruntime as Fieldline uses it: one thread, no surprises, a device that is really there."""

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

# onnxruntime reports its use to its maker unless this is set before it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as failures

from fieldline_core.errors import Misconfigured

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
FAILURES: tuple[type[Exception], ...] = (
    failures.EPFail, failures.Fail, failures.InvalidArgument, failures.InvalidGraph, failures.InvalidProtobuf, failures.ModelLoaded,
    failures.NoModel, failures.NoSuchFile, failures.NotImplemented, failures.RuntimeException, RuntimeError, MemoryError,
)  # fmt: skip
"""What onnxruntime raises where a model cannot be loaded or run."""

_FATAL = 4


@dataclass(frozen=True, slots=True)
class Runtime:
    """What computed an answer, for the evidence; `note` says where it is not what was asked for."""

    onnxruntime: str
    provider: str
    note: str = ""


def session_options() -> Any:
    """One thread (processes scale, threads hurt under load), and memory given back after each run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    # An arena never shrinks: with several models in a process the largest batch of each would stay allocated.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # At the level "error" onnxruntime prints values of the record that failed.
    options.log_severity_level = _FATAL
    return options


def run_options() -> Any:
    """Options of one run, which another thread may terminate."""
    options = onnxruntime.RunOptions()
    options.log_severity_level = _FATAL
    return options


def open_session(path: Path, device: str = "cpu", *, fallback: bool = True) -> tuple[Any, Runtime]:
    """A session on the preferred device, or on the CPU where that is not there and `fallback` allows it."""
    if device == "cpu":
        return _session(path, [CPU]), Runtime(onnxruntime.__version__, CPU)
    why = "this onnxruntime has no CUDA provider" if CUDA not in onnxruntime.get_available_providers() else ""
    if not why:
        session = _cuda_session(path)
        if session is not None:
            return session, Runtime(onnxruntime.__version__, CUDA)
        why = "no CUDA device answers"
    if not fallback:
        raise Misconfigured(
            f"the model asks for a CUDA device and {why}: run it on a worker of the gpu queue with onnxruntime-gpu, "
            "or import it again with fallback allowed"
        )
    return _session(path, [CPU]), Runtime(onnxruntime.__version__, CPU, f"cuda was asked for: {why}")


def _session(path: Path, providers: list[Any]) -> Any:
    return onnxruntime.InferenceSession(path, session_options(), providers=providers, enable_fallback=False)


def _cuda_session(path: Path) -> Any | None:
    try:
        session = _session(path, [(CUDA, {"arena_extend_strategy": "kSameAsRequested"}), CPU])
    except FAILURES:
        return None
    return session if CUDA in session.get_providers() else None


def failed_operator(error: Exception) -> str:
    """The operator that an error of onnxruntime names, and nothing else of its text: that may hold values of a record."""
    found = re.search(r"while running (\w+) node\. Name:'([^']{0,200})'", str(error))
    return f"{found[1]} {found[2]}".strip() if found else type(error).__name__


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of onnxruntime or of Python says that memory could not be had."""
    return isinstance(error, MemoryError) or bool(re.search(r"bad_alloc|allocate memory", str(error)))


def check_runtime(installed: Collection[str] | None = None) -> list[str]:
    """What is wrong with the onnxruntime that is installed, in words, each with its fix; `installed` are distribution names."""
    names = {name.lower().replace("_", "-") for name in (installed if installed is not None else _installed())}
    found = sorted(name for name in names if re.fullmatch(r"onnxruntime(-gpu|-directml|-openvino|-rocm|-training)?", name))
    if len(found) < 2:
        return []
    together, fix = " and ".join(found), " ".join(found)
    return [f"{together} are installed together and overwrite each other's files: pip uninstall {fix}, then install one of them"]


def _installed() -> list[str]:
    return [str(name) for distribution in distributions() if (name := distribution.metadata["Name"])]
