"""The verb *read*: pages of a source become chunks, each stored with its cursor in one transaction."""

import json
import time
from collections.abc import Iterator
from typing import Any

from fieldline_core.errors import Fenced, FieldlineError, Misconfigured, Rejected, StoreUnavailable
from fieldline_core.flow import Release, digest_of
from fieldline_core.logs import log, milliseconds_since
from fieldline_core.pipeline.chunks import add_chunk, count_in
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.enrich import fields_to_read
from fieldline_core.pipeline.lease import Renewal, give_back, give_back_after_bug, retry_or_none
from fieldline_core.ports import Cursor, Page, Prepares, Query
from fieldline_core.store import Row, Transaction


def read(engine: Engine, run_id: int) -> None:
    """Reads a run on from where it stands, until its chunks pile up or its source has no more."""
    settings = engine.settings
    with engine.store.transaction("read.claim") as tx:
        claim = tx.one("runs.claim", id=run_id, owner=engine.owner, lease_s=settings.lease_s)
        tx.run("relay.claimed", id=engine.owner.partition("/")[0])
    if claim is None:
        _abandon(engine, run_id)
        return
    release = engine.parts.release(claim["release_id"])
    with Renewal(engine, "runs", run_id, claim["fence"]):
        try:
            if claim["crashes"] > settings.max_crashes:
                _fail(engine, claim, "its worker died each time it was read")
            else:
                _read_pages(engine, claim, release)
        except (Fenced, StoreUnavailable):
            return
        except FieldlineError as error:
            _settle(engine, claim, release, error)
        except Exception as error:
            if claim["crashes"] > settings.max_crashes:
                _fail(engine, claim, f"internal error ({type(error).__name__}) while reading")
            else:
                give_back_after_bug(engine, "runs", run_id, claim["fence"], error)
            raise


def _read_pages(engine: Engine, claim: Row, release: Release) -> None:
    left = _rows_left(claim)
    whole = left != 0
    began, kept = time.perf_counter(), False
    for page in _pages(engine, claim, release) if whole else ():
        if page.again_s is not None:
            _wait(engine, claim, release, page, page.again_s)
            return
        batch = page.batch if left is None else page.batch.slice(0, left)
        ends = page.ends and len(batch) == len(page.batch)
        batch, dropped = batch.last_of_each_key()
        kept = page.left
        _store_page(engine, claim, release, Page(batch, page.after, left=kept, ends=ends), len(dropped))
        log().info("page_read", run=claim["id"], stage="read", rows=len(batch), duration_ms=milliseconds_since(began))
        if ends:
            return
        began = time.perf_counter()
        if left is not None:
            left -= len(batch) + len(dropped)
            if left <= 0:
                whole = False
                break
        if _piles_up(engine, claim["id"]):
            give_back(engine, "runs", claim["id"], claim["fence"], 0.0, counted=False)
            return
    _exhaust(engine, claim, release, whole=whole and not kept)


def _pages(engine: Engine, claim: Row, release: Release) -> Iterator[Page]:
    assert release.flow.source is not None
    query = engine.parts.query(release)
    assert query is not None
    after = _cursor(engine, claim, release, query)
    connector = engine.parts.connector(release.flow.source.connection)
    pages: Iterator[Page] = connector.read(query.reading(fields_to_read(engine, release)), after, engine.settings.chunk_rows)
    return pages


def _cursor(engine: Engine, claim: Row, release: Release, query: Query) -> Cursor | None:
    """Where to go on: in this run, or where the flow's last run stopped, unless another source is read or all is scored anew."""
    if claim["cursor"]:
        here: Cursor = _opened(engine, claim["cursor"])["after"]
        return here
    if not query.incremental or claim["rescore"] or not claim["flow_cursor"]:
        return None
    saved = _opened(engine, claim["flow_cursor"])
    there: Cursor | None = saved["after"] if saved["source"] == _source_digest(release) else None
    return there


def _opened(engine: Engine, cursor: bytes) -> Any:
    return json.loads(engine.keyring.open(cursor, "cursor"))


def _sealed(engine: Engine, release: Release, after: Cursor) -> bytes:
    return engine.keyring.seal(json.dumps({"source": _source_digest(release), "after": after}).encode(), "cursor")


def _source_digest(release: Release) -> str:
    source = release.flow.source
    return digest_of(source.model_dump(mode="json")) if source else ""


