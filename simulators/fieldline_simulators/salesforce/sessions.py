"""Sessions, the apps that may ask for one, and the calls that were made in the last 24 hours."""

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

ORG_PREFIX = "00D"


@dataclass(slots=True)
class App:
    """An External Client App: its consumer key and secret, and what it may do."""

    client_id: str
    client_secret: str
    #: A certificate or public key in PEM, which assertions are checked with.
    certificate: str = ""
    #: Who the client credentials flow acts as; nobody, where it is not enabled.
    run_as: str = ""
    #: The users that may come by JWT; empty for all.
    approved: list[str] = field(default_factory=list)


class Sessions:
    """Access tokens with their ends; a use prolongs one."""

    def __init__(self, seed: int, length_s: float) -> None:
        self._key = f"fieldline-simulator-{seed}".encode()
        self._length = timedelta(seconds=length_s)
        self._count = 0
        self._open: dict[str, tuple[str, datetime]] = {}
        self._refresh: dict[str, str] = {}

    def begin(self, org_id: str, user_id: str, now: datetime) -> str:
        """A new access token."""
        self._count += 1
        mark = hmac.new(self._key, f"{self._count}:{user_id}:{now.isoformat()}".encode(), hashlib.sha256).hexdigest()
        token = f"{org_id[:15]}!AQ{mark}"
        self._open[token] = (user_id, now + self._length)
        return token

    def user_of(self, token: str, now: datetime) -> str | None:
        """Whose session this is; None where it has ended or never was."""
        user_id, ends = self._open.get(token, ("", now))
        if ends <= now:
            self._open.pop(token, None)
            return None
        self._open[token] = (user_id, now + self._length)
        return user_id

    def refresh_token(self, user_id: str) -> str:
        """A refresh token, as an administrator's consent would give it."""
        self._count += 1
        mark = hmac.new(self._key, f"refresh:{self._count}:{user_id}".encode(), hashlib.sha256).hexdigest()
        self._refresh["5Aep" + mark] = user_id
        return "5Aep" + mark

    def refreshed_user(self, refresh_token: str) -> str | None:
        """Whose refresh token this is."""
        return self._refresh.get(refresh_token)

    def end(self, token: str) -> bool:
        """Ends one session; false where there was none."""
        return self._open.pop(token, None) is not None

    def end_all(self) -> int:
        """Ends every session, as an administrator can."""
        count = len(self._open)
        self._open.clear()
        return count

    def as_dict(self) -> dict[str, Any]:
        """For the store."""
        open_now = {token: [user, ends.isoformat()] for token, (user, ends) in self._open.items()}
        return {"count": self._count, "open": open_now, "refresh": self._refresh}

    def load(self, saved: dict[str, Any]) -> None:
        """From the store."""
        self._count, self._refresh = saved["count"], dict(saved["refresh"])
        self._open = {token: (user, datetime.fromisoformat(ends)) for token, (user, ends) in saved["open"].items()}


class Usage:
    """API calls by the hour, over the last 24."""

    def __init__(self, daily_limit: int) -> None:
        self.limit = daily_limit
        self._hours: dict[str, int] = {}

    def count(self, now: datetime) -> bool:
        """Counts a call; false where none is left."""
        if self.used(now) >= self.limit:
            return False
        hour = now.strftime("%Y-%m-%dT%H")
        self._hours[hour] = self._hours.get(hour, 0) + 1
        return True

    def used(self, now: datetime) -> int:
        """The calls of the last 24 hours."""
        since = (now - timedelta(hours=24)).strftime("%Y-%m-%dT%H")
        if any(hour <= since for hour in self._hours):
            self._hours = {hour: calls for hour, calls in self._hours.items() if hour > since}
        return sum(self._hours.values())

    def set_used(self, calls: int, now: datetime) -> None:
        """Pretends that this many calls were made."""
        self._hours = {now.strftime("%Y-%m-%dT%H"): calls}

    def as_dict(self) -> dict[str, int]:
        """For the store."""
        return dict(self._hours)

    def load(self, saved: dict[str, int]) -> None:
        """From the store."""
        self._hours = dict(saved)
