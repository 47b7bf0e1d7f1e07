"""How the senders of the world sign their webhooks, written from their documentation."""

import base64
import hashlib
import hmac
from collections.abc import Mapping

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519


def new_key_pair(seed: bytes) -> tuple[str, str]:
    """A private `whsk_` and a public `whpk_` key from 32 bytes."""
    public = ed25519.Ed25519PrivateKey.from_private_bytes(seed).public_key()
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return "whsk_" + base64.b64encode(seed).decode(), "whpk_" + base64.b64encode(raw).decode()


def standard(secret: str, message_id: str, at_s: int, body: bytes) -> dict[str, str]:
    """The headers of Standard Webhooks 1.0, by a `whsec_` or `whsk_` secret."""
    key = base64.b64decode(secret.split("_", 1)[1])
    signed = message_id.encode() + b"." + str(at_s).encode() + b"." + body
    if secret.startswith("whsk_"):
        signature = "v1a," + base64.b64encode(ed25519.Ed25519PrivateKey.from_private_bytes(key).sign(signed)).decode()
    else:
        signature = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {"webhook-id": message_id, "webhook-timestamp": str(at_s), "webhook-signature": signature}


def github(secret: str, delivery: str, body: bytes, event: str = "push") -> dict[str, str]:
    """The headers that GitHub sends."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"x-github-event": event, "x-github-delivery": delivery, "x-hub-signature-256": f"sha256={digest}"}


def stripe(secret: str, at_s: int, body: bytes) -> dict[str, str]:
    """The header that Stripe sends."""
    digest = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return {"stripe-signature": f"t={at_s},v1={digest},v0={'0' * 64}"}


def slack(secret: str, at_s: int, body: bytes) -> dict[str, str]:
    """The headers that Slack sends."""
    digest = hmac.new(secret.encode(), f"v0:{at_s}:".encode() + body, hashlib.sha256).hexdigest()
    return {"x-slack-request-timestamp": str(at_s), "x-slack-signature": f"v0={digest}"}


def shopify(secret: str, event: str, body: bytes) -> dict[str, str]:
    """The headers that Shopify sends."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).digest()
    return {"x-shopify-event-id": event, "x-shopify-hmac-sha256": base64.b64encode(digest).decode()}


def standard_fits(secret: str, headers: Mapping[str, str], body: bytes, now_s: float) -> bool:
    """Whether a receiver with that `whsec_` or `whpk_` secret accepts the message."""
    signed = f"{headers.get('webhook-id', '')}.{headers.get('webhook-timestamp', '')}.".encode() + body
    if abs(now_s - float(headers.get("webhook-timestamp", 0))) > 300:
        return False
    return any(_fits(secret, signed, entry) for entry in headers.get("webhook-signature", "").split(" "))


def _fits(secret: str, signed: bytes, entry: str) -> bool:
    version, _, signature = entry.partition(",")
    key, given = base64.b64decode(secret.split("_", 1)[1]), base64.b64decode(signature)
    if version == "v1" and secret.startswith("whsec_"):
        return hmac.compare_digest(hmac.new(key, signed, hashlib.sha256).digest(), given)
    if version == "v1a" and secret.startswith("whpk_"):
        try:
            ed25519.Ed25519PublicKey.from_public_bytes(key).verify(given, signed)
        except Exception:
            return False
        return True
    return False
