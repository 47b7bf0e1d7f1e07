"""Messages that a system sends by itself: IDocs as XML, and CloudEvents that often carry only keys."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any, Literal, Self

import orjson
from pydantic import Field, model_validator

from fieldline_connectors.bounded import Bounds, TooLarge, bounded_json, unpacked
from fieldline_connectors.odata.idoc import CONTROL, documents_of
from fieldline_core.errors import Rejected
from fieldline_core.ports import Delivery, Document, Event, HookRequest
from fieldline_core.secret import Secret

_ID = re.compile(r"[\x21-\x7e]{1,256}")
_SHORTEST_TOKEN = 16


class Unknown(Rejected):
    """A message does not show that it comes from the system."""

    code = "forged"


class Inbound(Document):
    """What the system sends, and how it shows that it is the system: SAP signs no messages, so it logs in to us."""

    accepts: Literal["idoc", "cloudevents"]
    """IDocs of an XML-HTTP port (WE21), or CloudEvents 1.0 (SAP Event Mesh, S/4HANA events)."""
    user: str | None = Field(None, min_length=1, max_length=256)
    """User name that the system logs in with (SM59), not one of Fieldline's."""
    password: Secret | None = None
    """Password of that user."""
    tokens: tuple[Secret, ...] = Field((), max_length=5)
    """Instead of a user, tokens (16 characters or more) that come as `Authorization: Bearer`; several while one is changed."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.user is None) != (self.password is None) or (self.user is None) == (not self.tokens):
            raise ValueError("give user and password, or tokens: without them anybody could send messages")
        return self

    def receive(self, request: HookRequest, bounds: Bounds) -> Delivery:
        """What the message brings, once its sender is known; raises Rejected."""
        if len(request.body) > bounds.max_bytes:
            raise TooLarge(f"the body has more than {bounds.max_bytes:,} bytes")
        self._check_sender(request.headers.get("authorization", ""))
        body = unpacked(request.body, request.headers.get("content-encoding", ""), bounds)
        if self.accepts == "cloudevents":
            return Delivery((_cloud_event(request.headers, body, bounds),))
        found = {f"{each[CONTROL].get('MANDT', '')}.{each['DOCNUM']}": each for each in documents_of(body, bounds)}
        return Delivery(tuple(Event(_checked_id(name), orjson.dumps(each)) for name, each in found.items()))

    def _check_sender(self, header: str) -> None:
        scheme, _, rest = header.partition(" ")
        if self.user is not None and self.password is not None:
            expected = [f"{self.user}:{self.password.reveal()}".encode()]
            shown = _decoded(rest) if scheme.lower() == "basic" else b""
        else:
            expected = [token.reveal().encode() for token in self.tokens if len(token.reveal()) >= _SHORTEST_TOKEN]
            shown = rest.strip().encode("utf-8", "replace") if scheme.lower() == "bearer" else b""
        # Hashes, so that the time says nothing about how long or how near it is.
        given = hashlib.sha256(shown).digest()
        if not any(hmac.compare_digest(given, hashlib.sha256(one).digest()) for one in expected):
            raise Unknown("the message does not come with the user or token that its connection expects")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.strip().encode("ascii", "replace"), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _cloud_event(headers: Mapping[str, str], body: bytes, bounds: Bounds) -> Event:
    """An event in the structured form (all in the body), or in the binary one (the attributes in headers)."""
    document: dict[str, Any] = bounded_json(body, bounds)
    if "ce-id" in headers:
        names = ("specversion", "id", "source", "type", "subject", "time")
        attributes = {name: headers[f"ce-{name}"] for name in names if f"ce-{name}" in headers}
        document = {**attributes, "data": document}
        body = orjson.dumps(document)
    texts = [document.get(name) for name in ("specversion", "id", "source", "type")]
    if not all(isinstance(text, str) and text for text in texts) or not str(texts[0]).startswith("1."):
        raise Rejected("the message is no CloudEvent 1.0: specversion, id, source and type are needed")
    # An id is unique only for its source.
    name = f"{texts[2]}#{texts[1]}"
    return Event(name if _ID.fullmatch(name) else f"sha256:{hashlib.sha256(name.encode()).hexdigest()}", body)


def _checked_id(name: str) -> str:
    if not _ID.fullmatch(name):
        raise Rejected("the DOCNUM of the IDoc is not 1 to 200 visible ASCII characters")
    return name
