"""The registry of models on a real PostgreSQL, and the sessions that it feeds."""

import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent

import numpy as np
import psycopg
import pytest
from tests import models

from fieldline_core.errors import Misconfigured, Rejected
from fieldline_core.store import Store, Transaction
from fieldline_inference import registry, stored
from fieldline_inference.files import digest_of_folder
from fieldline_inference.inspect import inspect_model
from fieldline_inference.registry import ModelVersion, Registry
from fieldline_inference.sessions import Sessions


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """An empty store."""
    store = Store(database_url)
    yield store
    store.close()


@pytest.fixture
def kept(store: Store) -> Registry:
    """An empty registry."""
    return Registry(store)


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A model file."""
    return models.save(models.linear((1, 1)), tmp_path / "first.onnx")


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """Another model file of the same signature."""
    return models.save(models.linear((2, 2)), tmp_path / "second.onnx")


def selectors(version: ModelVersion) -> tuple[int, tuple[str, ...]]:
    """Number and aliases."""
    return version.version, version.aliases


def test_the_first_version_is_the_champion_and_the_next_is_not(kept: Registry, first: Path, second: Path) -> None:
    one, two = kept.import_model(first, "churn", "ada"), kept.import_model(second, "churn", "ada")
    assert (selectors(one), selectors(two)) == ((1, ("champion",)), (2, ()))
    assert kept.versions() == kept.versions("churn") == [one, two]
    assert kept.versions("other") == []


def test_the_same_file_again_is_the_same_version(kept: Registry, first: Path, second: Path) -> None:
    one = kept.import_model(first, "churn", "ada")
    kept.import_model(second, "churn", "ada")
    assert kept.import_model(first, "churn", "bob") == one
    assert kept.import_model(first, "other", "bob").digest == one.digest


def test_an_import_again_may_change_where_the_version_runs(kept: Registry, first: Path) -> None:
    kept.import_model(first, "churn", "ada")
    moved = kept.import_model(first, "churn", "ada", device="cuda", fallback=False)
    assert (moved.version, moved.device, moved.fallback) == (1, "cuda", False)


def test_imports_of_one_name_at_once_number_their_versions_without_gaps(kept: Registry, tmp_path: Path) -> None:
    paths = [models.save(models.linear((weight, 0)), tmp_path / f"{weight}.onnx") for weight in range(3)]
    with ThreadPoolExecutor(3) as pool:
        versions = list(pool.map(lambda path: kept.import_model(path, "churn", "ada").version, paths))
    assert sorted(versions) == [1, 2, 3]


def test_a_reference_is_resolved_by_alias_number_and_digest(kept: Registry, first: Path, second: Path) -> None:
    one, two = kept.import_model(first, "churn", "ada"), kept.import_model(second, "churn", "ada")
    assert kept.resolve("churn") == kept.resolve("churn@champion") == kept.resolve("churn@1") == one
    assert kept.resolve(f"churn@{two.digest}") == two
    moved = kept.alias("churn", "champion", 2, "ada")
    assert kept.resolve("churn") == moved
    assert selectors(moved) == (2, ("champion",))


def test_an_unknown_reference_is_answered_with_what_there_is(kept: Registry, first: Path) -> None:
    kept.import_model(first, "churn", "ada")
    for reference, words in {
        "churm": "there is no model 'churm': did you mean 'churn'?",
        "zzz": "there is no model 'zzz': there is churn",
        "churn@champoin": "the model churn has no 'champoin': did you mean 'champion'?",
        "churn@7": "the model churn has no '7': there is 1, champion",
        "churn@99999999999999999999": "the model churn has no '99999999999999999999': there is 1, champion",
        "churn@sha256:0": "the model churn has no 'sha256:0': there is 1, champion",
    }.items():
        with pytest.raises(Misconfigured) as caught:
            kept.resolve(reference)
        assert str(caught.value) == words
    with pytest.raises(Misconfigured, match="a reference to a model is its name"):
        kept.resolve("churn\0")


def test_an_alias_of_a_version_that_is_not_there_is_refused(kept: Registry) -> None:
    with pytest.raises(Misconfigured, match="there is no model 'churn': import one first"):
        kept.alias("churn", "champion", 1, "ada")
    with pytest.raises(Misconfigured, match="the alias 'winner' is unknown: use champion or challenger"):
        kept.alias("churn", "winner", 1, "ada")  # type: ignore[arg-type]


def test_a_name_that_could_not_be_referred_to_is_refused(kept: Registry, first: Path) -> None:
    for name in ("", "a@b", "a/b", "-a", "ä", "a" * 101, "a\n"):
        with pytest.raises(Misconfigured, match="a model's name"):
            kept.import_model(first, name, "ada")


def test_the_audit_is_written_with_the_change_or_neither_is(kept: Registry, store: Store, first: Path, second: Path) -> None:
    told: list[str] = []

    def record(transaction: Transaction, version: ModelVersion) -> None:
        told.append(str(version))
        transaction.connection.execute("INSERT INTO audit_outbox (tenant_id, event, actor, detail) VALUES (1, 'm', 'ada', '{}')")
        if version.version == 2:
            raise OSError("the audit cannot be written")

    kept.import_model(first, "churn", "ada", record=record)
    kept.import_model(first, "churn", "ada", record=record)
    kept.alias("churn", "challenger", 1, "ada", record=record)
    assert told == ["churn@1", "churn@1"]
    with pytest.raises(OSError, match="audit"):
        kept.import_model(second, "churn", "ada", record=record)
    assert [selectors(version) for version in kept.versions()] == [(1, ("challenger", "champion"))]
    with psycopg.connect(store.url) as connection:
        assert connection.execute("SELECT count(*) FROM audit_outbox").fetchone() == (2,)
        assert connection.execute("SELECT count(DISTINCT digest) FROM model_file").fetchone() == (1,)


def test_a_refused_model_leaves_nothing_behind(kept: Registry, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="zipmap=False"):
        kept.import_model(models.save(models.zipmap(), tmp_path / "maps.onnx"), "churn", "ada")
    assert kept.versions() == []


def test_files_that_change_once_inspected_are_not_stored(kept: Registry, first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def inspect_and_change(path: Path, limits: object) -> object:
        inspection = inspect_model(path)
        models.save(models.linear((9, 9)), path)
        return inspection

    monkeypatch.setattr(registry, "inspect_model", inspect_and_change)
    with pytest.raises(Rejected, match="changed while they were imported"):
        kept.import_model(first, "churn", "ada")
    assert kept.versions() == []


def test_a_model_with_external_data_in_parts_is_fetched_as_it_was(
    kept: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "PART_BYTES", 5)
    path = models.save(models.with_external_data("data/weights.bin"), tmp_path / "first.onnx")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/weights.bin").write_bytes(np.array([3, 4], dtype=np.float32).tobytes())
    version = kept.import_model(path, "churn", "ada")
    fetched = kept.fetch(version.digest, tmp_path / "cache")
    assert fetched.read_bytes() == path.read_bytes()
    assert digest_of_folder(fetched.parent) == version.digest
    output = Sessions(kept, tmp_path / "cache").load(version).run({"x": np.ones((1, 2), np.float32)}, 10)
    assert output.frame["score"].to_list() == [7.0]


def test_a_cache_that_was_changed_is_written_anew(kept: Registry, first: Path, tmp_path: Path) -> None:
    version = kept.import_model(first, "churn", "ada")
    path = kept.fetch(version.digest, tmp_path / "cache")
    path.write_bytes(b"something else")
    assert kept.fetch(version.digest, tmp_path / "cache").read_bytes() == first.read_bytes()
    assert {child.name for child in (tmp_path / "cache").iterdir()} == {".lock", version.digest.removeprefix("sha256:")}


def test_bytes_that_were_changed_in_the_store_never_run(kept: Registry, store: Store, first: Path, tmp_path: Path) -> None:
    version = kept.import_model(first, "churn", "ada")
    with psycopg.connect(store.url) as connection:
        connection.execute("UPDATE model_file SET bytes = bytes || '\\x00'")
    with pytest.raises(Misconfigured, match="differ from their digest"):
        Sessions(kept, tmp_path / "cache").load(version)
    assert [child.name for child in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_model_whose_files_are_not_stored_is_misconfigured(kept: Registry, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="are not in the store"):
        kept.fetch("sha256:" + "0" * 64, tmp_path)


def test_a_loaded_model_is_kept_until_others_need_its_place(kept: Registry, first: Path, second: Path, tmp_path: Path) -> None:
    one, two = kept.import_model(first, "churn", "ada"), kept.import_model(second, "churn", "ada")
    sessions = Sessions(kept, tmp_path / "cache", capacity=1)
    loaded = sessions.load(one)
    assert sessions.load(one) is loaded
    other = sessions.load(two)
    assert sessions.load(one) is not loaded
    x = np.ones((1, 2), np.float32)
    assert [model.run({"x": x}, 10).frame["score"][0] for model in (loaded, other)] == [2.0, 4.0]


def test_threads_that_ask_at_once_get_one_session(kept: Registry, first: Path, tmp_path: Path) -> None:
    version = kept.import_model(first, "churn", "ada")
    sessions, together = Sessions(kept, tmp_path / "cache"), threading.Barrier(8)

    def load(_: int) -> int:
        together.wait()
        return id(sessions.load(version))

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(load, range(8)))) == 1


def test_a_load_that_failed_is_tried_again(kept: Registry, store: Store, first: Path, tmp_path: Path) -> None:
    version = kept.import_model(first, "churn", "ada")
    sessions = Sessions(kept, tmp_path / "cache")
    with psycopg.connect(store.url) as connection:
        connection.execute("UPDATE model_file SET path = 'gone.onnx'")
    with pytest.raises(Misconfigured):
        sessions.load(version)
    with psycopg.connect(store.url) as connection:
        connection.execute("UPDATE model_file SET path = 'model.onnx'")
    assert sessions.load(version).digest == version.digest


def test_processes_that_fetch_at_once_share_one_cache(kept: Registry, store: Store, first: Path, tmp_path: Path) -> None:
    version = kept.import_model(first, "churn", "ada")
    script = dedent("""
        import sys
        from pathlib import Path
        from fieldline_core.store import Store
        from fieldline_inference.registry import Registry
        from fieldline_inference.sessions import Sessions
        registry = Registry(Store(sys.argv[1]))
        Sessions(registry, Path(sys.argv[2])).load(registry.resolve("churn"))
    """)
    command = [sys.executable, "-c", script, store.url, str(tmp_path / "cache")]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert kept.fetch(version.digest, tmp_path / "cache").read_bytes() == first.read_bytes()


def test_a_model_that_was_loaded_before_a_fork_is_a_loud_bug(kept: Registry, first: Path, tmp_path: Path) -> None:
    version = kept.import_model(first, "churn", "ada")
    sessions = Sessions(kept, tmp_path / "cache")
    sessions.load(version)
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # from Python 3.12 on, about the threads here
        child = os.fork()
    if child == 0:
        try:
            sessions.load(version)
        except RuntimeError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
