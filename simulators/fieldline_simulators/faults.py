"""Faults on demand, for every simulator: which requests and records they strike, and when; the same seed strikes the same ones.

Each simulator derives its own `Fault` with further conditions, says which kinds it knows, and lets them happen.
"""

import random
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from typing import Any, Generic, TypeVar

_OWN = frozenset({"id", "seen", "struck"})


@dataclass(slots=True)
class Fault:
    """One order to fail: empty conditions fit everything, and a condition may hold asterisks."""

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
    retry_after: int | None = None
    seconds: float = 1.0
    id: int = 0
    seen: int = 0
    struck: int = 0

    def fits(self, **subject: str) -> bool:
        """Whether the conditions of this fault hold."""
        for name, actual in subject.items():
            wanted = getattr(self, name)
            if wanted and not fnmatchcase(actual.lower(), wanted.lower()):
                return False
        return True

    @property
    def headers(self) -> dict[str, str]:
        """The headers of an answer that asks to wait."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


F = TypeVar("F", bound=Fault)


class Faults(Generic[F]):
    """The faults that are set; who calls holds the simulator's lock."""

    def __init__(self, make: type[F], kinds: Collection[str], seed: int) -> None:
        self._make = make
        self._kinds = kinds
        self._seed = seed
        self._tries: Counter[tuple[int, str]] = Counter()
        self.all: list[F] = []

    def set(self, orders: Any) -> None:
        """Replaces all faults; raises ValueError with what is wrong."""
        if not isinstance(orders, list) or not all(isinstance(order, dict) for order in orders):
            raise ValueError("faults are a list of objects")
        known = {each.name: each.type for each in fields(self._make) if each.name not in _OWN}
        for order in orders:
            if unknown := set(order) - set(known):
                raise ValueError(f"a fault has no {', '.join(sorted(unknown))}: it takes {', '.join(sorted(known))}")
            if order.get("kind") not in self._kinds:
                raise ValueError(f"kind is one of {', '.join(sorted(self._kinds))}")
            for name, value in order.items():
                _check(name, value, known[name])
        self.all = [self._make(**order, id=number) for number, order in enumerate(orders, 1)]
        self._tries.clear()

    def striking(self, kinds: Collection[str], key: str = "", /, **subject: str) -> Iterator[F]:
        """The faults of these kinds that strike now; `key` names the record that is struck, if one is."""
        for each in self.all:
            if each.kind in kinds and each.fits(**subject) and self._strikes(each, key):
                yield each

    def as_list(self) -> list[dict[str, Any]]:
        """What is set, with how often it was met and struck."""
        return [asdict(each) for each in self.all]

    def load(self, saved: list[dict[str, Any]]) -> None:
        """Sets what `as_list` gave."""
        self.all = [self._make(**each) for each in saved]

    def _strikes(self, fault: F, key: str) -> bool:
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


def _check(name: str, value: Any, kind: Any) -> None:
    numeric = isinstance(value, int) and not isinstance(value, bool)
    fits = {
        str: isinstance(value, str), bool: isinstance(value, bool), int: numeric, int | None: numeric or value is None,
        float: numeric or isinstance(value, float),
    }[kind]  # fmt: skip
    if not fits:
        raise ValueError(f"{name} of a fault cannot be {value!r}")
