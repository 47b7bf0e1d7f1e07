"""The verb *enrich*: the records of a chunk, read back where its events only name them."""

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from fieldline_core.batch import Batch
from fieldline_core.flow import Release
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.records import batch_of, value_at
from fieldline_core.store import Row


def fields_to_read(engine: Engine, release: Release) -> set[str]:
    """The fields that the mapping needs, and those that are compared before they are overwritten."""
    query = engine.parts.query(release)
    fields = set(engine.parts.plan(release).fields_read())
    for write in release.flow.writes:
        if query and release.flow.source and write.connection == release.flow.source.connection:
            fields |= set(engine.parts.target(release, write).overwrites(query))
    return fields


def load(engine: Engine, claim: Row, release: Release, *, read_back: bool = True) -> tuple[Batch, dict[int, str]]:
    """The records of a chunk (its body, or its events), and the rows that cannot be had.

    Without `read_back`, records that are only named have no columns: a source that fails must not keep them from being set aside.
    """
    if claim["body"] is not None:
        batch = Batch.from_bytes(engine.keyring.open(claim["body"], "chunk"))
        named = not batch.frame.width and release.flow.source is not None
        return _read_back(engine, release, batch.keys.to_list()) if named and read_back else (batch, {})
    with engine.store.transaction("score.events") as tx:
        events = tx.all("chunks.events", id=claim["id"])
    records: dict[str, Mapping[str, Any]] = {}
    for event in events:
        body = json.loads(engine.keyring.open(event["body"], "inbox"))
        # A later event on the same key replaces the earlier one: it is the newer state.
        records[event_key(release, body)] = body
    if release.flow.source is None:
        return batch_of(list(records.items()), engine.parts.plan(release).fields_read())
    return _read_back(engine, release, list(records)) if read_back else (Batch.of(list(records), pl.DataFrame()), {})


def event_key(release: Release, body: Mapping[str, Any]) -> str:
    """The key of the record that an event carries or names; empty where the body has none."""
    value = value_at(body, release.flow.trigger.key or "id")
    return "" if value is None or isinstance(value, Mapping | list | bool) else str(value)


def _read_back(engine: Engine, release: Release, keys: list[str]) -> tuple[Batch, dict[int, str]]:
    source, query = release.flow.source, engine.parts.query(release)
    assert source is not None
    assert query is not None
    connector = engine.parts.connector(source.connection)
    found: Batch = connector.lookup(query.reading(fields_to_read(engine, release)), keys)
    missing = sorted(set(keys) - set(found.keys))
    if not missing:
        return found, {}
    frame = pl.concat(
        [
            found.frame,
            pl.DataFrame({name: pl.Series([None] * len(missing), dtype=kind) for name, kind in found.frame.schema.items()}),
        ]
    )
    everyone = Batch.of([*found.keys, *missing], frame)
    return everyone, dict.fromkeys(range(len(found), len(everyone)), f"{source.connection} has no record with this key")
