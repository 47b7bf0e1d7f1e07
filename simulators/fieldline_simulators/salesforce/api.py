"""What happens to every request: its route, its session, the API's limit, the faults that are set, and its error's words."""

import re
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from fieldline_simulators.salesforce import (
    outbound_admin,
    pubsub_admin,
    rest_admin,
    rest_auth,
    rest_bulk,
    rest_collections,
    rest_composite,
    rest_discovery,
    rest_query,
    rest_records,
    rest_soap,
)
from fieldline_simulators.salesforce.calls import Answer, Call, Route, Routes, as_json, check_version
from fieldline_simulators.salesforce.errors import ApiError
from fieldline_simulators.salesforce.faults import Fault
from fieldline_simulators.salesforce.soql_syntax import parse_query

_TYPE = re.compile(rb'"type"\s*:\s*"(\w+)"')


def all_routes() -> Routes:
    """Every route of the org."""
    routes = Routes()
    for module in (
        outbound_admin,
        pubsub_admin,
        rest_auth,
        rest_soap,
        rest_admin,
        rest_bulk,
        rest_composite,
        rest_collections,
        rest_query,
        rest_discovery,
        rest_records,
    ):
        routes.include(module.routes)
    return routes


def answer(call: Call) -> Answer:
    """The answer to a request from outside."""
    try:
        route, params = call.routes.find(call.method, call.path)
        if call.path.startswith("/services/data/"):
            return _with_limits(call, _in_session(call, route, params))
        return _in_session(call, route, params)
    except ApiError as error:
        return _with_limits(call, refusal(error)) if call.path.startswith("/services/data/v") else refusal(error)


def refusal(error: ApiError) -> Answer:
    """An error as the body of an answer."""
    return as_json(error.as_rest(), error.status, error.headers)


def carry_out(call: Call, route: Route, params: dict[str, str]) -> Answer:
    """What a route answers, errors as well; also for the parts of a composite request."""
    try:
        if "version" in params:
            call.version = check_version(params.pop("version"))
        return route.handler(call, **params)
    except ApiError as error:
        return refusal(error)


def _in_session(call: Call, route: Route, params: dict[str, str]) -> Answer:
    if not call.path.startswith("/services/"):
        with call.org.lock:
            return carry_out(call, route, params)
    with call.org.lock:
        if route.session:
            _authenticate(call)
        found = call.org.faults.of_call(call.method, unquote(call.path), _object_of(call, params), route.handler.__name__)
    cut = _strike(call, (each for each in found if not each.after_commit))
    if cut is not None:
        return cut
    with call.org.lock:
        made = carry_out(call, route, params)
    return _strike(call, (each for each in found if each.after_commit)) or made


def _authenticate(call: Call) -> None:
    org, now = call.org, call.org.now()
    user_id = org.sessions.user_of(call.token, now)
    if user_id is None:
        raise ApiError("INVALID_SESSION_ID", "Session expired or invalid", status=401)
    call.actor = org.actor(user_id)
    if not call.actor.access.api_enabled:
        raise ApiError("API_DISABLED_FOR_ORG", "API is disabled for this User", status=403)
    if not org.usage.count(now):
        raise ApiError("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", status=403)


def _strike(call: Call, faults: Iterable[Fault]) -> Answer | None:
    """Lets faults happen; an answer where one leaves the client without a good one."""
    for fault in faults:
        if fault.kind == "slow":
            time.sleep(fault.seconds)
        elif fault.kind in ("drop", "hold"):
            return Answer(cut=fault.kind)
        elif fault.kind == "expire":
            with call.org.lock:
                call.org.sessions.end(call.token)
            return refusal(fault.error())
        else:
            return refusal(fault.error())
    return None


def _object_of(call: Call, params: dict[str, Any]) -> str:
    """The object that a request is about, as far as can be seen from outside."""
    if "object" in params:
        return str(params["object"])
    if "job" in params:
        return call.jobs.object_of(params["job"])
    if soql := call.query.get("q"):
        return _source_of(soql)
    match = _TYPE.search(call.body[:4096])
    return match[1].decode() if match else ""


def _source_of(soql: str) -> str:
    """The object that a query asks; empty where it cannot be read, which is said later."""
    try:
        return parse_query(soql).source
    except ApiError:
        return ""


def _with_limits(call: Call, made: Answer) -> Answer:
    usage = call.org.usage
    with call.org.lock:
        info = f"api-usage={usage.used(call.org.now())}/{usage.limit}"
    return replace(made, headers={**made.headers, "Sforce-Limit-Info": info})
