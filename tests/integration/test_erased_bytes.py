"""After people were erased, none of their values is found in any byte of the database's files, its log files, or ours."""

import base64
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl
import psycopg
import pytest
import yaml
from tests.engines import Bench, documents

import fieldline_verify
from fieldline_connectors import memory
from fieldline_core.batch import Batch
from fieldline_core.errors import Unavailable
from fieldline_core.logs import configure_logs
from fieldline_core.pipeline.accept import accept
from fieldline_core.pipeline.certificate import certify
from fieldline_core.pipeline.erase import erase
from fieldline_core.pipeline.manage import current_release, request_run
from fieldline_core.pipeline.prove import SealedLog
from fieldline_core.ports import Event, Slice
from fieldline_core.receipts import Receipts
from fieldline_core.store import migrate
from fieldline_server.embedded import Postgres
from fieldline_server.evidence_bundle import Wish, export_evidence

TABLES = "evidence, batch_key, decision, dead_letter, inbox, effect, chunk"


@pytest.fixture
def server(server_directory: Path, tmp_path: Path) -> Iterator[Postgres]:
    """A server of its own, whose files hold nothing else."""
    with Postgres(server_directory / f"erased-{tmp_path.name}", fsync=False) as made:
        yield made


def canary(number: int) -> str:
    """A value that only one person has, a number for those who can be scored."""
    return f"{770_000_000 + number}.25" if number % 5 else f"VALUE-OF-PERSON-{number:06}"


def person(number: int) -> str:
    """The key of a person's record."""
    return f"PERSON-{number:06}-KEY"


def decide(bench: Bench, people: int, patch: pytest.MonkeyPatch) -> None:
    """Decides on people and as many others: by a run, whose last write has an unknown outcome, and some by events."""
    numbers = range(2 * people)
    frame = pl.DataFrame({"a": [canary(number) for number in numbers], "b": ["1"] * len(numbers)})
    memory.store("people").put("records", Batch.of([person(number) for number in numbers], frame))
    inbound = {"scheme": "standard", "secrets": [{"secret": "env:HOOK"}]}
    sender = yaml.safe_dump({"connection": "sender", "connector": "webhook", "settings": {"inbound": inbound}})
    retry = {"max_attempts": 1}
    write = {"name": "answer", "connection": "people", "target": {"table": "answers", "fields": {"score": "score"}}, "retry": retry}
    bench.apply(documents("people", writes=[write]))
    bench.apply(sender + "---\n" + documents("hooked", trigger={"webhook": "sender", "key": "id"}, source=None))
    written = memory.Memory.write

    def breaks_off(self: memory.Memory, slice: Slice) -> Receipts:
        if person(2) in slice.batch.keys:
            raise Unavailable("no answer", sent=True)
        return written(self, slice)

    with patch.context() as patched:
        patched.setattr(memory.Memory, "write", breaks_off)
        request_run(bench.engine, "people", "test")
        release = current_release(bench.engine, "hooked")
        for number in range(0, 2 * people, 3):
            body = f'{{"id": "{person(number)}", "a": "{canary(number)}", "b": 1}}'
            accept(bench.engine, release, "sender", Event(f"e{number}", body.encode()))
        bench.drain()


def sweep(server: Postgres, bench: Bench) -> None:
    """What an administrator does after erasing: the tables are written anew, and the log files of before are removed."""
    with psycopg.connect(bench.engine.store.url, autocommit=True) as connection:
        # Recycled, they would keep what they hold until they are written over.
        connection.execute("ALTER SYSTEM SET wal_recycle = off")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(f"VACUUM FULL {TABLES}".encode())
        for _ in range(2):
            connection.execute("CHECKPOINT")
            connection.execute("SELECT pg_switch_wal()")
        connection.execute("CHECKPOINT")


