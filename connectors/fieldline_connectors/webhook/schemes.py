"""The ways in which senders sign: each one is its settings, and how a request is verified by them."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from fieldline_connectors.webhook.signatures import Digest, Encoding, body_id, hmac_holds, standard_signature_holds
from fieldline_core.errors import Rejected
from fieldline_core.ports import Document, HookRequest
from fieldline_core.secret import Secret

Secrets: TypeAlias = Annotated[tuple[Secret, ...], Field(min_length=1, max_length=10)]
HeaderName: TypeAlias = Annotated[str, Field(pattern="^[a-z0-9-]{1,64}$")]
Tolerance: TypeAlias = Annotated[int, Field(ge=1, le=3600)]

_ID = re.compile(r"[\x21-\x7e]{1,256}")
_SECONDS = re.compile(r"[0-9]{1,11}")
_LONGEST_HEADER = 4096
_MOST_SIGNATURES = 10


class Forged(Rejected):
    """A message is not from whom it claims to be, or not from now."""

    code = "forged"


class Standard(Document):
    """Standard Webhooks 1.0: the id, the time and the body are signed."""

    scheme: Literal["standard"] = "standard"
    """Which way of signing this is."""
    secrets: Secrets
    """Shared secrets (`whsec_`) and public keys (`whpk_`); several while a secret is being changed."""
    tolerance_s: Tolerance = 300
    """Largest difference between the sender's clock and ours, in seconds."""

    def verify(self, request: HookRequest) -> str:
        """The id of the message; raises Forged."""
        message_id, timestamp = _header(request, "webhook-id"), _header(request, "webhook-timestamp")
        signatures = _limited(_header(request, "webhook-signature").split(" "))
        if "." in message_id:
            raise Forged("the header webhook-id holds a dot, which would let one signature fit two messages")
        content = b"%b.%b.%b" % (_ascii(message_id), _ascii(timestamp), request.body)
        _check_signed(standard_signature_holds(self.secrets, content, signatures))
        _check_age(timestamp, request, self.tolerance_s)
        return _checked_id(message_id)


class GitHub(Document):
    """GitHub's way: the body is signed, the id of the delivery is not."""

    scheme: Literal["github"]
    """Which way of signing this is."""
    secrets: Secrets
    """Shared secrets; several while a secret is being changed."""

    def verify(self, request: HookRequest) -> str:
        """The id of the delivery; raises Forged."""
        signature = _header(request, "x-hub-signature-256")
        given = [signature.removeprefix("sha256=")] if signature.startswith("sha256=") else []
        _check_signed(hmac_holds(self.secrets, request.body, given, "sha256", "hex"))
        return _checked_id(_header(request, "x-github-delivery"))


class Stripe(Document):
    """Stripe's way: the time and the body are signed, the id stands in the body."""

    scheme: Literal["stripe"]
    """Which way of signing this is."""
    secrets: Secrets
    """Shared secrets, as Stripe shows them; several while a secret is being changed."""
    tolerance_s: Tolerance = 300
    """Largest difference between the sender's clock and ours, in seconds."""
    id_path: str = "id"
    """Where in the body the id of the message stands."""

    def verify(self, request: HookRequest) -> None:
        """Nothing, because the id is in the body; raises Forged."""
        parts = [part.partition("=") for part in _limited(_header(request, "stripe-signature").split(","))]
        timestamp = next((value for name, _, value in parts if name.strip() == "t"), "")
        given = [value for name, _, value in parts if name.strip() == "v1"]
        _check_signed(hmac_holds(self.secrets, b"%b.%b" % (_ascii(timestamp), request.body), given, "sha256", "hex"))
        _check_age(timestamp, request, self.tolerance_s)


