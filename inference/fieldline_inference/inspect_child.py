"""The throw-away process that opens a model nobody knows yet: `python -m fieldline_inference.inspect_child PATH LIMITS`.

It prints one JSON object: the inspection, or why the model is refused.
"""

import json
import re
import resource
import sys
from pathlib import Path
from typing import Any

from fieldline_core.errors import Rejected
from fieldline_inference.checks import DOMAINS, UNREADABLE, external_files, read_model
from fieldline_inference.files import MODEL, digest_of, hash_file
from fieldline_inference.inspect import Facts, Inspection
from fieldline_inference.limits import MIB, Limits
from fieldline_inference.runtime import FAILURES, open_session, out_of_memory
from fieldline_inference.trial import declared_signature, rows_at_once, try_records

_REASON_CHARACTERS = 300
_TEXT_CHARACTERS = 4000
_NOISE = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from .*? failed:|/\S+\.(?:cc|h):\d+ .*?\) ", re.DOTALL)


def main(path: str, limits_json: str) -> None:
    """Inspects one model within its limits."""
    limits = Limits.model_validate_json(limits_json)
    _restrain(limits)
    try:
        answer: dict[str, Any] = {"inspection": _inspect(Path(path), limits).model_dump(mode="json")}
    except Rejected as error:
        answer = {"refused": str(error)}
    except UnicodeDecodeError:
        answer = {"refused": UNREADABLE}
    except MemoryError:
        answer = {"refused": _too_large(limits)}
    sys.stdout.write(json.dumps(answer))


def _restrain(limits: Limits) -> None:
    bounds = {
        resource.RLIMIT_AS: (limits.memory_bytes, limits.memory_bytes),
        # A second between the two: at the hard limit the kernel kills, and nobody could tell why.
        resource.RLIMIT_CPU: (limits.cpu_s, limits.cpu_s + 1),
        resource.RLIMIT_NOFILE: (limits.open_files, limits.open_files),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_CORE: (0, 0),
    }
    for kind, (soft, hard) in bounds.items():
        most = resource.getrlimit(kind)[1]
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        resource.setrlimit(kind, (soft, hard))


def _inspect(path: Path, limits: Limits) -> Inspection:
    model = read_model(path, limits)
    files = external_files(model, path.parent, limits)
    hashes = {MODEL: hash_file(path)} | {file: hash_file(path.parent / file) for file in files}
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import if entry.domain in DOMAINS}
    nodes, producer = len(model.graph.node), f"{model.producer_name} {model.producer_version}".strip()[:100]
    del model  # onnxruntime reads the file again: do not hold it twice
    try:
        session, _ = open_session(path)
    except FAILURES as error:
        raise Rejected(_load_failure(error, limits)) from None
    declared = declared_signature(session, limits)
    signature, warnings = try_records(session, declared, limits)
    size = sum(each.stat().st_size for each in (path, *(path.parent / file for file in files)))
    facts = Facts(
        opsets=opsets, nodes=nodes, size=size, files=files, producer=producer, warnings=tuple(warnings),
        rows_at_once=rows_at_once(declared),
    )  # fmt: skip
    return Inspection(digest=digest_of(hashes), signature=signature, facts=facts)


def _load_failure(error: Exception, limits: Limits) -> str:
    if out_of_memory(error):
        return _too_large(limits)
    reason = (_NOISE.sub("", str(error)[:_TEXT_CHARACTERS]).strip() or type(error).__name__)[:_REASON_CHARACTERS]
    if "IR version" in reason or "opset" in reason:
        return f"the model is written for a newer onnxruntime than the one here: export it with an older opset ({reason})"
    return f"onnxruntime cannot load the model: {reason}"


def _too_large(limits: Limits) -> str:
    return f"the model wants more than {limits.memory_bytes // MIB:,} MiB of memory to load"


if __name__ == "__main__":
    main(*sys.argv[1:])
