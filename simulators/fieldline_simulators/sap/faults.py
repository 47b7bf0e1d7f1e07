"""Faults on demand: what can be made to fail in the SAP system.

A fault of a request happens before anything is done, or `after_commit`, when the effect has been made and only its answer is
lost: `status` (with `status`, `code`, `message`, `retry_after`; as a page of a gateway with `page`), `drop` (the connection
ends), `hold` (no answer until the client gives up), `slow` (`seconds` of waiting, then all goes well), `expire` (the session has
ended, so that its CSRF token is refused).
A fault of a record strikes one change, alone or in a batch: `refuse` (400, with `code` and `message`), `lock`
(somebody has the record open), `stale` (412: it was just changed), `throttle` (429, with `retry_after`), `half` (every second
one is refused).
"""

from dataclasses import dataclass

from fieldline_simulators import faults
from fieldline_simulators.sap.errors import Refused

CALL_KINDS = frozenset({"status", "drop", "hold", "slow", "expire"})
RECORD_KINDS = frozenset({"refuse", "lock", "stale", "throttle", "half"})

_WORDS = {
    429: ("/IWFND/CM_MGW/429", "Too many requests: the workload limit of the tenant is reached"),
    500: ("/IWFND/CM_BEC/500", "An internal error occurred"),
    503: ("/IWFND/CM_BEC/503", "The service is temporarily unavailable"),
}
_OF_RECORD = {
    "refuse": (400, "ZPLAN/012", "The record was not accepted"),
    "half": (400, "ZPLAN/012", "The record was not accepted"),
    "lock": (400, "M3/024", "Planning data of the material are locked by user MILLER"),
    "throttle": (429, "/IWFND/CM_MGW/429", "Too many requests: the workload limit of the tenant is reached"),
    "stale": (412, "/IWFND/CM_MGW/596", "Precondition failed: the record was changed in the meantime"),
}


@dataclass(slots=True)
class Fault(faults.Fault):
    """One order to fail, which may be about an entity set and a key, as it stands in an address but for quotes."""

    entity: str = ""
    key: str = ""
    page: bool = False

    def refusal(self) -> Refused:
        """What the client is told."""
        if self.kind in RECORD_KINDS:
            status, code, message = _OF_RECORD[self.kind]
        else:
            status, (code, message) = self.status, _WORDS.get(self.status, ("/IWFND/CM_BEC/001", "The request failed"))
        return Refused(status, self.code or code, self.message or message, headers=self.headers, page=self.page)


class Faults(faults.Faults[Fault]):
    """The faults that are set; all calls come with the store's lock held."""

    def __init__(self, seed: int) -> None:
        super().__init__(Fault, CALL_KINDS | RECORD_KINDS, seed)

    def of_call(self, method: str, path: str, entity: str, key: str) -> list[Fault]:
        """The faults that a request meets."""
        return list(self.striking(CALL_KINDS, method=method, path=path, entity=entity, key=key))

    def of_record(self, entity: str, key: str, method: str) -> None:
        """Raises where the change of a record is to be refused."""
        key = key.replace("'", "")
        for each in self.striking(RECORD_KINDS, f"{entity}({key})", entity=entity, key=key, method=method):
            raise each.refusal()
