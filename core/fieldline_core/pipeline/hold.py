"""Legal holds: a record that is held is not erased, and nothing of it goes by retention."""

from fieldline_core.errors import Misconfigured, Rejected
from fieldline_core.events import record
from fieldline_core.pipeline.engine import Engine
from fieldline_core.store import Row, Transaction

_USE = "legal_hold"


def place_hold(engine: Engine, key: str, by: str, why: str) -> None:
    """Holds a record, whether anything is kept on it yet or not, for a reason that is recorded."""
    if not why.strip():
        raise Rejected("a hold needs a reason")
    key_hash = engine.keyring.hash_key(key)
    with engine.store.transaction("hold") as tx:
        tx.one("erasure.lock", key_hash=key_hash)
        refuse_held(tx, engine, key)
        tx.run("erasure.place_hold", key_hash=key_hash, key=engine.keyring.seal(key.encode(), _USE), why=why, by=by)
        record(tx, "hold.placed", by, {"key_hash": key_hash.hex, "why": why})


def release_hold(engine: Engine, key: str, by: str, why: str) -> None:
    """Ends the hold on a record, for a reason that is recorded; raises Misconfigured where there is none."""
    if not why.strip():
        raise Rejected("releasing a hold needs a reason")
    key_hash = engine.keyring.hash_key(key)
    with engine.store.transaction("hold.release") as tx:
        tx.one("erasure.lock", key_hash=key_hash)
        if not tx.run("erasure.release_hold", key_hash=key_hash):
            raise Misconfigured("there is no hold on this record: see 'fieldline audit holds'")
        record(tx, "hold.released", by, {"key_hash": key_hash.hex, "why": why})


def list_holds(engine: Engine) -> list[Row]:
    """All holds with the keys of their records, the newest first."""
    with engine.store.transaction("holds") as tx:
        rows = tx.all("erasure.holds")
    return [row | {"key": engine.keyring.open(row["key"], _USE).decode()} for row in rows]


def refuse_held(tx: Transaction, engine: Engine, key: str) -> None:
    """Raises Misconfigured where a record is held."""
    hold = tx.one("erasure.hold", key_hash=engine.keyring.hash_key(key))
    if hold is not None:
        since = hold["placed_at"].isoformat(sep=" ", timespec="seconds")
        raise Misconfigured(
            f"this record is held since {since} by {hold['placed_by']}: {hold['why']}. Release the hold first "
            "('fieldline audit release'), if whoever placed it agrees"
        )
