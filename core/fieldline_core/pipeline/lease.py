"""Fenced leases on the database's clock."""

import threading
from types import TracebackType
from typing import Literal, Self

from fieldline_core.crash import point
from fieldline_core.errors import FieldlineError, Misconfigured, Unavailable
from fieldline_core.logs import log
from fieldline_core.pipeline.engine import Engine
from fieldline_core.retry import Again, RetryPolicy, decide

Topic = Literal["runs", "chunks", "effects"]


class Renewal:
    """Renews a lease from a thread while the block runs; a lease that is lost is not renewed again."""

    def __init__(self, engine: Engine, topic: Topic, id: int, fence: int) -> None:
        self._engine = engine
        self._topic = topic
        self._id = id
        self._fence = fence
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True, name=f"lease-{topic}-{id}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()

    def _renew(self) -> None:
        lease_s = self._engine.settings.lease_s
        while not self._ended.wait(lease_s / 3):
            try:
                point("lease.renew:before")
                with self._engine.store.transaction("lease") as tx:
                    held = tx.run(f"{self._topic}.renew", id=self._id, fence=self._fence, lease_s=lease_s)
                point("lease.renew:after")
            except Unavailable:
                continue
            if not held:
                return


def give_back(
    engine: Engine, topic: Topic, id: int, fence: int, wait_s: float, reason: str | None = None, *, counted: bool = True,
    sent: bool = False,
) -> None:  # fmt: skip
    """Ends a lease whose work is due again after the wait; an end that was foreseen clears the count of crashes.

    `sent` says of a write that it may have arrived.
    """
    ends = {"wait_s": wait_s, "uncounted": 0 if counted else 1, "ended_well": True, "reason": reason, "sent": sent}
    with engine.store.transaction(f"{topic}.release") as tx:
        tx.run(f"{topic}.release", id=id, fence=fence, **ends)
        tx.one("relay.notify")


def give_back_after_bug(engine: Engine, topic: Topic, id: int, fence: int, error: Exception) -> None:
    """Ends a lease after an error that nobody foresaw: its count of crashes stays, so that it is set aside in the end."""
    with engine.store.transaction(f"{topic}.release") as tx:
        reason = f"internal error ({type(error).__name__})"
        tx.run(f"{topic}.release", id=id, fence=fence, wait_s=1.0, uncounted=0, ended_well=False, reason=reason, sent=False)
        tx.one("relay.notify")


def retry_or_none(
    engine: Engine, topic: Topic, id: int, fence: int, policy: RetryPolicy, error: FieldlineError, attempts: int
) -> bool:
    """Puts the work off by the policy; False where it has to be given up."""
    decision = decide(policy, error, attempts)
    if not isinstance(decision, Again):
        return False
    kind = "a person must act" if isinstance(error, Misconfigured) else "it is tried again"
    log().warning(f"{topic}_put_off", code=error.code, wait_s=round(decision.wait_s, 1), reason=kind, attempt=attempts)
    give_back(engine, topic, id, fence, decision.wait_s, str(error), counted=decision.counted, sent=error.sent)
    return True
