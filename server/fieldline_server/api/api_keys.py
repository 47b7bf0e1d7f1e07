"""API keys: listed, made and revoked."""

from typing import Any

from fastapi import APIRouter

from fieldline_core.store import Row
from fieldline_server.api.access import Guarded, MayKeys
from fieldline_server.api.backend import Back
from fieldline_server.api.problems import Forbidden, NotFound
from fieldline_server.api.views import Items, KeyView, NewKey, NewKeyView
from fieldline_server.keys import Scope, list_keys, make_key, revoke_key

router = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=Guarded)


@router.get("", response_model=Items[KeyView])
def show_keys(backend: Back, caller: MayKeys) -> dict[str, list[Row]]:
    """All keys, without their secrets."""
    return {"items": list_keys(backend.engine)}


@router.post("", status_code=201, response_model=NewKeyView)
def make(wanted: NewKey, backend: Back, caller: MayKeys) -> dict[str, Any]:
    """Makes a key and shows it this once; it may do no more than the key that makes it."""
    beyond = sorted((set(wanted.scopes) & set(Scope)) - caller.scopes)
    if beyond:
        raise Forbidden(f"a key cannot give the scope {beyond[0]!r}, which it does not have itself")
    key, row = make_key(backend.engine, wanted.label, wanted.scopes, caller.name, wanted.days)
    return row | {"key": key}


@router.delete("/{id}", status_code=204)
def revoke(id: str, backend: Back, caller: MayKeys) -> None:
    """Ends a key for good, within a second."""
    if not revoke_key(backend.engine, id, caller.name):
        raise NotFound("there is no such key in force")
