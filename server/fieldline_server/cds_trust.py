"""Who calls a CDS service: an EHR on its list, by a token that it signed for this one call."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from fieldline_connectors.http import HttpConfig, answer, guarded_client
from fieldline_connectors.webhook.schemes import Forged
from fieldline_core.cds import Cds, CdsClient
from fieldline_core.errors import FieldlineError, Unavailable
from fieldline_core.logs import log
from fieldline_core.pipeline.engine import Engine

ALGORITHMS = ("ES384", "RS384")
_LONGEST_S, _LEEWAY_S = 300, 30
_MOST_TOKEN, _MOST_JTI = 8192, 256
_FEWEST_RSA_BITS = 2048
_MOST_KEYS, _MOST_KEY_BYTES = 100, 256 * 1024
_FRESH_S, _STALE_S, _AGAIN_S = 3600.0, 86_400.0, 60.0
_FETCH_S = 5.0
_CLAIMS = ["iss", "aud", "exp", "iat", "jti"]


class _Refused(Exception):
    """A token does not hold; the reason is for the log alone."""


@dataclass(slots=True)
class _Kept:
    keys: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    read_at: float = float("-inf")
    tried_at: float = float("-inf")


class KeySets:
    """The public keys of EHRs by their addresses, read once an hour, and once a minute at most where a key is not among them."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    def find(self, url: str, kid: str, http: HttpConfig) -> Mapping[str, Any] | None:
        """The key of that id; None where the EHR has none. Raises Unavailable where its keys cannot be had."""
        with self._lock:
            kept = self._kept.setdefault(url, _Kept())
            now = time.monotonic()
            wanted = now - kept.read_at > _FRESH_S or kid not in kept.keys
            if wanted and now - kept.tried_at > _AGAIN_S:
                kept.tried_at = now
                self._read(url, kept, http)
            if now - kept.read_at > _STALE_S:
                raise Unavailable("the keys of the EHR cannot be had at present", retry_after=_AGAIN_S)
            return kept.keys.get(kid)

    def _read(self, url: str, kept: _Kept, http: HttpConfig) -> None:
        try:
            with guarded_client(http) as client:
                bounds = {"total_timeout_s": _FETCH_S, "max_bytes": _MOST_KEY_BYTES}
                found = orjson.loads(answer(client.get(url, headers={"accept": "application/json"}, extensions=bounds)).content)
            keys = found["keys"][:_MOST_KEYS]
            kept.keys = {each["kid"]: each for each in keys if isinstance(each.get("kid"), str)}
            kept.read_at = time.monotonic()
        except FieldlineError as error:
            log().warning("cds_keys_not_read", code=error.code, reason=str(error))
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
            log().warning("cds_keys_not_read", code="no_key_set", reason="what stands at the address of its keys is no key set")


class Trust:
    """Recognises the callers of CDS services."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._keys = KeySets()

    def caller(self, flow: str, service: Cds, http: HttpConfig, authorization: str, audiences: Sequence[str]) -> str:
        """The issuer of a call's token, which is used up by this; raises Forged, with nothing about why: that is in the log."""
        try:
            client, claims = self._signed(service, http, authorization, audiences)
            self._use(client, claims)
        except _Refused as refused:
            log().warning("cds_token_refused", flow=flow, reason=str(refused))
            raise Forged("the call bears no token for this address that an EHR known to the service signed for it alone") from None
        return client.issuer

    def _signed(
        self, service: Cds, http: HttpConfig, authorization: str, audiences: Sequence[str]
    ) -> tuple[CdsClient, dict[str, Any]]:
        kind, _, token = authorization.partition(" ")
        if kind.lower() != "bearer" or not token or len(token) > _MOST_TOKEN:
            raise _Refused("no token")
        try:
            header = jwt.get_unverified_header(token)
            named = jwt.decode(token, options={"verify_signature": False}).get("iss")
            client = next((each for each in service.clients if each.issuer == named), None)
            if client is None:
                raise _Refused("unknown issuer")
            key = self._key(client, header, http)
            claims: dict[str, Any] = jwt.decode(
                token, key, algorithms=[header["alg"]], audience=list(audiences), issuer=client.issuer, leeway=_LEEWAY_S,
                options={"require": _CLAIMS},
            )  # fmt: skip
            return client, _within_bounds(claims)
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            # Their words may repeat what the token says.
            raise _Refused(type(error).__name__) from None

    def _key(self, client: CdsClient, header: Mapping[str, Any], http: HttpConfig) -> Any:
        alg, kid = header.get("alg"), header.get("kid")
        if alg not in ALGORITHMS:
            raise _Refused("signed by neither ES384 nor RS384")
        if not isinstance(kid, str) or len(kid) > _MOST_JTI:
            raise _Refused("no kid")
        if header.get("jku", client.keys) != client.keys:
            raise _Refused("a jku that is not on the list")
        found = self._keys.find(client.keys, kid, http)
        if found is None or found.get("alg", alg) != alg or found.get("kty") != ("EC" if alg == "ES384" else "RSA"):
            raise _Refused("unknown key")
        key = jwt.PyJWK(dict(found), algorithm=alg).key
        if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP384R1):
            return key
        if isinstance(key, RSAPublicKey) and key.key_size >= _FEWEST_RSA_BITS:
            return key
        raise _Refused("a key that is too weak, or not public")

    def _use(self, client: CdsClient, claims: Mapping[str, Any]) -> None:
        digest = self._engine.keyring.hash_body(orjson.dumps(["cds", client.issuer, claims["jti"]]))
        ends_at = datetime.fromtimestamp(claims["exp"] + _LEEWAY_S, UTC)
        with self._engine.store.transaction("cds.token") as tx:
            if tx.one("cds.use_token", digest=digest, ends_at=ends_at) is None:
                raise _Refused("used before")


def _within_bounds(claims: dict[str, Any]) -> dict[str, Any]:
    """The claims of a token that is for one use and lives for five minutes at most."""
    now, jti = time.time(), claims["jti"]
    if not isinstance(jti, str) or not 1 <= len(jti) <= _MOST_JTI:
        raise _Refused("a jti that is no short text")
    if isinstance(claims["exp"], bool) or isinstance(claims["iat"], bool):
        raise _Refused("times that are no numbers")
    exp, iat = float(claims["exp"]), float(claims["iat"])
    if not now - _LONGEST_S - _LEEWAY_S <= iat <= now + _LEEWAY_S or not exp <= now + _LONGEST_S + _LEEWAY_S:
        raise _Refused("lives longer than five minutes, or was made before or after that")
    return {**claims, "exp": exp}
