"""One request and its answer, and the table of routes; composite requests run their parts through the same table."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

import orjson

from fieldline_simulators.salesforce.access import Access, Actor
from fieldline_simulators.salesforce.errors import ApiError, not_found

if TYPE_CHECKING:
    from fieldline_simulators.salesforce.jobs import Jobs
    from fieldline_simulators.salesforce.org import Org

DATA = "/services/data/v{version}"
OLDEST, NEWEST = 31, 67


@dataclass(slots=True)
class Answer:
    """What goes back; `cut` is how the connection ends where no whole answer does."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: str = ""
    #: The body before it became bytes: what a composite answer holds.
    value: Any = None


def as_json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """An answer in JSON."""
    return Answer(status, orjson.dumps(value), {"Content-Type": "application/json;charset=UTF-8", **(headers or {})}, value=value)


def as_text(text: str, status: int = 200, kind: str = "text/plain;charset=UTF-8", headers: dict[str, str] | None = None) -> Answer:
    """An answer in text."""
    return Answer(status, text.encode(), {"Content-Type": kind, **(headers or {})}, value=text)


@dataclass(slots=True)
class Call:
    """A request as it came in: its path is not decoded, its headers have lower-case names."""

    org: "Org"
    jobs: "Jobs"
    routes: "Routes"
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    base_url: str
    actor: Actor = field(default_factory=lambda: Actor("", Access()))
    version: str = "64.0"

    @property
    def data_url(self) -> str:
        """The root of the API's version that was asked."""
        return f"/services/data/v{self.version}"

    @property
    def token(self) -> str:
        """The access token; empty where there is none."""
        kind, _, token = self.headers.get("authorization", "").partition(" ")
        if kind.lower() in ("bearer", "oauth"):
            return token.strip()
        return self.headers.get("x-sfdc-session", "") or self.query.get("oauth_token", "")

    def json(self) -> Any:
        """The body; raises JSON_PARSER_ERROR."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise ApiError("JSON_PARSER_ERROR", f"Unexpected character at [line:{error.lineno}, column:{error.colno}]") from None

    def document(self) -> dict[str, Any]:
        """The body, which is a JSON object."""
        found = self.json()
        if not isinstance(found, dict):
            raise ApiError("JSON_PARSER_ERROR", "Cannot deserialize instance of SObject from START_ARRAY value [line:1, column:1]")
        return found

    def form(self) -> dict[str, str]:
        """The body as a form."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    def acting(self) -> Actor:
        """The user, with what the request's headers ask for."""
        options = dict(part.strip().partition("=")[::2] for part in self.headers.get("sforce-call-options", "").split(","))
        return replace(
            self.actor, api="rest", version=self.version, client=options.get("client", ""),
            auto_assign=self.headers.get("sforce-auto-assign", "").upper() != "FALSE",
            allow_duplicates="allowsave=true" in self.headers.get("sforce-duplicate-rule-header", "").replace(" ", "").lower(),
        )  # fmt: skip

    def part(self, method: str, url: str, headers: dict[str, str], body: Any) -> "Call":
        """A request inside this one."""
        path, _, query = url.partition("?")
        return replace(
            self, method=method.upper(), path=path, query=dict(parse_qsl(query, keep_blank_values=True)),
            headers={**self.headers, **{name.lower(): str(value) for name, value in headers.items()}},
            body=b"" if body is None else orjson.dumps(body),
        )  # fmt: skip


Handler = Callable[..., Answer]


@dataclass(frozen=True, slots=True)
class Route:
    """A path, what answers it, and whether it needs a session and counts as an API call."""

    method: str
    pattern: re.Pattern[str]
    handler: Handler
    session: bool


class Routes:
    """The table of routes, the first that fits; a slash at the end of a path is optional, and case does not count."""

    def __init__(self) -> None:
        self._all: list[Route] = []

    def on(self, method: str, path: str, *, session: bool = True) -> Callable[[Handler], Handler]:
        """Adds a route; `{name}` is one segment, and `{name:rest}` the rest of the path."""
        escaped = re.sub(r"\{(\w+):rest\}", r"(?P<\1>.+?)", re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path.replace(".", r"\.")))

        def add(handler: Handler) -> Handler:
            self._all.append(Route(method, re.compile(escaped + "/?", re.IGNORECASE), handler, session))
            return handler

        return add

    def include(self, others: "Routes") -> None:
        """Adds all routes of another table."""
        self._all += others._all

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route of a request and the parts of its path, decoded; raises what is answered where there is none."""
        fitting = [(each, match) for each in self._all if (match := each.pattern.fullmatch(path))]
        for route, match in fitting:
            if route.method == method or (method == "HEAD" and route.method == "GET"):
                return route, {name: unquote(value) for name, value in match.groupdict().items()}
        if fitting:
            allowed = ", ".join(dict.fromkeys(route.method for route, _ in fitting))
            words = f"HTTP Method '{method}' not allowed. Allowed are {allowed}"
            raise ApiError("METHOD_NOT_ALLOWED", words, status=405, headers={"Allow": allowed})
        raise not_found()


def check_version(version: str) -> str:
    """The version as Salesforce writes it; raises for one that is retired or does not exist yet."""
    number = int(version.partition(".")[0]) if re.fullmatch(r"\d{1,3}(\.0)?", version) else 0
    if 0 < number < OLDEST:
        raise ApiError("UNSUPPORTED_API_VERSION", f"The requested API version {version} is retired", status=410)
    if not OLDEST <= number <= NEWEST:
        raise not_found()
    return f"{number}.0"
