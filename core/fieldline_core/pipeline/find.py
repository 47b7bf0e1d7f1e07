"""Decisions, found by record key and shown whole."""

import json
from typing import Any

from fieldline_core.evidence import Envelope, unseal
from fieldline_core.pipeline.engine import Engine

_PARTS = ("source", "feature", "output", "field")


def find_decisions(engine: Engine, key: str, limit: int = 20) -> list[dict[str, Any]]:
    """The decisions on a record key, newest first, each with its source values, features, outputs, fields and receipts."""
    with engine.store.transaction("find") as tx:
        places = tx.all("evidence.find", key_hash=engine.keyring.hash_key(key), limit=limit)
        stored = {place["chunk_id"]: tx.all("evidence.of_chunk", chunk=place["chunk_id"]) for place in places}
    found = []
    for place in places:
        decisions = next(row for row in stored[place["chunk_id"]] if row["kind"] == "decisions")
        envelope = unseal(engine.keyring, "decisions", decisions["body"])
        shown = show_row(envelope, place["row_no"])
        if shown["key"] != key:
            continue
        receipts = [
            unseal(engine.keyring, "receipts", row["body"]) for row in stored[place["chunk_id"]] if row["kind"] == "receipts"
        ]
        found.append(
            shown | {"recorded_at": decisions["created_at"].isoformat(), "writes": [w for r in receipts if (w := _write(r, key))]}
        )
    return found


def show_row(envelope: Envelope, row: int) -> dict[str, Any]:
    """One row of a batch's evidence as JSON values."""
    values: dict[str, Any] = json.loads(envelope.frame.slice(row, 1).write_json())[0]
    header = envelope.header
    held = header["held"].get(str(row))
    parts = {part: {k.removeprefix(f"{part}."): v for k, v in values.items() if k.startswith(f"{part}.")} for part in _PARTS}
    return {
        "key": values["key"], "flow": header["flow"], "release": header["release"], "mapping": header["mapping"],
        "models": header["models"], "clock": header["clock"], "runtime": header["runtime"],
        "held": {"stage": held[0], "reason": held[1]} if held else None,
        "source": parts["source"], "features": parts["feature"], "outputs": parts["output"],
        "fields": parts["field"],
    }  # fmt: skip


def _write(envelope: Envelope, key: str) -> dict[str, Any] | None:
    keys = envelope.frame["key"]
    row = keys.index_of(key)
    if row is None:
        return None
    receipts = envelope.header["receipts"]
    outcome, reason = receipts["others"].get(str(row), [receipts["usual"], ""])
    facts = {name: envelope.header[name] for name in ("write", "target", "effect", "attempt")}
    return facts | {"outcome": outcome, "reason": reason, "detail": receipts["detail"]}
