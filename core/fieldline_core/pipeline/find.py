"""Decisions, found by record key and shown whole."""

import json
from typing import Any

from fieldline_core.evidence import Envelope, unseal
from fieldline_core.pipeline.engine import Engine


def find_decisions(engine: Engine, key: str, limit: int = 20) -> list[dict[str, Any]]:
    """The decisions on a record key, newest first, each with its source values, features, outputs, fields and receipts."""
    with engine.store.transaction("find") as tx:
        places = tx.all("evidence.find", key_hash=engine.keyring.hash_key(key), limit=limit)
        stored = {place["chunk_id"]: tx.all("evidence.of_chunk", chunk=place["chunk_id"]) for place in places}
    found = []
    for place in places:
        decisions = next(row for row in stored[place["chunk_id"]] if row["kind"] == "decisions")
        envelope = unseal(engine.keyring, decisions)
        shown = show_row(envelope, place["row_no"])
        if shown["key"] != key:
            continue
        receipts = [unseal(engine.keyring, row) for row in stored[place["chunk_id"]] if row["kind"] == "receipts"]
        found.append(
            shown | {"recorded_at": decisions["created_at"].isoformat(), "writes": [w for r in receipts if (w := _write(r, key))]}
        )
    return found


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
    return facts | {"outcome": line["outcome"], "reason": line["reason"] or "", "before": line.get("before", {})}
