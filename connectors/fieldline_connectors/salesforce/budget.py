"""API calls as a budget: what the org says of each answer, and what this connection has used of it in a day."""

import re
import threading
import time
from collections.abc import Callable, Mapping

import orjson

from fieldline_connectors.salesforce.config import SalesforceConfig
from fieldline_core.errors import Unavailable
from fieldline_core.ports import Shared

_USAGE = re.compile(r"api-usage=(\d+)/(\d+)")
_HOUR_S = 3600
_DAY_H = 24
_TOLD_EVERY = 20


class Budget:
    """Counts the calls of one connection over all its workers, and stops before others run out of theirs."""

    def __init__(self, config: SalesforceConfig, shared: Shared, clock: Callable[[], float] = time.time) -> None:
        self.shared = shared
        self.calls = 0
        """Calls made by this process."""
        self._config = config
        self._clock = clock
        self._lock = threading.Lock()
        self._untold = 0
        self._day = 0
        self._org = (0, 0)

    def spend(self) -> None:
        """Counts one call; raises Unavailable where it would exceed the connection's share or the org's reserve."""
        with self._lock:
            used, most = self._org
            if most and used >= most * self._config.org_calls_limit:
                self._tell()
                self._org = (0, 0)
                raise self._used_up(f"{used:,} of the org's {most:,} daily API calls are used (org_calls_limit)")
            if most and self._day + self._untold >= most * self._config.daily_calls_share:
                self._tell()
                if self._day >= most * self._config.daily_calls_share:
                    raise self._used_up(f"this connection has used {self._day:,} of {most:,} daily API calls (daily_calls_share)")
            self.calls += 1
            self._untold += 1
            if self._untold >= _TOLD_EVERY:
                self._tell()

    def note(self, headers: Mapping[str, str]) -> None:
        """Reads what the org says of its calls in an answer."""
        if found := _USAGE.search(headers.get("sforce-limit-info", "")):
            with self._lock:
                self._org = (int(found[1]), int(found[2]))

    def _tell(self) -> None:
        """Adds this process' calls to those of the others, by the hour, and learns theirs."""
        hour = int(self._clock()) // _HOUR_S

        def change(kept: bytes | None) -> bytes:
            counted = {int(name): count for name, count in orjson.loads(kept or b"{}").items() if int(name) > hour - _DAY_H}
            counted[hour] = counted.get(hour, 0) + self._untold
            return orjson.dumps({str(name): count for name, count in counted.items()})

        self._day = sum(orjson.loads(self.shared.update("calls", change) or b"{}").values())
        self._untold = 0

    def _used_up(self, words: str) -> Unavailable:
        return Unavailable(f"{self._config.url.host}: {words}; it goes on as the hours of the last day pass", float(_HOUR_S))
