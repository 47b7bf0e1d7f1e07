"""The outermost layer: times each request, adds headers, and turns a bug into a plain 500."""

import time
from collections.abc import MutableMapping
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fieldline_core.logs import log
from fieldline_server.api.problems import internal
from fieldline_server.metrics import Metrics

_HEADERS = [
    (b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"), (b"content-security-policy", b"default-src 'none'"),
    (b"referrer-policy", b"no-referrer"),
]  # fmt: skip
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})
_GONE = 499


class Door:
    """ASGI middleware through which every request goes."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except ClientDisconnect:
            status = _GONE
            log().info("caller_gone", route=_route(scope))
        except Exception as error:
            if status:
                raise
            await internal(error, _route(scope))(scope, receive, sending)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.requests.labels(method, _route(scope), str(status)).observe(time.perf_counter() - begun)


def _route(scope: MutableMapping[str, Any]) -> str:
    """The path as the route writes it, with names for its parts: a caller cannot make up new ones."""
    return getattr(scope.get("route"), "path", "none")
