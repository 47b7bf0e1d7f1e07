"""Makes a report: checks what is asked, records that it is, and reads the log up to that moment."""

from collections.abc import Mapping
from datetime import UTC, datetime

from fieldline_core.errors import Rejected
from fieldline_core.events import record
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.manage import find_flow
from fieldline_core.pipeline.prove import SealedLog
from fieldline_core.pipeline.sequence import seal_all
from fieldline_server.reports import ai_act, changes, data_subject, disclosures, fhir_audit, processing
from fieldline_server.reports.reading import Reader, within
from fieldline_server.reports.shape import Kind, Question, Report

KINDS: Mapping[str, Kind] = {
    each.KIND.name: each.KIND for each in (fhir_audit, disclosures, data_subject, processing, ai_act, changes)
}
"""The reports by name."""


def make_report(engine: Engine, name: str, question: Question, by: str) -> Report:
    """A report whose rows are read when they are asked for; that it was made is in the log before it is read.

    Raises Rejected where the report is not known, or takes or needs something else.
    """
    kind = KINDS.get(name)
    if kind is None:
        raise Rejected(f"there is no report {name!r}: there are {', '.join(KINDS)}")
    _check(kind, question)
    with engine.store.transaction("report") as tx:
        clock = tx.one("flows.clock")
        assert clock is not None
        if question.flow is not None:
            find_flow(tx, question.flow)
        asked = within(question, clock["now"].astimezone(UTC), kind.days)
        period = {end: at.isoformat() for end, at in (("since", asked.since), ("until", asked.until)) if at}
        key_hash = {"key_hash": engine.keyring.hash_key(asked.key).hex} if asked.key is not None else {}
        record(tx, "report.made", by, {"kind": name, "flow": asked.flow, **key_hash, **period})
    seal_all(engine)
    with engine.store.transaction("report.read") as tx:
        log = SealedLog(tx)
    return Report(kind, asked, clock["now"].astimezone(UTC), by, log.key.name, log.size, kind.rows(Reader(engine, asked, log.size)))


def moment(text: str) -> datetime:
    """A day or a moment as people write it, in UTC where it names no zone; raises Rejected."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Rejected(f"{text!r} is no day or time: write 2026-11-21 or 2026-11-21T16:00:00Z") from None
    try:
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except OverflowError:
        raise Rejected(f"{text!r} is too far away") from None


def _check(kind: Kind, question: Question) -> None:
    for name in ("key", "flow", "since", "until"):
        given = getattr(question, name) is not None
        if given and name not in kind.takes:
            raise Rejected(f"the report {kind.name} takes no {name}: it takes {', '.join(sorted(kind.takes))}")
        if not given and name in kind.needs:
            raise Rejected(f"the report {kind.name} needs a {name}")
    if question.since and question.until and question.since >= question.until:
        raise Rejected("the period is empty: 'until' is its end and lies behind 'since'")
