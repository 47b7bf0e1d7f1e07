"""The server's addresses: FHIR and tokens, the pages, and under `/_sim` what only who runs the simulator may do."""

from dataclasses import replace

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from fieldline_simulators.fhir import admin, capability, interactions
from fieldline_simulators.fhir.access import TokenRefused
from fieldline_simulators.fhir.calls import Answer, Call
from fieldline_simulators.fhir.ehr import Ehr
from fieldline_simulators.fhir.outcomes import Refusal

_MOST_BYTES = 64 * 1024 * 1024
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


def make_app(ehr: Ehr) -> FastAPI:
    """The web application of one server."""
    app = FastAPI(title="Fieldline FHIR simulator", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/fhir/.well-known/smart-configuration")
    def smart(request: Request) -> JSONResponse:
        root = admin.root_of(request)
        return JSONResponse(capability.smart_configuration(f"{root}/fhir", f"{root}/auth/token"))

    @app.post("/auth/token")
    async def token(request: Request) -> JSONResponse:
        body = await _body(request)
        return await run_in_threadpool(_token, ehr, request, body or b"")

    admin.add_routes(app, ehr)

    @app.api_route("/fhir", methods=_METHODS)
    @app.api_route("/fhir/{path:path}", methods=_METHODS)
    async def fhir(request: Request, path: str = "") -> Response:
        body = await _body(request)
        return await run_in_threadpool(_answer, ehr, request, path, body)

    return app


async def _body(request: Request) -> bytes | None:
    """The body; None where it is too long."""
    made = bytearray()
    async for chunk in request.stream():
        made += chunk
        if len(made) > _MOST_BYTES:
            return None
    return bytes(made)


def _answer(ehr: Ehr, request: Request, path: str, body: bytes | None) -> Response:
    headers = dict(request.headers)
    segments = tuple(each for each in path.split("/") if each)
    base_url = f"{admin.root_of(request)}/fhir"
    call = Call(request.method, segments, request.query_params.multi_items(), headers, body or b"", base_url)
    try:
        if body is None:
            raise Refusal(413, "too-long", f"At most {_MOST_BYTES} bytes are taken")
        if call.segments != ("metadata",) and not ehr.exports.is_signed(call):
            call = replace(call, scopes=ehr.access.scopes(headers.get("authorization", "")))
        made = interactions.answer(ehr, call)
    except Refusal as refusal:
        made = Answer(refusal.status, refusal.body(ehr.profile), refusal.headers)
    if made.status in (204, 304):
        return Response(None, made.status, made.headers)
    return Response(made.body(), made.status, made.headers, made.media_type)


def _token(ehr: Ehr, request: Request, body: bytes) -> JSONResponse:
    call = Call("POST", (), [], {}, body, "")
    try:
        made = ehr.access.token(call.form(), request.headers.get("authorization", ""), f"{admin.root_of(request)}/auth/token")
    except TokenRefused as refused:
        # Medplum answers 400 to a wrong key, audience or time, and so do the others here.
        return JSONResponse({"error": refused.error, "error_description": str(refused)}, 400)
    return JSONResponse(made, headers={"Cache-Control": "no-store"})