def _store_page(engine: Engine, claim: Row, release: Release, page: Page, dropped: int) -> None:
    body = engine.keyring.seal(page.batch.to_bytes(), "chunk")
    cursor = _sealed(engine, release, page.after)
    with engine.store.transaction("read") as tx:
        rows = len(page.batch)
        if not tx.run("runs.advance", id=claim["id"], fence=claim["fence"], cursor=cursor, rows=rows + dropped, duplicates=dropped):
            raise Fenced
        if rows:
            add_chunk(tx, claim["id"], release, rows, body, intake_from=count_in(tx, release.flow_id, rows))
            tx.one("relay.notify")
        if page.ends:
            _end(engine, tx, claim, release, whole=not page.left)


def _wait(engine: Engine, claim: Row, release: Release, page: Page, wait_s: float) -> None:
    """Stores what names the source's work, and gives the worker back in the same transaction."""
    if len(page.batch):
        raise RuntimeError("a page that asks to be read again brings rows")
    cursor = _sealed(engine, release, page.after)
    with engine.store.transaction("read.wait") as tx:
        held = tx.run("runs.wait", id=claim["id"], fence=claim["fence"], cursor=cursor, wait_s=wait_s)
        tx.one("relay.notify")
    if not held:
        before = _opened(engine, claim["cursor"])["after"] if claim["cursor"] else {}
        if page.after.get("job") != before.get("job"):
            # Begun just now: nobody else knows of it.
            _give_up(engine, claim["id"], release.id, cursor)
        raise Fenced
    log().info("run_waits", run=claim["id"], stage="read", wait_s=round(wait_s, 1))


def _exhaust(engine: Engine, claim: Row, release: Release, *, whole: bool) -> None:
    with engine.store.transaction("read.end") as tx:
        _end(engine, tx, claim, release, whole=whole)


def _end(engine: Engine, tx: Transaction, claim: Row, release: Release, *, whole: bool) -> None:
    """Notes that all was read, and where the next run goes on."""
    query = engine.parts.query(release)
    if not tx.run("runs.exhaust", id=claim["id"], fence=claim["fence"], whole=whole):
        raise Fenced
    # A run with a limit is a trial: the next run starts where the last full one stopped.
    if query and query.incremental and claim["row_limit"] is None:
        tx.run("runs.remember_cursor", id=claim["id"], flow=release.flow_id)
    tx.one("runs.finish", id=claim["id"])
    tx.one("relay.notify")
    log().info("run_read", run=claim["id"], flow=release.flow.flow)


def _rows_left(claim: Row) -> int | None:
    return None if claim["row_limit"] is None else max(0, int(claim["row_limit"]) - int(claim["rows_read"]))


def _piles_up(engine: Engine, run_id: int) -> bool:
    with engine.store.transaction("read.room") as tx:
        row = tx.one("runs.room", id=run_id)
    return row is not None and row["waiting"] >= engine.settings.max_waiting_chunks


def _settle(engine: Engine, claim: Row, release: Release, error: FieldlineError) -> None:
    """A source that a person must mend, or that refuses, ends the run; one that is unavailable is read again later."""
    final = isinstance(error, Misconfigured | Rejected)
    if final or not retry_or_none(engine, "runs", claim["id"], claim["fence"], release.flow.retry, error, claim["attempts"]):
        _fail(engine, claim, str(error))


def _fail(engine: Engine, claim: Row, reason: str) -> None:
    with engine.store.transaction("read.fail") as tx:
        tx.run("runs.fail", id=claim["id"], fence=claim["fence"], reason=reason)
    log().error("run_failed", run=claim["id"])


def _abandon(engine: Engine, run_id: int) -> None:
    """Gives up what a source keeps for a run that ended before it was read; what cannot be given up now is tried again."""
    with engine.store.transaction("read.abandon") as tx:
        ended = tx.one("runs.claim_prepared", id=run_id)
    if ended is None:
        return
    if _give_up(engine, run_id, ended["release_id"], ended["cursor"]):
        with engine.store.transaction("read.abandoned") as tx:
            tx.run("runs.abandoned", id=run_id)


def _give_up(engine: Engine, run_id: int, release_id: int, cursor: bytes) -> bool:
    """Whether the source keeps nothing more for the run."""
    try:
        source = engine.parts.release(release_id).flow.source
        connector = engine.parts.connector(source.connection) if source else None
        if isinstance(connector, Prepares):
            connector.abandon(_opened(engine, cursor)["after"])
    except FieldlineError as error:
        log().warning("prepared_not_given_up", run=run_id, code=error.code)
        return False
    return True
