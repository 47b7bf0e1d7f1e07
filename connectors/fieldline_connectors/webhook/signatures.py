"""Making and checking signatures of messages; every comparison takes the same time whatever it compares."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fieldline_core.errors import Misconfigured
from fieldline_core.secret import Secret

Digest: TypeAlias = Literal["sha256", "sha384", "sha512"]
Encoding: TypeAlias = Literal["hex", "base64"]

_SHARED_KEY_BYTES = (24, 64)
_ED25519_BYTES = 32
_SHORTEST_SECRET_BYTES = 16


def standard_signature(secret: Secret, content: bytes) -> str:
    """One signature of Standard Webhooks: `v1,…` by a `whsec_` secret, `v1a,…` by a `whsk_` private key."""
    prefix, key = _key_material(secret, "whsec_", "whsk_")
    if prefix == "whsec_":
        return f"v1,{_base64(hmac.digest(key, content, 'sha256'))}"
    return f"v1a,{_base64(Ed25519PrivateKey.from_private_bytes(key).sign(content))}"


def standard_signature_holds(secrets: Iterable[Secret], content: bytes, signatures: Sequence[str]) -> bool:
    """Whether one of the signatures was made with one of the `whsec_` secrets or for one of the `whpk_` public keys."""
    return any(_standard_holds(secret, content, signatures) for secret in secrets)


def hmac_holds(secrets: Iterable[Secret], content: bytes, signatures: Sequence[str], digest: Digest, encoding: Encoding) -> bool:
    """Whether one of the signatures is the HMAC of the content by one of the secrets."""
    expected = [_encoded(hmac.digest(_plain_key(secret), content, digest), encoding) for secret in secrets]
    return any(_same(one, signature) for one in expected for signature in signatures)


def check_secrets(secrets: Iterable[Secret], standard: bool) -> None:
    """Raises Misconfigured where a secret for receiving cannot be had or is unusable."""
    for secret in secrets:
        if standard:
            _key_material(secret, "whsec_", "whpk_")
        else:
            _plain_key(secret)


def body_id(body: bytes) -> str:
    """An id for messages that bring none: the same body is the same message."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _standard_holds(secret: Secret, content: bytes, signatures: Sequence[str]) -> bool:
    prefix, key = _key_material(secret, "whsec_", "whpk_")
    if prefix == "whpk_":
        public = Ed25519PublicKey.from_public_bytes(key)
        return any(_ed25519_holds(public, content, signature) for signature in signatures if signature.startswith("v1a,"))
    expected = f"v1,{_base64(hmac.digest(key, content, 'sha256'))}"
    return any(_same(expected, signature) for signature in signatures)


def _ed25519_holds(key: Ed25519PublicKey, content: bytes, signature: str) -> bool:
    try:
        key.verify(base64.b64decode(signature.removeprefix("v1a,").encode(), validate=True), content)
    except (InvalidSignature, ValueError):
        return False
    return True


def _key_material(secret: Secret, *prefixes: str) -> tuple[str, bytes]:
    text = secret.reveal()
    prefix = next((prefix for prefix in prefixes if text.startswith(prefix)), None)
    if prefix is None:
        raise Misconfigured(f"the webhook secret {secret} must begin with {' or '.join(prefixes)}")
    encoded = text.removeprefix(prefix)
    try:
        # Some senders hand out their secrets without the padding of base64.
        key = base64.b64decode(encoded.encode() + b"=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Misconfigured(f"the webhook secret {secret} is not base64 behind {prefix}") from None
    # Some tools write a private key together with its public half.
    key = key[:_ED25519_BYTES] if prefix == "whsk_" and len(key) == 2 * _ED25519_BYTES else key
    shortest, longest = _SHARED_KEY_BYTES if prefix == "whsec_" else (_ED25519_BYTES, _ED25519_BYTES)
    if not shortest <= len(key) <= longest:
        raise Misconfigured(f"the webhook secret {secret} must hold {shortest} to {longest} bytes behind {prefix}")
    return prefix, key


def _plain_key(secret: Secret) -> bytes:
    key = secret.reveal().encode()
    if len(key) < _SHORTEST_SECRET_BYTES:
        raise Misconfigured(f"the webhook secret {secret} has fewer than {_SHORTEST_SECRET_BYTES} bytes: take a longer one")
    return key


def _encoded(digest: bytes, encoding: Encoding) -> str:
    return digest.hex() if encoding == "hex" else _base64(digest)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _same(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace"))
