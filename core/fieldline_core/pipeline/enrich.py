"""The verb *enrich*: the records of a chunk, read back where its events only name them."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import polars as pl

from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured
from fieldline_core.flow import LookupStep, Release, WriteStep
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.records import batch_of, value_at
from fieldline_core.ports import Query, Wanted
from fieldline_core.schema import FieldType
from fieldline_core.store import Row

ReadsChildren: TypeAlias = Callable[[LookupStep, Query, Sequence[str]], Batch]
"""Reads the rows that belong to the records with these keys."""


def fields_to_read(engine: Engine, release: Release) -> set[str]:
    """The source's fields that the mapping and the lookups need, and those that are compared before a write."""
    looked_up = {lookup.name for lookup in release.flow.lookups}
    fields = engine.parts.plan(release).fields_read().keys() - looked_up
    fields |= {lookup.by for lookup in release.flow.lookups if lookup.by}
    for write in release.flow.writes:
        fields |= set(compared_before(engine, release, write))
    return fields


def compared_before(engine: Engine, release: Release, write: WriteStep) -> tuple[str, ...]:
    """The source's fields that are compared before this step writes; none where those are not the records that it writes."""
    query, source = engine.parts.query(release), release.flow.source
    if query is None or source is None or write.connection != source.connection:
        return ()
    return engine.parts.target(release, write).overwrites(query)


def own_fields(engine: Engine, release: Release) -> Wanted:
    """What a record that comes whole has to hold: all that the mapping needs but the lists that are looked up."""
    looked_up = {lookup.name: lookup.by for lookup in release.flow.lookups}
    wanted = {name: type for name, type in engine.parts.plan(release).fields_read().items() if name not in looked_up}
    return wanted | {by: wanted.get(by, FieldType.TEXT) for by in looked_up.values() if by}


def with_children(engine: Engine, release: Release, batch: Batch, read: ReadsChildren | None = None) -> Batch:
    """The batch with the rows that belong to each record, as a list column for each lookup that the mapping uses.

    They are read of the lookups' connections, or by `read`, where the rows come another way.
    """
    wanted = engine.parts.plan(release).fields_read()
    frame = batch.frame
    for lookup in release.flow.lookups:
        fields = wanted.get(lookup.name)
        if isinstance(fields, Mapping) and len(batch):
            if lookup.by is not None and lookup.by not in frame.columns:
                raise Misconfigured(f"the lookup {lookup.name!r} goes by the field {lookup.by!r}, which the records do not have")
            keys = batch.keys if lookup.by is None else frame[lookup.by].cast(pl.String)
            query = engine.parts.child_query(release, lookup).reading(fields)
            asked = keys.drop_nulls().unique(maintain_order=True).to_list()
            found: Batch = read(lookup, query, asked) if read else engine.parts.connector(lookup.connection).children(query, asked)
            frame = frame.with_columns(_lists(keys, found, list(fields)).alias(lookup.name))
    return Batch(batch.keys, frame)


def _lists(keys: pl.Series, found: Batch, fields: Sequence[str]) -> pl.Series:
    """For each key its rows; none where there are none."""
    # In one order, however a system gave them: what is summed, or first of equals, must not differ from run to run.
    ordered = found.frame.select(fields).with_columns(found.keys.alias("__key")).sort(["__key", *fields], nulls_last=True)
    rows = ordered.select(pl.struct(fields).alias("rows"), pl.col("__key").alias("key"))
    grouped = rows.group_by("key", maintain_order=True).agg("rows")
    return keys.alias("key").to_frame().join(grouped, on="key", how="left", maintain_order="left")["rows"]


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
        return batch_of(list(records.items()), own_fields(engine, release))
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