def dump(bench: Bench, out: Path) -> None:
    """Every table, as a dump has it."""
    tables = bench.all("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
    with psycopg.connect(bench.engine.store.url) as connection, out.open("wb") as file:
        for table in tables:
            with connection.cursor().copy(f"COPY {table['relname']} TO STDOUT".encode()) as copy:
                for part in copy:
                    file.write(part)


def found(needles: Iterable[bytes], folders: Sequence[Path]) -> set[bytes]:
    """Which of these are found in any file of some folders."""
    by_start: dict[bytes, set[bytes]] = {}
    for needle in needles:
        by_start.setdefault(needle[:5], set()).add(needle)
    files = [Path(root, name) for folder in folders for root, _, names in os.walk(folder) for name in names]
    seen: set[bytes] = set()
    for path in files:
        if path.is_file() and path.stat().st_size:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                for start, wanted in by_start.items():
                    seen |= _found(content, start, wanted)
    return seen


def _found(content: mmap.mmap, start: bytes, wanted: set[bytes]) -> set[bytes]:
    """Which needles with one start are in a file."""
    seen, lengths, at = set(), {len(needle) for needle in wanted}, content.find(start)
    while at >= 0:
        seen |= wanted & {content[at : at + length] for length in lengths}
        at = content.find(start, at + 1)
    return seen


def spelt(text: str) -> list[bytes]:
    """A value as it may be spelt in a file: as it is, as a dump has bytes, and as a bundle has them."""
    return [text.encode(), text.encode().hex().encode(), base64.b64encode(text.encode())[:-4]]


def verify(bench: Bench, folder: Path) -> None:
    """Has the verifier check every bundle of a folder."""
    with bench.engine.store.transaction("key") as tx:
        key = str(SealedLog(tx).key)
    codes = {path.name: fieldline_verify.main([str(path), "--key", key]) for path in sorted(folder.glob("*.zip"))}
    assert codes == {"after.zip": 0, "before.zip": 0, "neighbour.zip": 0}


def erase_and_search(
    server: Postgres, directory: Path, people: int, patch: pytest.MonkeyPatch, logged: pytest.CaptureFixture[str]
) -> None:
    """Erases people, and searches for what they leave."""
    configure_logs("debug")
    url = server.create_database("store")
    migrate(url)
    ours, kept = directory / "ours", directory / "kept"
    ours.mkdir()
    kept.mkdir()
    patch.setenv("TMPDIR", str(ours))
    bench = Bench(url, ours)
    bench.import_linear(ours)
    decide(bench, people, patch)
    folders = [server._place.directory, ours]
    before = bench.all("SELECT wrapped, body FROM evidence JOIN batch_key ON evidence_id = id ORDER BY id")
    old = [bytes(row["wrapped"]) for row in before] + [bytes(row["body"][100:164]) for row in before]
    export_evidence(bench.engine, Wish(), kept / "before.zip", "test")
    with psycopg.connect(url, autocommit=True) as connection:
        # Until then some lie in the WAL alone, where a page may end in the midst of one.
        connection.execute("CHECKPOINT")
    assert found(old, folders) == set(old), "they are there to be found"

    # Every other one, so that every batch holds some and loses its key.
    erased = range(0, 2 * people, 2)
    for number in erased:
        event = erase(bench.engine, person(number), "test", "asked for by letter")
    certificate = certify(bench.engine, event)

    sweep(server, bench)
    dump(bench, ours / "dump")
    (ours / "logs").write_text("".join(logged.readouterr()))
    (ours / "certificate").write_text(certificate.text())
    values = [spelling for number in erased for text in (canary(number), person(number)) for spelling in spelt(text)]
    assert found([b"batch_key", *values], folders) == {b"batch_key"}
    assert found(old, folders) == set(), "nor what they were encrypted as, nor the keys of that"
    export_evidence(bench.engine, Wish(), kept / "after.zip", "test")
    export_evidence(bench.engine, Wish(person(3)), kept / "neighbour.zip", "test")
    verify(bench, kept)
    bench.close()


def test_nothing_of_fifty_erased_people_is_found_in_any_file(
    server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    erase_and_search(server, tmp_path, 50, monkeypatch, capfd)


@pytest.mark.soak
def test_nothing_of_a_thousand_erased_people_is_found_in_any_file(
    server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    erase_and_search(server, tmp_path, 1000, monkeypatch, capfd)
