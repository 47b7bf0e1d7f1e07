"""Bulk Data `$export`: begun once, asked after without a worker, read line by line, and deleted."""

import json
from collections.abc import Iterator, Mapping, Set
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.crash_matrix import Cell, Ground, OdbcSink, prepare_ground, run_cell, run_matrix
from tests.faults import drivers
from tests.fhir_script import Asked, ScriptedServer, serving
from tests.fhir_server import fhir_server, observation

from fieldline_connectors.fhir import Fhir, FhirConfig, FhirQuery
from fieldline_connectors.testing.abilities import again
from fieldline_core.errors import FieldlineError, Misconfigured, Rejected, Unavailable
from fieldline_core.ports import Cursor, Page
from fieldline_core.secret import Secret
from fieldline_core.waiting import pages_of
from fieldline_server.embedded import Postgres
from fieldline_simulators.fhir import FIXED_TOKEN

SCORED = {"resource": "Observation", "where": [{"path": "identifier.exists()"}], "select": [{"column": [
    {"name": "id", "path": "identifier.value.first()"},
    {"name": "a", "path": "value.ofType(Quantity).value", "type": "decimal"},
    {"name": "b", "path": "value.ofType(Quantity).value / 2", "type": "decimal"},
]}]}  # fmt: skip


class ExportSink(OdbcSink):
    """Observations that a server exports, scored into a database."""

    changes = False

    def __init__(self, ground: Ground, name: str, stack: ExitStack) -> None:
        super().__init__(ground, name, stack)
        server = stack.enter_context(fhir_server("medplum", patients=1, export_polls=2))
        for key in self.expected:
            named = [{"system": "urn:test", "value": key}]
            assert server.create(observation(value=float(key[1:]), identifier=named)).status_code == 201
        self.exports, self._root = server.simulator.ehr.exports, server.simulator.fhir_url
        self.begun = 0
        begin = self.exports.begin

        def counted(*given: Any) -> Any:
            self.begun += 1
            return begin(*given)

        self.exports.begin = counted  # type: ignore[assignment, method-assign]
        self._token = ground.directory / "ehr.token"
        self._token.write_text(FIXED_TOKEN)

    def documents(self) -> list[dict[str, Any]]:
        """The same flow, with the server as its source."""
        *others, flow = super().documents()
        settings = {
            "base_url": self._root, "login": {"flow": "bearer", "token": {"secret": f"file:{self._token}"}},
            "allow_private": [{"host": host, "network": "127.0.0.0/8"} for host in ("localhost", "127.0.0.1")],
        }  # fmt: skip
        query = {"view": SCORED, "export": {"level": "patient", "poll_s": 0.01}, "changes": self.changes}
        source = {"connection": "ehr", "query": query}
        return [{"connection": "ehr", "connector": "fhir", "settings": settings}, *others, {**flow, "source": source}]

    def problems(self, effects: Set[str]) -> list[str]:
        """Whether one export was begun, and none is left."""
        found = super().problems(effects)
        if (self.begun, len(self.exports._jobs)) != (1, 0):
            found.append(f"{self.begun} exports were begun, {len(self.exports._jobs)} are left")
        return found


class ChangesSink(ExportSink):
    """The same, of what has changed."""

    changes = True


@pytest.fixture
def ground(postgres: Postgres, migrated_template: str, tmp_path: Path) -> Ground:
    return prepare_ground(postgres, migrated_template, tmp_path)


def test_an_export_is_begun_once_though_its_reader_dies_between_pages(ground: Ground) -> None:
    with drivers(1) as (driver,):
        assert run_cell(ground, ExportSink, Cell("read.commit:after"), driver) == []


@pytest.mark.soak
def test_an_export_is_begun_once_wherever_its_reader_dies_once_its_name_is_stored(ground: Ground) -> None:
    def sites(passed: Mapping[str, int]) -> list[Cell]:
        assert passed["read.wait.commit:after"] == 3
        stored = [Cell(f"read.wait.commit:{when}", n) for when, n in (("after", 1), ("before", 2), ("after", 3))]
        return [
            *stored,
            *(Cell(f"read.commit:{when}", n) for when in ("before", "after") for n in (1, 3)),
            Cell("read.end.commit:before"),
        ]

    assert run_matrix(ground, ExportSink, sites) == {}


