"""Faults on demand: which calls and records they strike, and when; the same seed strikes the same ones.

A fault of a call happens before anything is done, or `after_commit`, when the effect has been made and only its answer is lost:
`status` (with `status`, `code`, `message`, `retry_after`), `drop` (the connection ends), `hold` (no answer until the client gives
up), `slow` (`seconds` of waiting, then all goes well), `expire` (the session has ended), `total` and `concurrent` (the limits of
the API).
A fault of a record refuses it: `lock` (a row lock), `refuse` (`code`, `message`), `half` (every second record).
`fail_job` ends a bulk job half way: what was not yet processed stays unprocessed.
"""

import random
from collections import Counter
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from typing import Any

from fieldline_simulators.salesforce.errors import ApiError

CALL_KINDS = frozenset({"status", "drop", "hold", "slow", "expire", "total", "concurrent"})
RECORD_KINDS = frozenset({"lock", "refuse", "half"})
JOB_KINDS = frozenset({"fail_job"})

_CODES = {
    429: ("TOO_MANY_REQUESTS", "Too many requests"),
    500: ("UNKNOWN_EXCEPTION", "An unexpected error occurred."),
    503: ("SERVER_UNAVAILABLE", "Server unavailable"),
}
_LIMITS = {
    "total": "TotalRequests Limit exceeded.",
    "concurrent": "ConcurrentRequests (Concurrent API Requests) Limit exceeded",
}


@dataclass(slots=True)
class Fault:
    """One order to fail: empty conditions fit everything."""

    kind: str
    method: str = ""
    path: str = ""
    object: str = ""
    record: str = ""
    operation: str = ""
    nth: int = 1
    times: int | None = 1
    rate: float = 1.0
    after_commit: bool = False
    status: int = 503
    code: str = ""
    message: str = ""
    retry_after: int | None = None
    seconds: float = 1.0
    id: int = 0
    seen: int = 0
    struck: int = 0

    def fits(self, **subject: str) -> bool:
        """Whether the conditions of this fault hold; a path may hold asterisks."""
        for name, actual in subject.items():
            wanted = getattr(self, name)
            if wanted and not fnmatchcase(actual.lower(), wanted.lower()):
                return False
        return True

    def error(self, record_id: str = "") -> ApiError:
        """What the client is told."""
        if self.kind in _LIMITS:
            return ApiError("REQUEST_LIMIT_EXCEEDED", _LIMITS[self.kind], status=403)
        if self.kind == "expire":
            return ApiError("INVALID_SESSION_ID", "Session expired or invalid", status=401)
        if self.kind in RECORD_KINDS:
            locked = f"unable to obtain exclusive access to this record or 1 records: {record_id}"
            return ApiError(self.code or "UNABLE_TO_LOCK_ROW", self.message or locked, [])
        code, message = _CODES.get(self.status, ("UNKNOWN_EXCEPTION", "An unexpected error occurred."))
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return ApiError(self.code or code, self.message or message, status=self.status, headers=headers)


class Faults:
    """The faults that are set; all calls come with the org's lock held."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._tries: Counter[tuple[int, str]] = Counter()
        self.all: list[Fault] = []

    def set(self, orders: list[dict[str, Any]]) -> None:
        """Replaces all faults; raises ValueError with what is wrong."""
        known = {each.name for each in fields(Fault)} - {"id", "seen", "struck"}
        for order in orders:
            if unknown := set(order) - known:
                raise ValueError(f"a fault has no {', '.join(sorted(unknown))}: it takes {', '.join(sorted(known))}")
            if order.get("kind") not in CALL_KINDS | RECORD_KINDS | JOB_KINDS:
                raise ValueError(f"kind is one of {', '.join(sorted(CALL_KINDS | RECORD_KINDS | JOB_KINDS))}")
        self.all = [Fault(**order, id=number) for number, order in enumerate(orders, 1)]
        self._tries.clear()

    def of_call(self, method: str, path: str, object_name: str, operation: str) -> list[Fault]:
        """The faults that this call meets."""
        subject = {"method": method, "path": path, "object": object_name, "operation": operation}
        return [each for each in self.all if each.kind in CALL_KINDS and each.fits(**subject) and self._strikes(each, "")]

    def of_record(self, object_name: str, key: str, operation: str) -> None:
        """Raises where a record is to be refused; the key is an id, an external id, or nothing."""
        for each in self.all:
            if each.kind not in RECORD_KINDS or not each.fits(object=object_name, record=key, operation=operation):
                continue
            if self._strikes(each, key):
                raise each.error(key)

    def of_job(self, object_name: str, operation: str) -> Fault | None:
        """The fault that ends a bulk job half way."""
        fitting = (each for each in self.all if each.kind in JOB_KINDS and each.fits(object=object_name, operation=operation))
        return next((each for each in fitting if self._strikes(each, "")), None)

    def as_list(self) -> list[dict[str, Any]]:
        """What is set, with how often it was met and struck."""
        return [asdict(each) for each in self.all]

    def load(self, saved: list[dict[str, Any]]) -> None:
        """From the store."""
        self.all = [Fault(**each) for each in saved]

    def _strikes(self, fault: Fault, key: str) -> bool:
        fault.seen += 1
        if fault.seen < fault.nth or (fault.times is not None and fault.struck >= fault.times):
            return False
        if fault.kind == "half" and fault.seen % 2:
            return False
        self._tries[fault.id, key] += 1
        # By the key and its own attempts, so that the order in which threads come changes nothing.
        chance = random.Random(f"{self._seed}:{fault.id}:{key}:{self._tries[fault.id, key]}").random()  # noqa: S311
        if chance >= fault.rate:
            return False
        fault.struck += 1
        return True
