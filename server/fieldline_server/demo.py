"""The parts of `fieldline demo`: a folder and settings of its own, the examples in the store, and what must be true in the end."""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from fieldline_core.errors import FieldlineError, Misconfigured
from fieldline_core.settings import Settings
from fieldline_server.demo_sap import SHARED_MODELS
from fieldline_server.demo_systems import System, stored_name

if TYPE_CHECKING:
    # Nothing that takes long to import: the demo's systems are started first.
    from fieldline_core.pipeline.engine import Engine
    from fieldline_inference.registry import Registry

ACTOR = "demo"
_PREFIX = "fieldline-demo-"


class CountsDiffer(FieldlineError):
    """What the demo did does not add up."""

    code = "counts_differ"


def examples_directory() -> Path:
    """The examples of the clone that Fieldline runs from; raises Misconfigured where it was installed without them."""
    folder = Path(__file__).resolve().parents[2] / "examples"
    if not (folder / "MODELS.json").is_file():
        raise Misconfigured("the demo's examples are not here: they come with a clone of Fieldline, where 'make demo' runs them")
    return folder


@contextmanager
def demo_directory() -> Iterator[Path]:
    """A folder of this demo's own, removed at its end; those of demos that were killed are removed, too."""
    parent = _parent()
    draft = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=parent))
    # Servers that do not run as us have to enter it.
    draft.chmod(0o755)
    lock = os.open(draft / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Under its final name a folder is always locked by its demo, as long as that lives.
        directory = draft.rename(parent / draft.name.removeprefix("."))
        _remove_left(parent)
        yield directory
    finally:
        os.close(lock)
        for folder in (draft, parent / draft.name.removeprefix(".")):
            shutil.rmtree(folder, ignore_errors=True)


def demo_settings(directory: Path) -> tuple[Settings, dict[str, str]]:
    """Settings that touch nothing outside the folder, whatever the environment says; and the environment that repeats them."""
    key_file, temporary = directory / "wrapping.key", directory / "tmp"
    temporary.mkdir(mode=0o700)
    settings = Settings(
        data_directory=directory, database_url=SecretStr(""), broker_url=SecretStr(""), api_host="127.0.0.1", api_port=0,
        key_provider="file", key_file=key_file,
    )  # fmt: skip
    return settings, {
        "FIELDLINE_API_HOST": "127.0.0.1",
        # Small chunks, so that there is something to see, and to do for both workers.
        "FIELDLINE_CHUNK_ROWS": "2000",
        "FIELDLINE_KEY_PROVIDER": "file",
        "FIELDLINE_KEY_FILE": str(key_file),
        # Workers that are ended by force leave what they keep for the moment.
        "TMPDIR": str(temporary),
    }


def import_models(engine: "Engine", examples: Path, systems: Sequence[System]) -> None:
    """Imports the models of the examples that these systems are for."""
    from fieldline_server.cli.models import import_model

    digests = {model["name"]: model["sha256"] for model in json.loads((examples / "MODELS.json").read_text())["models"]}
    names = dict.fromkeys(SHARED_MODELS.get(flow, flow) for system in systems for flow in system.flows)
    # Each is looked at in a process of its own: two of them keep two cores busy.
    with ThreadPoolExecutor(2) as pool:
        for version in pool.map(lambda name: import_model(engine, examples / name / "model.onnx", name, ACTOR), names):
            if version.digest != f"sha256:{digests[version.name]}":
                raise Misconfigured(f"{examples / version.name / 'model.onnx'} is not the model that MODELS.json names: restore it")


def publish_examples(engine: "Engine", registry: "Registry", systems: Sequence[System]) -> None:
    """Keeps the examples' secrets, and publishes their documents."""
    from fieldline_core.findings import errors
    from fieldline_server.apply import apply
    from fieldline_server.cli.keys import keep_secret

    for variable, value in (secret for system in systems for secret in system.secrets.items()):
        keep_secret(engine, stored_name(variable), value, ACTOR)
    texts = {f"{flow}/flow.yaml": system.documents(flow) for system in systems for flow in system.flows}
    done = apply(engine, registry, texts, ACTOR)
    if refused := errors(done.findings):
        raise Misconfigured(f"the example cannot be applied: {refused[0]}")


def check_counts(flow: str, run: Mapping[str, Any], expected: int, arrived: int) -> None:
    """Raises CountsDiffer where a record was lost or doubled between the source and the target."""
    ended = run["written"] + run["refused"] + run["left_alone"] + run["held"] + run["dead"] + run["skipped"]
    for what, count, wanted in (
        ("read", run["rows"], expected), ("accounted for", ended, expected), ("in the target", arrived, run["written"]),
    ):  # fmt: skip
        if count != wanted:
            raise CountsDiffer(f"{flow}: {count:,} rows are {what}, and {wanted:,} should be: {dict(run)}")
    if not run["written"]:
        raise CountsDiffer(f"{flow}: nothing was written: {dict(run)}")


def check_store(engine: "Engine") -> None:
    """Raises CountsDiffer where an invariant of the store does not hold."""
    from fieldline_core.pipeline.invariants import check_invariants

    for violation in check_invariants(engine.store):
        raise CountsDiffer(f"the invariant {violation.rule} does not hold {violation.count} times")


def _parent() -> Path:
    if "TMPDIR" in os.environ or os.geteuid() != 0:
        return Path(tempfile.gettempdir())
    parent = Path("/var/lib/fieldline")
    parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    return parent


def _remove_left(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if folder.stat().st_uid != os.geteuid():
                continue
            lock = os.open(folder / "lock", os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