@pytest.mark.soak
def test_an_export_of_changes_that_was_read_is_not_begun_again_where_its_reader_dies(ground: Ground) -> None:
    def sites(passed: Mapping[str, int]) -> list[Cell]:
        last = passed["read.commit:after"]
        return [Cell(f"read.commit:{when}", last) for when in ("before", "after")]

    assert run_matrix(ground, ChangesSink, sites) == {}


VIEW = {"resource": "Patient", "select": [{"column": [{"name": "id", "path": "getResourceKey()"}]}, {"forEachOrNull": "name",
        "column": [{"name": "name", "path": "family"}]}]}  # fmt: skip
NAMES = {f"p{number}": ["Zoë", "Müller"][: number % 3] for number in range(7)}
FILES = [
    b"\n".join(
        json.dumps({"resourceType": type, "id": key, "name": [{"family": name} for name in names]}, ensure_ascii=False).encode()
        for key, names in part for type in ("Patient", "Group")
    ) + end for part, end in ((list(NAMES.items())[:4], b"\n"), ([], b""), (list(NAMES.items())[4:], b""))
]  # fmt: skip
ROWS: list[tuple[str, str | None]] = [(key, name) for key, names in NAMES.items() for name in (*names, *([] if names else [None]))]
MANIFEST = "2026-05-01T10:00:00.000+02:00"


class Exporting:
    """A server that exports: what it answers can be changed."""

    def __init__(self) -> None:
        self.polls: list[tuple[Any, ...]] = [(202, {}, {"retry-after": "120", "x-progress": "half"})]
        self.files_at = ""
        self.manifest: dict[str, Any] = {}
        self.files: list[tuple[Any, ...] | None] = [None] * len(FILES)
        self.ranges = True
        self.errors: list[dict[str, Any]] = []
        self.deletes: list[tuple[Any, ...]] = []
        self.begun = 0

    def __call__(self, asked: Asked) -> tuple[Any, ...]:
        """The answer to a request."""
        name = asked.path.rpartition("/")[2]
        if name == "$export":
            self.begun += 1
            return 202, {}, {"content-location": f"/fhir/jobs/{self.begun}"}
        if asked.method == "DELETE":
            return self.deletes.pop(0) if self.deletes else (202, {})
        if asked.path.startswith("/fhir/jobs/"):
            return self.polls.pop(0) if self.polls else (200, self._manifest(self.files_at or "/fhir/files"))
        if name == "error":
            outcomes = ({"resourceType": "OperationOutcome", "issue": [each]} for each in self.errors)
            return 200, b"\n".join(json.dumps(outcome).encode() for outcome in outcomes)
        return self.files[int(name)] or self._file(FILES[int(name)], asked.headers.get("range", ""))

    def _manifest(self, place: str) -> dict[str, Any]:
        output = [{"type": "Patient", "url": f"{place}/{number}"} for number in range(len(FILES))]
        errors = [{"type": "OperationOutcome", "url": f"{place}/error"}] if self.errors else []
        made = {"transactionTime": MANIFEST, "requiresAccessToken": True, "error": errors}
        return {**made, "output": [{"type": "Group", "url": "https://elsewhere.example/"}, *output], **self.manifest}

    def _file(self, data: bytes, part: str) -> tuple[Any, ...]:
        begin = int(part.removeprefix("bytes=").removesuffix("-") or 0)
        if not begin or not self.ranges:
            return 200, data
        return 206, data[begin:], {"content-range": f"bytes {begin}-{len(data) - 1}/{len(data)}"}


@contextmanager
def exporting() -> Iterator[tuple[Exporting, ScriptedServer, Fhir]]:
    """A server that exports, and a connector to it that signs in."""
    script = Exporting()
    with serving(script) as server:
        login = {"flow": "basic", "user": "us", "password": Secret("secret-password")}
        connector = Fhir(FhirConfig.model_validate(server.settings(login=login)))
        server.clients.callback(connector.close)
        yield script, server, connector


