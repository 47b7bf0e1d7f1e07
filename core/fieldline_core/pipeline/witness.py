"""Witnesses: each is shown the log's newest checkpoint, so that nobody who holds the log's key can change what they have seen."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fieldline_core.crash import point
from fieldline_core.errors import FieldlineError, Misconfigured, StoreUnavailable, Unavailable
from fieldline_core.events import record
from fieldline_core.ledger import consistency_proof, root_at
from fieldline_core.logs import log
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.sequence import log_keys, stored_log
from fieldline_core.store import Store

CLAIM_S = 180.0
"""How long a checkpoint is held for one witness: longer than two requests of the longest time that one may be given."""
_TICK_S = 1.0
_SHORTEST_S, _LONGEST_S = 5.0, 900.0


class Forked(Misconfigured):
    """A witness has seen another log under this name."""

    code = "forked"


@dataclass(frozen=True, slots=True)
class Shown:
    """A checkpoint on its way to a witness, and what may be asked about the log behind it."""

    store: Store
    origin: str
    size: int
    note: bytes
    seen: int
    """The size of the checkpoint that the witness took last, as far as we know."""

    def proof(self, old: int) -> list[bytes]:
        """The proof that the log only grew since it had `old` entries."""
        with self.store.transaction("witness.prove") as tx:
            return consistency_proof(old, self.size, stored_log(tx, self.size))

    def root(self, size: int) -> bytes:
        """The root that the log had at a size."""
        with self.store.transaction("witness.root") as tx:
            return root_at(size, stored_log(tx, self.size))


class Witness(Protocol):
    """Somebody who takes checkpoints, and answers for having seen them."""

    name: str
    every_s: float
    """The least time between two checkpoints for it."""

    def show(self, shown: Shown) -> Sequence[str]:
        """Hands a checkpoint over, and returns the signature lines for it; raises Forked where it has seen another log."""
        ...

    def close(self) -> None:
        """Closes its connections."""
        ...


class Attestation:
    """Shows one witness the newest checkpoint until it is stopped; whatever the witness does, nothing else waits for it."""

    def __init__(self, engine: Engine, witness: Witness) -> None:
        self._engine = engine
        self._witness = witness
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Ends `run` after the current round."""
        self._stopped.set()

    def run(self) -> None:
        """Shows checkpoints until stopped; comes back by itself after the database was away, and after what nobody foresaw."""
        while not self._stopped.is_set():
            try:
                self.round()
            except StoreUnavailable:
                log().debug("witness_waits", witness=self._witness.name)
            except Exception as error:
                log().error("witness_round_failed", witness=self._witness.name, exc_info=error)
            self._stopped.wait(_TICK_S)
        self._witness.close()

    def round(self) -> bool:
        """Shows the newest checkpoint where it is due; says whether there was one."""
        store, name = self._engine.store, self._witness.name
        with store.transaction("witness.claim") as tx:
            claimed, keys = tx.one("witness.claim", name=name, claim_s=CLAIM_S), log_keys(tx)
        if claimed is None:
            return False
        shown = Shown(store, keys[0].name, int(claimed["size"]), bytes(claimed["note"]), int(claimed["seen"]))
        try:
            lines = self._witness.show(shown)
        except StoreUnavailable:
            raise
        except FieldlineError as error:
            self._note_failure(error, int(claimed["failures"]), was_forked=claimed["forked"])
            return True
        point("witness.show:after")
        with store.transaction("witness.seen") as tx:
            tx.run("witness.cosigned", name=name, size=shown.size, lines="".join(lines))
            tx.run("witness.seen", name=name, size=shown.size, wait_s=self._witness.every_s)
        return True

    def _note_failure(self, error: FieldlineError, failures: int, *, was_forked: bool) -> None:
        """Puts the witness off; that it has seen another log is an event, once, and loud."""
        name, forked = self._witness.name, isinstance(error, Forked)
        asked_s = error.retry_after if isinstance(error, Unavailable) else _LONGEST_S
        wait_s = max(asked_s or 0.0, min(_LONGEST_S, _SHORTEST_S * 2 ** min(failures, 10)))
        with self._engine.store.transaction("witness.failed") as tx:
            tx.run("witness.failed", name=name, wait_s=wait_s, problem=str(error), forked=forked or was_forked)
            if forked and not was_forked:
                record(tx, "log.disputed", "engine", {"witness": name, "why": str(error)})
        level = log().error if forked else log().warning
        level("witness_refused" if forked else "witness_failed", witness=name, reason=str(error))


def enlist(engine: Engine, witnesses: Iterable[Witness]) -> list[Attestation]:
    """What shows checkpoints to these witnesses, and to no others."""
    found = list(witnesses)
    with engine.store.transaction("witness.enlist") as tx:
        tx.run("witness.remove_others", names=[witness.name for witness in found])
        for witness in found:
            tx.run("witness.add", name=witness.name)
    return [Attestation(engine, witness) for witness in found]
