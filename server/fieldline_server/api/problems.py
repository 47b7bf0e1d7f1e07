"""What a request that fails is answered: one shape (RFC 9457), mapped once from the errors by consequence.

| Error | Status |
|---|---|
| `Rejected` | 422; 413 where it is too large, 401 where it is forged, 412 where data for an answer cannot be had |
| `Misconfigured` | 409: the request is sound, but a person must change something here first |
| `Unavailable` | 503 with Retry-After; 429 where too much waits already |
| `Conflict` | 409 |
| `NotRecognised`, `Forbidden`, `NotFound` | 401, 403, 404 |
| anything else | 500, with nothing said about it |
"""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from fieldline_core.errors import FieldlineError, Misconfigured, Unavailable
from fieldline_core.findings import path_text
from fieldline_core.logs import log

MEDIA_TYPE = "application/problem+json"
TYPE = "urn:fieldline:problem:"
_BY_CODE = {
    "rejected": 422, "too_large": 413, "forged": 401, "conflict": 409, "misconfigured": 409, "unavailable": 503, "too_many": 429,
    "not_found": 404, "unauthorized": 401, "forbidden": 403, "request_timeout": 408, "data_missing": 412,
}  # fmt: skip
_USUAL_WAIT_S = 5.0
_MOST_ERRORS = 20


_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
    },
}
PROBLEM: dict[str, Any] = {"description": "A problem (RFC 9457).", "content": {MEDIA_TYPE: {"schema": _SCHEMA}}}
"""How the OpenAPI document describes every answer that is no success."""


class NotFound(FieldlineError):
    """There is no such thing."""

    code = "not_found"


class Forbidden(FieldlineError):
    """The caller is known and may not do this."""

    code = "forbidden"


class TooMany(Unavailable):
    """Too much waits already: the request was refused before it was begun."""

    code = "too_many"


class Problem(JSONResponse):
    """An answer that says what went wrong, in words that hold no record's value."""

    media_type = MEDIA_TYPE

    def __init__(self, status: int, code: str, detail: str = "", headers: Mapping[str, str] | None = None, **more: Any) -> None:
        title = HTTPStatus(status).phrase
        body = {"type": TYPE + code, "title": title, "status": status, "detail": detail or title, "code": code, **more}
        super().__init__(body, status, headers)


def status_of(error: FieldlineError) -> int:
    """The HTTP status of an error; a code of somebody else's means what its class means."""
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    return 409 if isinstance(error, Misconfigured) else 503 if isinstance(error, Unavailable) else 422


def problem_of(error: FieldlineError) -> Problem:
    """The answer to a request that ended in one of our errors."""
    status, headers = status_of(error), {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(math.ceil(error.retry_after or _USUAL_WAIT_S))
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return Problem(status, error.code, str(error), headers)


def internal(error: Exception, route: str) -> Problem:
    """The answer to a request that met a bug: the log has its type and place, the caller nothing."""
    log().error("request_failed", route=route, exc_info=error)
    return Problem(500, "internal", "This is a fault of Fieldline. Its log has the place.")


def install(app: FastAPI) -> None:
    """Makes every error of the application a problem."""
    app.add_exception_handler(FieldlineError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, FieldlineError)
    return problem_of(error)


async def _invalid(request: Request, error: Exception) -> Response:
    """What pydantic refused, by place and rule: what it was given stays out, for it may be a record's value."""
    assert isinstance(error, RequestValidationError)
    found = [{"path": path_text(each["loc"]), "rule": each["type"]} for each in error.errors()[:_MOST_ERRORS]]
    first = f"{found[0]['path']} ({found[0]['rule'].replace('_', ' ')})" if found else "the request"
    return Problem(422, "invalid", f"The request is not as this route expects it, first at {first}.", errors=found)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return Problem(error.status_code, code, headers=error.headers)
