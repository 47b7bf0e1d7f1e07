"""One request below a service root and its answer; the parts of a batch are calls too."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson

from fieldline_simulators.sap.errors import Refused, malformed
from fieldline_simulators.sap.values import BARE
from fieldline_simulators.serving import Reply

JSON = "application/json;charset=utf-8"
IEEE754 = "ieee754compatible"
_BARE_NUMBER = BARE.encode()
_LONGEST_ADDRESS = 65_536
_MOST_OPTIONS = 100


@dataclass(frozen=True, slots=True)
class Call:
    """A request: its path stands behind the service root and is not decoded, its headers have lower-case names."""

    method: str
    path: str
    options: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    #: Root of the service as the client knows it, with a slash at its end.
    root: str
    v4: bool
    #: Whether this is a part of a batch.
    inside: bool = False
    #: What the system passes over of what is asked for.
    ignores: frozenset[str] = frozenset()

    @property
    def exact(self) -> bool:
        """Whether long numbers are to be texts in V4."""
        return IEEE754 not in self.ignores and f"{IEEE754}=true" in self.headers.get("accept", "").lower()

    @property
    def preferences(self) -> Mapping[str, str]:
        """What the client prefers."""
        parts = (part.strip().partition("=") for part in self.headers.get("prefer", "").replace(";", ",").split(","))
        return {name.lower(): value.strip('"') for name, _, value in parts if name and name.lower() not in self.ignores}

    def json(self) -> dict[str, Any]:
        """The body, which is a JSON object; raises Refused."""
        kind = self.headers.get("content-type", "application/json")
        if "json" not in kind.lower():
            raise Refused(415, "/IWFND/CM_MGW/415", f"Content type '{kind[:60]}' is not supported: send application/json")
        try:
            found = orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise malformed(f"Error while parsing the JSON payload: {error}") from None
        if not isinstance(found, dict):
            raise malformed("The payload is no JSON object")
        return found

    def part(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> "Call":
        """A request inside this one; its address is relative, or names this service."""
        path, options = address(target.removeprefix(self.root).removeprefix(root_path(self.root)))
        return replace(self, method=method, path=path, options=options, headers=headers, body=body, inside=True)


def root_path(root: str) -> str:
    """The path of a service root."""
    return "/" + root.partition("://")[2].partition("/")[2]


def address(target: str) -> tuple[str, dict[str, str]]:
    """The path and the query options of an address; raises Refused."""
    path, _, query = target.partition("?")
    if len(target) > _LONGEST_ADDRESS:
        raise Refused(414, "/IWFND/CM_MGW/414", "The address is too long")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=_MOST_OPTIONS)
    except ValueError:
        raise malformed("The query options cannot be decoded") from None
    names = [name for name, _ in pairs]
    if twice := next((name for name in names if name.startswith("$") and names.count(name) > 1), ""):
        raise malformed(f"System query option '{twice}' is given twice")
    return path, dict(pairs)


def decoded(segment: str) -> str:
    """A segment of a path; raises Refused."""
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise malformed("The address is not UTF-8") from None


def as_json(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """An answer in JSON, where marked texts stand as numbers."""
    body = orjson.dumps(document)
    if _BARE_NUMBER in body:
        body = _unmarked(body)
    return Reply(status, body, {"Content-Type": JSON, **(headers or {})})


def _unmarked(body: bytes) -> bytes:
    first, *others = body.split(b'"' + _BARE_NUMBER)
    return first + b"".join(digits + rest for digits, _, rest in (other.partition(b'"') for other in others))


def refusal(error: Refused, *, v4: bool, accept: str = "") -> Reply:
    """An error as the client wants it."""
    if error.page:
        kind, body = "text/html;charset=utf-8", error.html().encode()
    elif "xml" in accept.lower() and "json" not in accept.lower():
        kind, body = "application/xml;charset=utf-8", error.xml().encode()
    else:
        kind, body = JSON, orjson.dumps(error.document(v4=v4))
    return Reply(error.status, body, {"Content-Type": kind, **error.headers})
