"""Who may call what: every route says which scope it needs, and one that says nothing cannot be made."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, TypeAlias

from anyio.to_thread import run_sync
from fastapi import Depends, Request, Response, Security
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from fieldline_connectors.bounded import bounded_json
from fieldline_server.api.backend import backend_of
from fieldline_server.api.body import read_body
from fieldline_server.api.problems import PROBLEM, Forbidden
from fieldline_server.keys import Caller, NotRecognised, Scope

_bearer = HTTPBearer(auto_error=False, description="An API key, as `fieldline keys make` shows it once.")


class Needs:
    """Lets a caller pass whose key is in force and has the scope."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(self, request: Request, _: Annotated[Any, Security(_bearer)] = None) -> Caller:
        """The caller; raises NotRecognised or Forbidden."""
        return await self.check(request)

    async def check(self, request: Request) -> Caller:
        """The caller of a request; raises NotRecognised or Forbidden."""
        caller = await caller_of(request)
        if self.scope not in caller.scopes:
            raise Forbidden(f"this needs a key with the scope {self.scope.value!r}")
        return caller


async def caller_of(request: Request) -> Caller:
    """Whose key the request carries; raises NotRecognised."""
    kind, _, text = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer":
        raise NotRecognised
    keys = (await backend_of(request)).keys
    seen = keys.seen(text)
    return await run_sync(keys.recognise, text) if seen is None else seen


def needed(dependant: Dependant) -> list[Needs]:
    """What a route asks of its callers, wherever in its dependencies it says so."""
    found = [each for inner in dependant.dependencies for each in needed(inner)]
    return [*found, dependant.call] if isinstance(dependant.call, Needs) else found


class Guarded(APIRoute):
    """A route that knows its caller before it reads a byte of the body, and reads JSON within bounds."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **how: Any) -> None:
        super().__init__(path, endpoint, **{**how, "responses": {**(how.get("responses") or {}), "default": PROBLEM}})
        if not needed(self.dependant):
            raise TypeError(f"the route {path} does not say which scope it needs")

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler behind the guards."""
        handle: Callable[[Request], Awaitable[Response]] = super().get_route_handler()
        guards, takes_json = needed(self.dependant), self.body_field is not None

        async def guarded(request: Request) -> Response:
            for guard in guards:
                await guard.check(request)
            return await handle(await _BoundedRequest.read(request) if takes_json else request)

        return guarded


class _BoundedRequest(Request):
    """A request whose JSON was read within bounds, so that what takes it apart cannot be overwhelmed."""

    raw: bytes
    document: Any

    @classmethod
    async def read(cls, request: Request) -> "_BoundedRequest":
        bounded = cls(request.scope, request.receive)
        bounded.raw = await read_body(request)
        bounded.document = bounded_json(bounded.raw) if bounded.raw else None
        return bounded

    async def body(self) -> bytes:
        return self.raw

    async def json(self) -> Any:
        return self.document


MayRead = Depends(Needs(Scope.READ))
MayAudit: TypeAlias = Annotated[Caller, Depends(Needs(Scope.AUDIT))]
MayConfigure: TypeAlias = Annotated[Caller, Depends(Needs(Scope.CONFIGURE))]
MayErase: TypeAlias = Annotated[Caller, Depends(Needs(Scope.ERASE))]
MayKeys: TypeAlias = Annotated[Caller, Depends(Needs(Scope.KEYS))]
MayRun: TypeAlias = Annotated[Caller, Depends(Needs(Scope.RUN))]
MayScore: TypeAlias = Annotated[Caller, Depends(Needs(Scope.SCORE))]
MayWrite: TypeAlias = Annotated[Caller, Depends(Needs(Scope.WRITE))]
