"""Decisions, shown whole."""

import json
from collections.abc import Iterable
from typing import Any

from fieldline_core.evidence import Envelope
from fieldline_core.store import Row


def show_decision(decisions: Envelope, receipts: Iterable[Envelope], stored: Row, row: int) -> dict[str, Any]:
    """One row of a batch's decisions, and what targets answered; `stored` says of the evidence `chunk_id` and `created_at`."""
    shown = show_row(decisions, row)
    writes = [said for answer in receipts if (said := _write(answer, shown["key"]))]
    place = {"decision": f"{stored['chunk_id']}-{row}", "recorded_at": stored["created_at"].isoformat()}
    return place | shown | {"writes": writes}


def show_row(envelope: Envelope, row: int) -> dict[str, Any]:
    """One row of a batch's evidence as JSON values: those of its line, which its commitment in the log stands for."""
    header, line = envelope.header, json.loads(envelope.line(row + 1))
    held = line.get("held")
    return {
        "key": line["key"], "flow": header["flow"], "release": header["release"], "mapping": header["mapping"],
        "models": header["models"], "clock": header["clock"], "runtime": header["runtime"],
        "held": held if held and held["stage"] else None,
        **{part: line.get(part, {}) for part in ("source", "features", "outputs", "fields")},
    }  # fmt: skip


def _write(envelope: Envelope, key: str) -> dict[str, Any] | None:
    row = envelope.frame["key"].index_of(key)
    if row is None:
        return None
    line = json.loads(envelope.line(row + 1))
    facts = {name: envelope.header[name] for name in ("write", "target", "effect", "attempt", "detail")}
    undo = {"undo": envelope.header["undo"], "put_back": line.get("fields", {})} if "undo" in envelope.header else {}
    return facts | {"outcome": line["outcome"], "reason": line["reason"] or "", "before": line.get("before", {}), **undo}
