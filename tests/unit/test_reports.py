"""Reports: their shape, FHIR resources after IHE's patterns, and how they are written."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.auditevent import AuditEvent
from fhir.resources.R4B.bundle import Bundle

from fieldline_core.errors import Misconfigured, Rejected
from fieldline_core.events import EVENTS
from fieldline_server.reports import (
    FORMATS,
    KINDS,
    Entry,
    Question,
    Report,
    Row,
    ai_act,
    changes,
    data_subject,
    fhir_audit,
    moment,
    write_report,
)
from fieldline_server.reports.changes import differences
from fieldline_server.reports.fhir_resources import BALP, DELETE, EXPORT, READ, UPDATE, VIEW, Happening, Pattern, audit_event
from fieldline_server.reports.reading import address_of

AT = datetime(2026, 11, 21, 16, 0, 0, 123456, tzinfo=UTC)
DCM = "http://dicom.nema.org/resources/ontology/DCM"
PARTS = {
    "PatientRead": ("110152", "110153"), "PatientUpdate": ("110153", "110152"), "PatientDelete": ("110150", "custodian"),
    "PrivacyDisclosure.Source": ("110153", "110152"),
}  # fmt: skip
"""The parts that the profiles of BALP 1.1.3 ask for: of the client (or source), and of the server (or recipient)."""


def happening(pattern: Pattern, **more: Any) -> Happening:
    facts = {"log": "fieldline/12e5f0/default", "position": 7, "event_id": 9, "leaf": 3, "at": AT, "data": "decision of triage",
             "other": "ehr", "patient": (fhir_audit.KEY, "4711")}  # fmt: skip
    return Happening(pattern, **{**facts, **more})


def entry(position: int = 7) -> Entry:
    return Entry(position, position + 100, AT, "flow.paused", "cli:ada", {})


def report(rows: Iterator[Row], name: str = "change-log") -> Report:
    return Report(KINDS[name], Question(since=AT, until=AT), AT, "cli:ada", "fieldline/12e5f0/default", 8, rows)


def written(made: Report, format: str) -> str:
    out = io.StringIO(newline="")
    FORMATS[format](made, out)
    return out.getvalue()


@pytest.mark.parametrize("patient", [(fhir_audit.KEY, "4711"), None])
@pytest.mark.parametrize("person", ["key:abc", ""])
@pytest.mark.parametrize("outcome", ["0", "4", ""])
@pytest.mark.parametrize("pattern", [READ, VIEW, UPDATE, DELETE, EXPORT])
def test_what_is_told_is_a_valid_audit_event(pattern: Pattern, outcome: str, person: str, patient: tuple[str, str] | None) -> None:
    told = audit_event(happening(pattern, outcome=outcome, person=person, patient=patient, address="https://ehr.example"))
    resource = AuditEvent.model_validate(told)
    assert json.loads(resource.model_dump_json()).keys() == told.keys()
    assert sum(agent["requestor"] for agent in told["agent"]) == 1


@pytest.mark.parametrize("pattern", [READ, VIEW, UPDATE, DELETE, EXPORT])
def test_a_success_has_what_its_profile_asks_for(pattern: Pattern) -> None:
    told = audit_event(happening(pattern, person="key:abc"))
    (profile,) = told["meta"]["profile"]
    parts = PARTS[profile.removeprefix(BALP)]
    by_part = {agent["type"]["coding"][0]["code"]: agent for agent in told["agent"]}
    assert all(by_part[part]["who"] and by_part[part]["network"] for part in parts)
    assert [part["type"]["code"] for part in told["entity"]][:2] == ["1", "2"]
    assert told["entity"][0]["role"]["code"] == "1"
    assert told["entity"][1]["role"]["code"] == "4"
    assert told["entity"][0]["what"]["type"] == "Patient"
    codes = (told["type"]["code"], told["subtype"][0]["code"], told["action"], told["outcome"])
    assert codes == {
        "PatientRead": ("rest", "read", "R", "0"), "PatientUpdate": ("rest", "update", "U", "0"),
        "PatientDelete": ("rest", "delete", "D", "0"), "PrivacyDisclosure.Source": ("110106", "disclose", "R", "0"),
    }[profile.removeprefix(BALP)]  # fmt: skip


def test_the_source_of_a_disclosure_is_who_recorded_it() -> None:
    told = audit_event(happening(EXPORT, person="key:abc"))
    (source,) = [agent for agent in told["agent"] if agent["type"]["coding"][0] == {
        "system": DCM, "code": "110153", "display": "Source Role ID"}]  # fmt: skip
    assert source["who"] == told["source"]["observer"]


def test_a_failure_claims_no_profile() -> None:
    assert "meta" not in audit_event(happening(UPDATE, outcome="4"))


def test_a_resource_says_where_it_is_in_the_log() -> None:
    place = audit_event(happening(READ))["entity"][-1]
    assert place["what"]["identifier"] == {"system": "urn:fieldline:log:fieldline/12e5f0/default", "value": "7"}
    assert {each["type"]: each["valueString"] for each in place["detail"]} == {"event_id": "9", "leaf": "3"}


def test_an_address_that_is_not_known_is_marked_so() -> None:
    theirs = audit_event(happening(READ))["agent"][1]
    assert theirs["network"]["extension"][0]["valueCode"] == "unknown"


def test_every_event_that_a_report_reads_is_declared() -> None:
    read = {*fhir_audit._EVENTS, *ai_act._ACTS, *changes._CHANGES, *data_subject._EVENTS}
    assert read <= set(EVENTS)


@pytest.mark.parametrize("name", KINDS)
def test_a_report_says_what_it_produces_and_what_it_is_not(name: str) -> None:
    kind = KINDS[name]
    assert kind.produces.startswith("Produces the records for ")
    assert kind.limits
    assert kind.needs <= kind.takes


def test_rows_are_written_by_column_with_their_place_first() -> None:
    rows = iter([Row(entry(), {"who": "ada", "at": "now"}), Row(None, {"who": "bob"})])
    said = json.loads(written(report(rows), "json"))
    assert [list(row)[:4] for row in said["rows"]] == [["position", "event_id", "at", "who"]] * 2
    assert [(row["position"], row["event_id"], row["who"]) for row in said["rows"]] == [(7, 107, "ada"), (None, None, "bob")]
    assert said["produces"] == KINDS["change-log"].produces


def test_a_report_without_rows_is_a_report() -> None:
    assert json.loads(written(report(iter(())), "json"))["rows"] == []
    assert written(report(iter(())), "ndjson") == ""
    assert len(list(csv.reader(io.StringIO(written(report(iter(())), "csv"))))) == 1
    bundle = json.loads(written(report(iter(()), "fhir-audit-events"), "json"))
    assert "entry" not in bundle
    Bundle.model_validate(bundle)


def test_resources_are_a_bundle_or_a_line_each() -> None:
    rows = [Row(entry(), {}, audit_event(happening(READ, leaf=leaf))) for leaf in (1, 2)]
    bundle = Bundle.model_validate(json.loads(written(report(iter(rows), "fhir-audit-events"), "json")))
    assert [each.resource.id for each in bundle.entry] == ["fieldline-9-1", "fieldline-9-2"]
    lines = written(report(iter(rows), "fhir-audit-events"), "ndjson").splitlines()
    assert [json.loads(line)["resourceType"] for line in lines] == ["AuditEvent", "AuditEvent"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_no_text_of_a_record_is_a_formula_in_a_spreadsheet(text: str) -> None:
    table = written(report(iter([Row(entry(), {"why": text})])), "csv")
    (row,) = csv.DictReader(io.StringIO(table, newline=""))
    assert row["why"] == f"'{text}"


def test_values_that_are_no_text_are_json_in_a_spreadsheet() -> None:
    (row,) = csv.DictReader(io.StringIO(written(report(iter([Row(entry(), {"after": {"a": -1.5}, "before": -1})])), "csv")))
    assert (row["after"], row["before"]) == ('{"a":-1.5}', "-1")


def test_rows_are_written_as_they_are_read() -> None:
    """Nothing of a long report is held: each row is on its way out before the next but one is read."""
    sizes: list[int] = []
    out = io.StringIO()

    def rows() -> Iterator[Row]:
        for number in range(50):
            sizes.append(out.tell())
            yield Row(entry(number), {"who": "x" * 1000})

    for format in FORMATS:
        sizes.clear()
        out.seek(0)
        out.truncate()
        FORMATS[format](report(rows()), out)
        assert sizes[-1] > 47_000, format


def test_a_page_is_bounded_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fieldline_server.reports.writing._MOST_ON_A_PAGE", 2)
    full = written(report(Row(entry(), {}) for _ in range(2)), "html")
    more = written(report(Row(entry(), {}) for _ in range(3)), "html")
    assert (full.count("<tr>"), more.count("<tr>")) == (3, 3)
    assert "There are more rows" not in full
    assert "There are more rows" in more


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    def breaking() -> Iterator[Row]:
        yield Row(entry(), {})
        raise Misconfigured("the key is not there")

    with pytest.raises(Misconfigured):
        write_report(report(breaking()), "json", tmp_path / "report.json")
    assert list(tmp_path.iterdir()) == []
    assert write_report(report(iter([Row(entry(), {})])), "json", tmp_path / "report.json") == 1
    assert (tmp_path / "report.json").stat().st_mode & 0o777 == 0o600


def test_a_report_that_is_too_long_for_an_answer_is_refused(tmp_path: Path) -> None:
    assert write_report(report(iter([Row(entry(), {})] * 2)), "json", tmp_path / "report.json", most=2) == 2
    with pytest.raises(Rejected, match="more than 2 rows"):
        write_report(report(iter([Row(entry(), {})] * 3)), "ndjson", tmp_path / "long.json", most=2)
    assert not (tmp_path / "long.json").exists()


def test_differences_are_told_on_both_sides_by_their_path() -> None:
    before = {"name": "a", "writes": [{"target": "x"}], "gone": 1, "same": [1, 2]}
    after = {"name": "a", "writes": [{"target": "y"}, {"target": "z"}], "same": [1, 2], "new": {}}
    paths = {"writes[0].target", "writes[1].target", "gone", "new"}
    old, new = differences(before, after)
    assert old.keys() == new.keys() == paths
    assert (old["writes[0].target"], new["writes[0].target"]) == ("x", "y")
    assert (old["gone"], new["gone"], old["new"], new["new"]) == (1, None, None, {})


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({"url": "https://ada:secret@hooks.example:8443/services/T0/secret?token=secret"}, "https://hooks.example:8443"),
        ({"base_url": "https://[2001:db8::1]/fhir"}, "https://[2001:db8::1]"),
        ({"connection_string": "Driver={PostgreSQL Unicode};Servername=erp.example;Pwd=secret"}, "erp.example"),
        ({"dsn": "erp"}, "erp"),
        ({"connection_string": {"secret": "env:ERP"}}, ""),
        ({"store": "desk"}, ""),
    ],
)
def test_an_address_holds_no_secret(settings: dict[str, Any], address: str) -> None:
    assert address_of(settings) == address


def test_a_moment_is_a_day_or_a_time_in_utc() -> None:
    assert moment("2026-11-21") == datetime(2026, 11, 21, tzinfo=UTC)
    assert moment("2026-11-21T17:00:00+01:00") == AT.replace(microsecond=0)
    with pytest.raises(Rejected, match="is no day or time"):
        moment("21.11.2026")
    with pytest.raises(Rejected, match="too far"):
        moment("0001-01-01T00:00:00+14:00")
