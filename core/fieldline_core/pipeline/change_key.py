"""Changing the key that signs the log: the old key's last word is the new key, and both sign the checkpoint that says so."""

from fieldline_core.events import record
from fieldline_core.ledger import VerifierKey
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.sequence import append, make_log_key, open_log_key, seal_all, signing_keys


def change_log_key(engine: Engine, by: str, why: str, beside_days: int) -> VerifierKey:
    """Puts a new key in the place of the log's key, and returns it; the old one signs beside it for so many days."""
    open_log_key(engine.store, engine.keyring)
    seal_all(engine)
    with engine.store.transaction("log.change_key") as tx:
        tx.one("log.wait_to_lead")
        before = signing_keys(tx, engine.keyring)
        tx.run("log.replace_keys", days=beside_days)
        new = make_log_key(tx, engine.keyring, before[0].verifier.name)
        detail = {"old": str(before[0].verifier), "new": str(new.verifier), "why": why, "beside_days": beside_days}
        rows = tx.all("log.take_one", event=record(tx, "log.key_changed", by, detail))
        size = append(tx, rows, [new, *before])
        tx.run("log.keep_checkpoint", size=size)
    return new.verifier


__all__ = ["change_log_key"]
