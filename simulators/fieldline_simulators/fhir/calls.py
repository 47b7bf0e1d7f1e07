"""One request and its answer, and the parts that every interaction shares; the entries of bundles are calls too."""

from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl

import orjson

from fieldline_simulators.fhir.outcomes import Refusal, invalid

FHIR_JSON = "application/fhir+json"
Pairs = list[tuple[str, str]]


@dataclass(slots=True)
class Answer:
    """What goes back: a resource, bytes, or nothing."""

    status: int = 200
    resource: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    media_type: str = FHIR_JSON

    def body(self) -> bytes:
        """The bytes of the answer."""
        if self.content is not None:
            return self.content
        return b"" if self.resource is None else orjson.dumps(self.resource)


@dataclass(frozen=True, slots=True)
class Call:
    """A request below the FHIR base; its path is in segments, its headers have lower-case names."""

    method: str
    segments: tuple[str, ...]
    query: Pairs
    headers: dict[str, str]
    body: bytes
    base_url: str
    scopes: tuple[str, ...] | None = None
    #: Whether this is an entry of a bundle.
    inside: bool = False

    def resource(self) -> dict[str, Any]:
        """The body as a resource; raises Refusal."""
        found = self.json()
        if not isinstance(found, dict) or not isinstance(found.get("resourceType"), str):
            raise Refusal(400, "structure", "Missing required property", "resourceType")
        return found

    def json(self) -> Any:
        """The body; raises Refusal."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise invalid(f"Content could not be parsed: {error}") from None

    def form(self) -> Pairs:
        """The body as a form."""
        return parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True)

    def part(self, method: str, url: str, headers: dict[str, str], body: Any) -> "Call":
        """A request inside this one."""
        path, _, query = url.removeprefix(self.base_url).strip("/").partition("?")
        return replace(
            self, method=method, segments=tuple(each for each in path.split("/") if each),
            query=parse_qsl(query, keep_blank_values=True), headers=headers, body=b"" if body is None else orjson.dumps(body),
            inside=True,
        )  # fmt: skip

    @property
    def strict(self) -> bool:
        """Whether unknown parameters are to be refused."""
        return "handling=strict" in self.headers.get("prefer", "")
