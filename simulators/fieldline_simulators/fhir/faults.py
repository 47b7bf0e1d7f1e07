"""Faults on demand: what can be made to fail in a FHIR server.

A fault happens before anything is done, or `after_commit`, when the effect has been made and only its answer is lost: `status`
(with `status`, `code`, `message`, `vendor_code`, `retry_after`), `drop` (the connection ends), `cut` (the answer ends half way),
`hold` (no answer until the client gives up), `slow` (`seconds` of waiting, then all goes well), `expire` (the access token has
ended).
"""

from dataclasses import dataclass

from fieldline_simulators import faults
from fieldline_simulators.fhir.outcomes import Refusal
from fieldline_simulators.fhir.profiles import Profile

KINDS = frozenset({"status", "drop", "cut", "hold", "slow", "expire"})

_CODES = {
    401: ("login", "Unauthorized"),
    403: ("forbidden", "Forbidden"),
    409: ("conflict", "Conflict"),
    429: ("throttled", "Too Many Requests"),
    503: ("transient", "Service Unavailable"),
}


@dataclass(slots=True)
class Fault(faults.Fault):
    """One order to fail, perhaps with a code of the vendor."""

    vendor_code: str = ""

    def refusal(self, profile: Profile) -> Refusal:
        """What the client is told; a vendor that gives no Retry-After when it throttles says so in its own header."""
        code, message = _CODES.get(self.status, ("exception", "Internal Server Error"))
        headers = self.headers
        if self.status == 429 and not profile.says_retry_after:
            headers = {"RateLimit": f'"requests";r=0;t={60 if self.retry_after is None else self.retry_after}'}
        words = (self.code or code, self.message or message)
        return Refusal(self.status, *words, vendor_code=self.vendor_code, headers=headers)


class Faults(faults.Faults[Fault]):
    """The faults that are set."""

    def __init__(self, seed: int) -> None:
        super().__init__(Fault, KINDS, seed)

    def of(self, method: str, path: str) -> list[Fault]:
        """The faults that this request meets."""
        return list(self.striking(KINDS, method=method, path=path))