def query_of(**more: Any) -> FhirQuery:
    """An export of patients with their names."""
    changes = more.pop("changes", False)
    return FhirQuery.model_validate({"view": VIEW, "changes": changes, "export": {"poll_s": 0.01, **more}})


def rows_of(pages: list[Page]) -> list[tuple[Any, ...]]:
    return [row for page in pages for row in page.batch.frame.rows()]


def ready(connector: Fhir, query: FhirQuery) -> Cursor:
    """The cursor of an export that is ready."""
    (begun,) = connector.read(query, None, 3)
    return begun.after


def test_the_server_says_when_it_is_asked_again_and_a_reading_goes_on_behind_each_page() -> None:
    for ranges in (True, False):
        with exporting() as (script, server, connector):
            script.ranges = ranges
            (begun,) = connector.read(query_of(), None, 3)
            (still,) = connector.read(query_of(), begun.after, 3)
            assert (begun.again_s, still.again_s) == (0.01, 120.0)
            pages = []
            for page in connector.read(query_of(), still.after, 3):
                pages.append(page)
                # While this reading waits, another process goes on behind it.
                rest = list(connector.read(query_of(), json.loads(json.dumps(page.after)), 2)) if len(page.batch) == 3 else []
                assert rows_of([*pages, *rest]) == ROWS
            assert rows_of(pages) == ROWS
            assert [asked.method for asked in server.asked if asked.path == "/fhir/jobs/1"][-1] == "DELETE"
            assert script.begun == 1
            kickoff = next(asked for asked in server.asked if asked.path.endswith("$export"))
            assert (kickoff.path, kickoff.parameters) == ("/fhir/$export", [("_type", "Patient")])
            assert kickoff.headers["prefer"] == "respond-async"


def test_the_next_run_exports_what_has_changed_since() -> None:
    with exporting() as (_, server, connector):
        query = query_of(changes=True, level="group", group="g1")
        pages = list(pages_of(connector, query, None, 100, wait=lambda seconds: None))
        assert rows_of(pages) == ROWS
        assert pages[-1].after == {"since": MANIFEST}
        # A reading behind it would begin another export: the run ends with this page.
        assert [page.ends for page in pages] == [*[False] * (len(pages) - 1), True]
        list(pages_of(connector, query, pages[-1].after, 100, wait=lambda seconds: None))
        last = [asked for asked in server.asked if asked.path == "/fhir/Group/g1/$export"][-1]
        assert dict(last.parameters)["_since"] == "2026-05-01T09:50:00.000+02:00"


def test_deletions_that_an_export_lists_are_left_out_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    with exporting() as (script, server, connector):
        script.manifest = {"deleted": [{"type": "Bundle", "url": "/fhir/files/gone", "count": 3}, {"type": "Bundle", "url": "/x"}]}
        assert rows_of(list(pages_of(connector, query_of(), None, 100, wait=lambda seconds: None))) == ROWS
        assert not [asked for asked in server.asked if asked.path in ("/fhir/files/gone", "/x")]
        script.manifest["deleted"].pop()
        list(pages_of(connector, query_of(), None, 100, wait=lambda seconds: None))
    said = capsys.readouterr()
    assert "deleted there (in 2 files): they are left out" in said.out + said.err
    assert "deleted there (3 entries in 1 file): they are left out" in said.out + said.err


def test_credentials_go_to_the_servers_own_address_only() -> None:
    with exporting() as (script, server, connector), serving(Exporting()) as elsewhere:
        script.polls = []
        script.files_at = elsewhere.url.replace("/fhir", "/files")
        with pytest.raises(Misconfigured, match="files that ask for our token at another address"):
            list(connector.read(query_of(), ready(connector, query_of()), 100))
        assert elsewhere.asked == []
        script.manifest = {"requiresAccessToken": False}
        assert rows_of(list(connector.read(query_of(), ready(connector, query_of()), 100))) == ROWS
        assert elsewhere.asked
        assert all("authorization" not in asked.headers for asked in elsewhere.asked)
        assert all("authorization" in asked.headers for asked in server.asked)
        # An address that is signed in itself runs out: the list of files is asked for again.
        script.manifest["output"] = [{"type": "Patient", "url": "/fhir/files/0"}]
        script.files[0] = (403, b"")
        with pytest.raises(Unavailable, match="another address is asked for"):
            list(connector.read(query_of(), ready(connector, query_of()), 100))


