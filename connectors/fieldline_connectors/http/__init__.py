"""The one HTTP client of Fieldline: every request to another system goes through it."""

from fieldline_connectors.http.addresses import PrivateHost, Resolve, checked_addresses, permitted, resolve
from fieldline_connectors.http.client import HttpConfig, answer, guarded_client, reason, wait_asked
from fieldline_connectors.http.shared import OfProcess
from fieldline_connectors.http.throttle import IN_TURN, Throttle, ThrottledConfig
from fieldline_connectors.http.tokens import UNTHROTTLED, Token, TokenAuth, Tokens, token_of
from fieldline_connectors.http.transport import GuardedTransport

__all__ = [
    "IN_TURN", "UNTHROTTLED", "GuardedTransport", "HttpConfig", "OfProcess", "PrivateHost", "Resolve", "Throttle",
    "ThrottledConfig", "Token", "TokenAuth", "Tokens", "answer", "checked_addresses", "guarded_client", "permitted", "reason",
    "resolve", "token_of", "wait_asked",
]  # fmt: skip
