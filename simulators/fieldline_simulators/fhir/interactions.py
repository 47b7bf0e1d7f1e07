"""Which interaction a request below the FHIR base is."""

from fieldline_simulators.fhir import bundles, capability, reads, writes
from fieldline_simulators.fhir.calls import Answer, Call
from fieldline_simulators.fhir.ehr import Ehr
from fieldline_simulators.fhir.outcomes import Refusal, not_found, not_supported
from fieldline_simulators.fhir.parameters import TYPES

_MOST_EVENTS = 1_000_000_000


def answer(ehr: Ehr, call: Call) -> Answer:
    """The answer to a request, also to one inside a bundle; raises Refusal."""
    match call.method, call.segments:
        case "GET", ("metadata",):
            return Answer(200, capability.capability_statement(ehr, call.base_url))
        case "POST", () if not call.inside:
            return bundles.carry_out(ehr, call, answer)
        case _, (("_bulk", *_) | (*_, "$export")):
            return _bulk(ehr, call)
        case method, (type,):
            return _of_type(ehr, call, method, type)
        case (("POST" | "GET"), (type, "_search")):
            return reads.search(ehr, call, type)
        case "GET", (type, id, "_history"):
            return reads.history(ehr, call, type, id)
        case "GET", (type, id, "_history", version_id):
            return reads.vread(ehr, call, type, id, version_id)
        case "GET", ("Subscription", id, ("$status" | "$events") as operation):
            return _subscription(ehr, call, id, operation)
        case method, (type, id):
            return _of_resource(ehr, call, method, type, id)
    raise not_supported("There is no such interaction", 404)


def _of_type(ehr: Ehr, call: Call, method: str, type: str) -> Answer:
    match method:
        case "GET":
            return reads.search(ehr, call, type)
        case "POST":
            return writes.create(ehr, call, type)
        case "PUT":
            return writes.update_matching(ehr, call, type)
        case "DELETE":
            return writes.delete_matching(ehr, call, type)
    raise not_supported(f"{method} is not supported here")


def _of_resource(ehr: Ehr, call: Call, method: str, type: str, id: str) -> Answer:
    match method:
        case "GET" | "HEAD":
            return reads.read(ehr, call, type, id)
        case "PUT":
            return writes.update(ehr, call, type, id)
        case "PATCH":
            return writes.patch(ehr, call, type, id)
        case "DELETE":
            return writes.delete(ehr, call, type, id)
    raise not_supported(f"{method} is not supported here")


def _bulk(ehr: Ehr, call: Call) -> Answer:
    match call.method, call.segments:
        case "GET", (("$export",) | (_, "$export") | ("Group", _, "$export")):
            if not any(ehr.access.may(call.scopes, type, "r") for type in sorted(TYPES)):
                raise Refusal(403, "forbidden", "Forbidden", id="forbidden")
            return ehr.exports.begin(call, lambda type: ehr.access.may(call.scopes, type, "r"))
        case "GET", ("_bulk", id):
            return ehr.exports.poll(call, id)
        case "DELETE", ("_bulk", id):
            return ehr.exports.remove(id)
        case "GET", ("_bulk", id, name):
            return ehr.exports.file(call, id, name)
    raise not_found()


def _subscription(ehr: Ehr, call: Call, id: str, operation: str) -> Answer:
    reads.allowed(ehr, call, "Subscription", "r")
    if operation == "$status":
        return Answer(200, ehr.subscriptions.status(id))
    given = dict(call.query)
    lowest, highest = (given.get(name, "") for name in ("eventsSinceNumber", "eventsUntilNumber"))
    first = int(lowest) if lowest.isdecimal() else 0
    return Answer(200, ehr.subscriptions.events(id, first, int(highest) if highest.isdecimal() else _MOST_EVENTS))
