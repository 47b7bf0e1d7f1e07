"""Where a flow that listens goes on, and what a change becomes."""

import json
from typing import Any

from fieldline_core.flow import Release, digest_of
from fieldline_core.pipeline.engine import Engine
from fieldline_core.ports import Change, Cursor
from fieldline_core.store import TENANT


def topic_of(release: Release) -> str:
    """What a place belongs to: that of another connection or topic means nothing."""
    assert release.flow.source is not None
    return digest_of_topic(release.flow.source.connection, release.flow.trigger.changes)


def digest_of_topic(connection: str, changes: Any) -> str:
    """The name of a connection's topic."""
    return digest_of({"connection": connection, "topic": changes})


def begin(engine: Engine, release: Release) -> tuple[int, Cursor | None]:
    """The version from which the place may be moved on, by nobody who began before, and the place; None where there is none."""
    with engine.store.transaction("listen.begin") as tx:
        row = tx.one("feeds.begin", flow=release.flow_id, topic=topic_of(release))
    assert row is not None
    return row["version"], None if row["cursor"] is None else json.loads(engine.keyring.open(bytes(row["cursor"]), "feed"))


def event_of(engine: Engine, release: Release, change: Change) -> dict[str, Any]:
    """The event that a change is stored as: the key, and nothing of the record."""
    assert release.flow.source is not None
    body = json.dumps({"id": change.key}).encode()
    return {
        "tenant": TENANT, "flow": release.flow_id, "sender": f"{release.flow.source.connection}/{release.flow.flow}/changes",
        "event_id": change.id, "body": engine.keyring.seal(body, "inbox"), "body_hash": engine.keyring.hash_body(body),
        "key_hash": engine.keyring.hash_key(change.key),
    }  # fmt: skip
