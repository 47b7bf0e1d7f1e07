"""The one HTTP client of Fieldline: every request to another system goes through it."""

from fieldline_connectors.http.addresses import PrivateHost, Resolve, checked_addresses, permitted, resolve
from fieldline_connectors.http.client import HttpConfig, answer, guarded_client, reason, wait_asked
from fieldline_connectors.http.transport import GuardedTransport

__all__ = [
    "GuardedTransport", "HttpConfig", "PrivateHost", "Resolve", "answer", "checked_addresses", "guarded_client", "permitted",
    "reason", "resolve", "wait_asked",
]  # fmt: skip
