"""Lets faults strike requests, around everything else: an answer may be lost after what was asked has been done."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from fieldline_simulators.fhir.ehr import Ehr
from fieldline_simulators.fhir.faults import Fault

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Striking:
    """An ASGI application around another; the server's own pages and orders are never struck."""

    def __init__(self, app: App, ehr: Ehr) -> None:
        self.app, self.ehr = app, ehr

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or does not."""
        path = str(scope.get("path", ""))
        struck = self.ehr.faults.of(scope["method"], path) if path.startswith(("/fhir", "/auth")) else []
        for fault in (each for each in struck if not each.after_commit):
            if await self._strike(fault, scope, receive, send, []):
                return
        late = [each for each in struck if each.after_commit]
        if not late:
            return await self.app(scope, receive, send)
        kept: list[Message] = []

        async def keep(message: Message) -> None:
            kept.append(message)

        await self.app(scope, receive, keep)
        for fault in late:
            if await self._strike(fault, scope, receive, send, kept):
                return
        for message in kept:
            await send(message)

    async def _strike(self, fault: Fault, scope: Scope, receive: Receive, send: Send, kept: list[Message]) -> bool:
        """Whether the client is left without a good answer."""
        match fault.kind:
            case "slow":
                await asyncio.sleep(fault.seconds)
                return False
            case "expire":
                header = dict(scope["headers"]).get(b"authorization", b"").decode()
                self.ehr.access.end(header.partition(" ")[2] or "-")
                return False
            case "status":
                await self._refuse(fault, send)
                return True
            case "cut" if kept:
                await send(kept[0])
                body = b"".join(each.get("body", b"") for each in kept[1:])
                await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        if fault.kind != "hold":
            # The server hands each request its own connection's methods: this one ends without another word.
            receive.__self__.transport.close()  # type: ignore[attr-defined]
        while (await receive())["type"] != "http.disconnect":
            pass
        return True

    async def _refuse(self, fault: Fault, send: Send) -> None:
        refusal = fault.refusal(self.ehr.profile)
        body = orjson.dumps(refusal.body(self.ehr.profile))
        kind = b"application/json" if fault.status == 429 else b"application/fhir+json"
        headers = [(name.lower().encode(), value.encode()) for name, value in refusal.headers.items()]
        headers += [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": fault.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