class PlainHmac(Document):
    """Any other HMAC over the body, and over a time where the sender gives one."""

    scheme: Literal["hmac"]
    """Which way of signing this is."""
    secrets: Secrets
    """Shared secrets; several while a secret is being changed."""
    signature_header: HeaderName
    """Header that holds the signature, in lower case."""
    prefix: str = ""
    """What stands before the signature in its header, such as `v0=`."""
    digest: Digest = "sha256"
    """Hash function of the HMAC."""
    encoding: Encoding = "hex"
    """How the signature is written."""
    signed: str = "{body}"
    """What is signed, made of `{body}`, `{timestamp}` and `{id}`: `v0:{timestamp}:{body}` for instance."""
    timestamp_header: HeaderName | None = None
    """Header that holds the time in seconds since 1970, in lower case; without it old messages are accepted."""
    tolerance_s: Tolerance = 300
    """Largest difference between the sender's clock and ours, in seconds."""
    id_header: HeaderName | None = None
    """Header that holds the id of the message, in lower case."""
    id_path: str | None = None
    """Where in the body the id stands; with neither this nor `id_header`, the same body is the same message."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.signed.count("{body}") != 1:
            raise ValueError("signed must hold {body} once")
        if (self.timestamp_header is None) != ("{timestamp}" not in self.signed):
            raise ValueError("a timestamp protects only where it is signed: give timestamp_header, and {timestamp} in signed")
        if "{id}" in self.signed and self.id_header is None:
            raise ValueError("{id} in signed needs id_header")
        return self

    def verify(self, request: HookRequest) -> str | None:
        """The id where a header gives it; raises Forged."""
        signature = _header(request, self.signature_header)
        given = [signature.removeprefix(self.prefix)] if signature.startswith(self.prefix) else []
        message_id = _header(request, self.id_header) if self.id_header else ""
        timestamp = _header(request, self.timestamp_header) if self.timestamp_header else ""
        parts = {"{body}": request.body, "{timestamp}": _ascii(timestamp), "{id}": _ascii(message_id)}
        content = b"".join(parts.get(piece, piece.encode()) for piece in re.split(r"(\{body\}|\{timestamp\}|\{id\})", self.signed))
        _check_signed(hmac_holds(self.secrets, content, given, self.digest, self.encoding))
        if self.timestamp_header:
            _check_age(timestamp, request, self.tolerance_s)
        return _checked_id(message_id) if self.id_header else None


Scheme: TypeAlias = Annotated[Standard | GitHub | Stripe | PlainHmac, Field(discriminator="scheme")]
"""A way of signing inbound messages."""


def id_in_body(scheme: Scheme, document: Mapping[str, Any], body: bytes) -> str:
    """The id of a verified message whose headers give none; raises Rejected where the body gives none either."""
    path = getattr(scheme, "id_path", None)
    if path is None:
        return body_id(body)
    found: Any = document
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    if isinstance(found, bool) or not isinstance(found, str | int):
        raise Rejected(f"the body has no id at {path}")
    return _checked_id(str(found))


def _header(request: HookRequest, name: str) -> str:
    value = request.headers.get(name, "")
    if not value:
        raise Forged(f"the header {name} is missing")
    if len(value) > _LONGEST_HEADER:
        raise Forged(f"the header {name} is longer than {_LONGEST_HEADER} characters")
    return value


def _limited(signatures: list[str]) -> list[str]:
    if len(signatures) > _MOST_SIGNATURES:
        raise Forged(f"the message has more than {_MOST_SIGNATURES} signatures")
    return signatures


def _ascii(value: str) -> bytes:
    try:
        return value.encode("ascii")
    except UnicodeEncodeError:
        raise Forged("a signed header holds characters outside ASCII") from None


def _checked_id(message_id: str) -> str:
    if not _ID.fullmatch(message_id):
        raise Rejected("the id of the message is not 1 to 256 visible ASCII characters")
    return message_id


def _check_signed(holds: bool) -> None:
    if not holds:
        raise Forged("the signature does not fit the message: the secrets differ, or it was changed on its way")


def _check_age(timestamp: str, request: HookRequest, tolerance_s: int) -> None:
    if not _SECONDS.fullmatch(timestamp):
        raise Forged("the time of the message is not a number of seconds")
    if abs(request.received_at.timestamp() - int(timestamp)) > tolerance_s:
        raise Forged(f"the time of the message is more than {tolerance_s} s away from our clock")
