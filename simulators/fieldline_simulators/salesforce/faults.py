"""Faults on demand: what can be made to fail in an org.

A fault of a call happens before anything is done, or `after_commit`, when the effect has been made and only its answer is lost:
`status` (with `status`, `code`, `message`, `retry_after`), `drop` (the connection ends), `hold` (no answer until the client gives
up), `slow` (`seconds` of waiting, then all goes well), `expire` (the session has ended), `total` and `concurrent` (the limits of
the API).
A fault of a record refuses it: `lock` (a row lock), `refuse` (`code`, `message`), `half` (every second record).
`fail_job` ends a bulk job half way: what was not yet processed stays unprocessed.
"""

from dataclasses import dataclass

from fieldline_simulators import faults
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
class Fault(faults.Fault):
    """One order to fail, which may be about an object, a record, an operation."""

    object: str = ""
    record: str = ""
    operation: str = ""

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
        return ApiError(self.code or code, self.message or message, status=self.status, headers=self.headers)


class Faults(faults.Faults[Fault]):
    """The faults that are set; all calls come with the org's lock held."""

    def __init__(self, seed: int) -> None:
        super().__init__(Fault, CALL_KINDS | RECORD_KINDS | JOB_KINDS, seed)

    def of_call(self, method: str, path: str, object_name: str, operation: str) -> list[Fault]:
        """The faults that this call meets."""
        return list(self.striking(CALL_KINDS, method=method, path=path, object=object_name, operation=operation))

    def of_record(self, object_name: str, key: str, operation: str) -> None:
        """Raises where a record is to be refused; the key is an id, an external id, or nothing."""
        for each in self.striking(RECORD_KINDS, key, object=object_name, record=key, operation=operation):
            raise each.error(key)

    def of_job(self, object_name: str, operation: str) -> Fault | None:
        """The fault that ends a bulk job half way."""
        return next(self.striking(JOB_KINDS, object=object_name, operation=operation), None)
