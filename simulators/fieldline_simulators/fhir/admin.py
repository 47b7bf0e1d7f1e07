"""The pages, and the orders to the simulator itself: faults, clients, what to expire, what to skip, CDS Hooks calls."""

from importlib.resources import files
from typing import Any

from fastapi import Body, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from fieldline_simulators.fhir.access import Client
from fieldline_simulators.fhir.cds import Outcome
from fieldline_simulators.fhir.chart import chart
from fieldline_simulators.fhir.ehr import Ehr
from fieldline_simulators.fhir.outcomes import Refusal
from fieldline_simulators.fhir.parameters import TYPES

Document = dict[str, Any]


def root_of(request: Request) -> str:
    """The server's root as this client calls it."""
    return f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}"


def add_routes(app: FastAPI, ehr: Ehr) -> None:
    """Adds the pages and the orders to an application."""
    _add_pages(app, ehr)
    _add_orders(app, ehr)
    _add_records(app, ehr)
    _add_cds(app, ehr)

    @app.exception_handler(Refusal)
    def refused(_: Request, refusal: Refusal) -> JSONResponse:
        return JSONResponse(refusal.body(ehr.profile), refusal.status)


def _add_pages(app: FastAPI, ehr: Ehr) -> None:
    @app.get("/", response_class=HTMLResponse)
    def patients_page() -> str:
        return _page("patients.html")

    @app.get("/cds", response_class=HTMLResponse)
    def cds_page() -> str:
        return _page("cds.html")

    @app.get("/page.css")
    def style() -> Response:
        return Response(_page("page.css"), media_type="text/css")

    @app.get("/cds/jwks.json")
    def jwks() -> Document:
        return ehr.cds.jwks()


def _add_orders(app: FastAPI, ehr: Ehr) -> None:
    @app.get("/_sim/faults")
    def faults() -> list[Document]:
        return ehr.faults.as_list()

    @app.put("/_sim/faults", response_model=None)
    def set_faults(orders: Any = Body()) -> JSONResponse:  # noqa: B008 (FastAPI's way to name the body)
        try:
            ehr.faults.set(orders)
        except (ValueError, TypeError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse(ehr.faults.as_list())

    @app.put("/_sim/clients/{id}")
    def set_client(id: str, client: Client) -> Document:
        ehr.access.clients[id] = client
        return {"client_id": id, "scope": client.scope}

    @app.post("/_sim/tokens")
    def issue(order: Document) -> Document:
        return ehr.access.issue(str(order.get("scope", "")))

    @app.post("/_sim/expire-tokens")
    def expire_tokens() -> Document:
        ehr.access.end()
        return {}

    @app.post("/_sim/expire-pages")
    def expire_pages() -> Document:
        return {"expired": ehr.pages.expire()}

    @app.post("/_sim/subscriptions/{id}/heartbeat")
    def heartbeat(id: str) -> Document:
        ehr.subscriptions.heartbeat(id)
        return {}

    @app.post("/_sim/subscriptions/{id}/gap")
    def gap(id: str, events: int = 1) -> Document:
        ehr.subscriptions.swallow(id, events)
        return {"swallowed_next": events}


def _add_records(app: FastAPI, ehr: Ehr) -> None:
    @app.get("/_sim/status")
    def status() -> Document:
        with ehr.store.lock:
            counts = {type: count for type in sorted(TYPES) if (count := sum(1 for _ in ehr.store.all(type)))}
        return {"profile": ehr.profile.name, "resources": counts, "deliveries": list(ehr.subscriptions.attempts)}

    @app.get("/_sim/chart")
    def shown(search: str = "") -> Document:
        return chart(ehr, search)

    @app.put("/_sim/resources/{type}/{id}")
    def put(type: str, id: str, resource: Document) -> Document:
        """Writes as a clinician at the server would, past all that the API refuses."""
        if type not in TYPES:
            raise Refusal(404, "not-supported", f"Resource type {type} is not supported")
        with ehr.store.atomic():
            return ehr.store.put(type, id, resource, "PUT").resource or {}


def _add_cds(app: FastAPI, ehr: Ehr) -> None:
    @app.post("/_sim/cds/call")
    def call(request: Request, order: Document) -> Document:
        service_url, patient = str(order.get("service_url", "")), str(order.get("patient", ""))
        access = ehr.access.issue("user/*.rs") if ehr.profile.authenticated else None
        prefetch = bool(order.get("prefetch", True))
        return _told(ehr.cds.call(service_url, patient, root_of(request), access=access, prefetch=prefetch))

    @app.post("/_sim/cds/feedback")
    def feedback(request: Request, order: Document) -> Document:
        return _told(ehr.cds.feedback(str(order.get("service_url", "")), dict(order.get("feedback", {})), root_of(request)))


def _told(outcome: Outcome) -> Document:
    return {
        "status": outcome.status, "answer": outcome.answer, "request": outcome.request, "elapsed_ms": round(outcome.elapsed_ms, 1),
    }  # fmt: skip


def _page(name: str) -> str:
    return (files("fieldline_simulators.fhir") / name).read_text("utf-8")
