"""Faults on demand: which requests they strike, and when; the same seed strikes the same ones.

A fault happens before anything is done, or `after_commit`, when the effect has been made and only its answer is lost: `status`
(with `status`, `code`, `message`, `vendor_code`, `retry_after`), `drop` (the connection ends), `cut` (the answer ends half way),
`hold` (no answer until the client gives up), `slow` (`seconds` of waiting, then all goes well), `expire` (the access token has
ended).
"""

import random
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from typing import Any

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
class Fault:
    """One order to fail: empty conditions fit everything, and a path may hold asterisks."""

    kind: str
    method: str = ""
    path: str = ""
    nth: int = 1
    times: int | None = 1
    rate: float = 1.0
    after_commit: bool = False
    status: int = 503
    code: str = ""
    message: str = ""
    vendor_code: str = ""
    retry_after: int | None = None
    seconds: float = 1.0
    id: int = 0
    seen: int = 0
    struck: int = 0

    def fits(self, method: str, path: str) -> bool:
        """Whether the conditions of this fault hold."""
        return (not self.method or self.method == method) and (not self.path or fnmatchcase(path, self.path))

    def refusal(self, profile: Profile) -> Refusal:
        """What the client is told; a vendor that gives no Retry-After when it throttles says so in its own header."""
        code, message = _CODES.get(self.status, ("exception", "Internal Server Error"))
        headers = {}
        if self.status == 429 and not profile.says_retry_after:
            headers["RateLimit"] = f'"requests";r=0;t={60 if self.retry_after is None else self.retry_after}'
        elif self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        words = (self.code or code, self.message or message)
        return Refusal(self.status, *words, vendor_code=self.vendor_code, headers=headers)


class Faults:
    """The faults that are set."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._all: list[Fault] = []

    def set(self, orders: Any) -> None:
        """Replaces all faults; raises ValueError with what is wrong."""
        known = {each.name for each in fields(Fault)} - {"id", "seen", "struck"}
        if not isinstance(orders, list) or not all(isinstance(order, dict) for order in orders):
            raise ValueError("faults are a list of objects")
        for order in orders:
            if unknown := set(order) - known:
                raise ValueError(f"a fault has no {', '.join(sorted(unknown))}: it takes {', '.join(sorted(known))}")
            if order.get("kind") not in KINDS:
                raise ValueError(f"kind is one of {', '.join(sorted(KINDS))}")
        self._all = [Fault(**order, id=number) for number, order in enumerate(orders, 1)]

    def of(self, method: str, path: str) -> list[Fault]:
        """The faults that this request meets."""
        return [each for each in self._all if each.fits(method, path) and self._strikes(each)]

    def as_list(self) -> list[dict[str, Any]]:
        """What is set, with how often it was met and struck."""
        return [asdict(each) for each in self._all]

    def _strikes(self, fault: Fault) -> bool:
        fault.seen += 1
        if fault.seen < fault.nth or (fault.times is not None and fault.struck >= fault.times):
            return False
        if random.Random(f"{self._seed}:{fault.id}:{fault.seen}").random() >= fault.rate:  # noqa: S311
            return False
        fault.struck += 1
        return True
