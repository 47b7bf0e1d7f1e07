"""What the Pub/Sub API's refusals mean, once: who has to act, and in which words."""

import re
from dataclasses import dataclass

from fieldline_core.errors import FieldlineError, Misconfigured, Unavailable

_HOUR_S, _MINUTE_S = 3600.0, 60.0
_NO_TOPIC = (
    "has no topic {topic} for the integration user: check the API name; an object must be selected in Setup > Change Data Capture, "
    "and the integration user must be able to read it"
)
_NO_PERMISSION = (
    "does not let the integration user listen to {topic}: for an object give its permission set View All Records of the object, "
    "for a platform event Read access to the event"
)

_OF_PLACE = ("INVALID_ARGUMENT", "OUT_OF_RANGE")
# gRPC has no status for it: it is found in what its TLS library says.
_CERTIFICATES = {
    "CERTIFICATE_VERIFY_FAILED": "is not trusted: give its authority as ca_file",
    "Hostname Verification": "is another host's: check `pubsub_url`",
}


class SessionEnded(Exception):
    """The session is not accepted: another one may be."""


class PlaceLost(Exception):
    """The org no longer knows the place to go on from."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a call ended: gRPC's status, and Salesforce's own code where it gave one."""

    status: str
    code: str = ""
    details: str = ""

    def __str__(self) -> str:
        # Salesforce's code has no values in it; the details may.
        return f"[{self.code if re.fullmatch(r'[a-z0-9._]{1,120}', self.code) else self.status}]"


# Status, part of the code ("" fits all), whether a person must act, words, and the wait; the first that fits.
_MEANINGS: tuple[tuple[str, str, bool, str, float | None], ...] = (
    ("", "concurrent.client.limit", False, "has as many listeners as it allows", _MINUTE_S),
    ("", "limit.exceeded", False, "has delivered as many events as it allows in a day", _HOUR_S),
    ("RESOURCE_EXHAUSTED", "", False, "has reached a limit on events or sent more than `max_answer_bytes`", _MINUTE_S),
    ("", "service.unavailable", False, "cannot be used now", None),
    ("", "auth.headers", True, "does not take our session: check that `pubsub_url` belongs to the org's kind and region", None),
    ("PERMISSION_DENIED", "", True, _NO_PERMISSION, None),
    ("NOT_FOUND", "", True, _NO_TOPIC, None),
    ("INVALID_ARGUMENT", "topic", True, _NO_TOPIC, None),
    ("INVALID_ARGUMENT", "", True, "refuses to let us listen to {topic}", None),
    ("UNIMPLEMENTED", "", True, "is no Pub/Sub API: check `pubsub_url`", None),
)  # fmt: skip


def meaning(refusal: Refusal, place: str, topic: str) -> Exception:
    """The error that a refused call means; SessionEnded and PlaceLost are for the listener itself."""
    if refusal.status == "UNAUTHENTICATED" or refusal.code.endswith("auth.error"):
        return SessionEnded()
    if ".replayid." in refusal.code or (refusal.status in _OF_PLACE and "replay" in refusal.details.lower()):
        return PlaceLost()
    certificate = next((words for part, words in _CERTIFICATES.items() if part in refusal.details), None)
    if certificate:
        return Misconfigured(f"the certificate of {place} {certificate}")
    return _translated(refusal, place, topic)


def _translated(refusal: Refusal, place: str, topic: str) -> FieldlineError:
    for status, part, person, words, wait_s in _MEANINGS:
        if status in ("", refusal.status) and part in refusal.code:
            said = f"{place} {words.format(topic=topic)} {refusal}"
            return Misconfigured(said) if person else Unavailable(said, wait_s)
    return Unavailable(f"{place} cannot be listened to now {refusal}")