@pytest.mark.parametrize("changes", [False, True])
def test_a_job_that_was_read_and_not_deleted_is_named_by_the_last_cursor(changes: bool) -> None:
    with exporting() as (script, server, connector):
        script.polls, script.deletes = [], [(500, {})]
        query = query_of(changes=changes)
        *_, before, last = connector.read(query, ready(connector, query), 100)
        assert (before.left, last.left, len(last.batch)) == (False, True, 0)
        connector.abandon(json.loads(json.dumps(last.after)))
        assert [asked.path for asked in server.asked if asked.method == "DELETE"] == ["/fhir/jobs/1"] * 2
        # The next run begins a job of its own.
        assert not changes or next(connector.read(query, last.after, 100)).after["job"].endswith("/jobs/2")


def test_an_export_that_is_gone_is_begun_anew_before_anything_was_read() -> None:
    with exporting() as (script, server, connector):
        script.polls = [(404, {})]
        assert rows_of(list(pages_of(connector, query_of(), None, 3))) == ROWS
        assert script.begun == 2
        assert [asked.path for asked in server.asked if asked.method == "DELETE"] == ["/fhir/jobs/1", "/fhir/jobs/2"]
        script.files[2] = (410, b"")
        with pytest.raises(Rejected, match="run the flow again"):
            list(pages_of(connector, query_of(), None, 3))
        script.files[0] = (410, b"")
        with pytest.raises(Rejected, match="forgets its exports"):
            list(pages_of(connector, query_of(), None, 3))


def test_what_could_not_be_exported_is_said() -> None:
    with exporting() as (script, _, connector):
        script.polls = []
        script.errors = [{"severity": "information", "code": "informational"}]
        assert rows_of(list(pages_of(connector, query_of(), None, 100))) == ROWS
        script.errors += [{"severity": "error", "code": "processing", "diagnostics": "Zoë"}] * 2
        with pytest.raises(Rejected, match=r"could not export all \(2 times processing\)") as caught:
            list(pages_of(connector, query_of(), None, 100))
        assert "Zoë" not in str(caught.value)
        assert rows_of(list(pages_of(connector, query_of(errors="pass"), None, 100))) == ROWS


@pytest.mark.parametrize(
    ("poll", "error", "words"),
    [
        ((500, {"resourceType": "OperationOutcome", "issue": [{"code": "too-costly"}]}), Rejected, "could not export: too-costly"),
        ((500, {"resourceType": "OperationOutcome", "issue": [{"code": "transient"}]}), Unavailable, "transient"),
        ((200, b"<html>"), Rejected, "something else than the list"),
        ((200, {"output": []}), Rejected, "something else than the list"),
    ],
)
def test_an_export_that_fails_says_why(poll: tuple[Any, ...], error: type[FieldlineError], words: str) -> None:
    with exporting() as (script, _, connector):
        script.polls = [poll]
        with pytest.raises(error, match=words):
            list(connector.read(query_of(), ready(connector, query_of()), 100))


def test_an_export_that_takes_too_long_or_is_throttled_waits_and_ends() -> None:
    with exporting() as (script, server, connector):
        script.polls = [(429, {}, {"retry-after": "7"}), (202, {})]
        query = query_of(longest_s=5)
        (throttled,) = connector.read(query, ready(connector, query), 3)
        assert throttled.again_s == 5.0
        # This process keeps quiet for so long; another one has not heard of it.
        with again(connector) as other:
            with pytest.raises(Misconfigured, match="longest_s"):
                list(other.read(query, throttled.after, 3))
            other.abandon(throttled.after)
        assert server.asked[-1].method == "DELETE"
