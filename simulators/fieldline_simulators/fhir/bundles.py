"""Transactions, which are done as a whole or not at all, and batches, whose entries stand alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from fieldline_simulators.fhir.calls import Answer, Call
from fieldline_simulators.fhir.ehr import Ehr
from fieldline_simulators.fhir.outcomes import Refusal, invalid, not_supported
from fieldline_simulators.fhir.parameters import TYPES

Resource = dict[str, Any]
Carry = Callable[[Ehr, Call], Answer]

_ORDER = {"DELETE": 0, "POST": 1, "PUT": 2, "PATCH": 2, "GET": 3, "HEAD": 3}
_MOST_ENTRIES = 20_000
_CONDITIONS = {"ifMatch": "if-match", "ifNoneExist": "if-none-exist", "ifNoneMatch": "if-none-match"}


@dataclass(slots=True)
class Step:
    """One entry of a bundle."""

    position: int
    method: str
    url: str
    headers: dict[str, str]
    full_url: str
    resource: Any


def carry_out(ehr: Ehr, call: Call, carry: Carry) -> Answer:
    """Does what a bundle asks; `carry` answers one request."""
    bundle = call.resource()
    if bundle["resourceType"] != "Bundle" or bundle.get("type") not in ("transaction", "batch"):
        raise invalid("A bundle of type transaction or batch is expected", "Bundle.type")
    kind = bundle["type"]
    if not (ehr.profile.transaction if kind == "transaction" else ehr.profile.batch):
        raise not_supported(f"A bundle of type {kind} is not supported", 400)
    entries = bundle.get("entry", [])
    if not isinstance(entries, list) or len(entries) > _MOST_ENTRIES:
        raise invalid(f"A bundle has at most {_MOST_ENTRIES} entries", "Bundle.entry")
    steps = [_step(call, position, entry) for position, entry in enumerate(entries)]
    answers = _transaction(ehr, call, steps, carry) if kind == "transaction" else [_alone(ehr, call, each, carry) for each in steps]
    made = [_response(ehr, call, each) for each in answers]
    return Answer(200, {"resourceType": "Bundle", "type": f"{kind}-response", "entry": made})


def _step(call: Call, position: int, entry: Any) -> Step:
    request = entry.get("request") if isinstance(entry, dict) else None
    if not isinstance(request, dict) or request.get("method") not in _ORDER or not isinstance(request.get("url"), str):
        raise invalid("An entry needs a request with method and url", f"Bundle.entry[{position}].request")
    headers = {header: str(request[name]) for name, header in _CONDITIONS.items() if name in request}
    if "prefer" in call.headers:
        headers["prefer"] = call.headers["prefer"]
    return Step(position, request["method"], request["url"], headers, str(entry.get("fullUrl", "")), entry.get("resource"))


def _transaction(ehr: Ehr, call: Call, steps: list[Step], carry: Carry) -> list[Answer | Refusal]:
    """All of them in FHIR's order, with references between them; raises Refusal, and then nothing was done."""
    made: dict[int, Answer | Refusal] = {}
    with ehr.store.atomic():
        known = _places(ehr, steps)
        for step in sorted(steps, key=lambda each: _ORDER[each.method]):
            try:
                step.resource = _pointed(ehr, step.resource, known)
                step.url = known.get(step.url, step.url)
                made[step.position] = _one(ehr, call, step, carry, known)
            except Refusal as refusal:
                refusal.words = f"Entry {step.position}: {refusal.words}"
                raise
    return [made[step.position] for step in steps]


def _places(ehr: Ehr, steps: list[Step]) -> dict[str, str]:
    """Where the resources of entries will be, by the names they have inside the bundle."""
    known: dict[str, str] = {}
    for step in steps:
        type = step.url.partition("?")[0].strip("/")
        if not step.full_url.startswith("urn:") or type.partition("/")[0] not in TYPES:
            continue
        if step.method == "POST":
            condition = step.headers.get("if-none-exist", "") if ehr.profile.conditional else ""
            found = _found(ehr, type, condition)
            known[step.full_url] = f"{type}/{found or ehr.store.new_id()}"
        elif step.method == "PUT":
            query = step.url.partition("?")[2]
            found = _found(ehr, type, query)
            known[step.full_url] = type if not query else f"{type}/{found or ehr.store.new_id()}"
    return known


def _found(ehr: Ehr, type: str, query: str) -> str | None:
    matches = ehr.searching.find(type, parse_qsl(query), strict=True).matches if query and type in TYPES else []
    return str(matches[0]["id"]) if len(matches) == 1 else None


def _pointed(ehr: Ehr, node: Any, known: dict[str, str]) -> Any:
    """The same content with references to where the entries' resources will be."""
    if isinstance(node, list):
        return [_pointed(ehr, each, known) for each in node]
    if isinstance(node, dict):
        pointed = {"reference": _reference}
        return {name: pointed.get(name, _pointed)(ehr, value, known) for name, value in node.items()}
    return known.get(node, node) if isinstance(node, str) else node


def _reference(ehr: Ehr, value: Any, known: dict[str, str]) -> Any:
    if not isinstance(value, str):
        return _pointed(ehr, value, known)
    type, query, criteria = value.partition("?")
    if query and type in TYPES:
        matches = ehr.searching.find(type, parse_qsl(criteria), strict=True).matches
        if len(matches) != 1:
            raise Refusal(412, "processing", f"The conditional reference to {type} finds {len(matches)} resources")
        return f"{type}/{matches[0]['id']}"
    return known.get(value, value)


def _one(ehr: Ehr, call: Call, step: Step, carry: Carry, known: dict[str, str]) -> Answer | Refusal:
    place = known.get(step.full_url)
    inner = call.part(step.method, step.url, step.headers, step.resource)
    if place and (step.method == "POST" or "?" in step.url):
        with ehr.store.naming(place.partition("/")[2]):
            return carry(ehr, inner)
    return carry(ehr, inner)


def _alone(ehr: Ehr, call: Call, step: Step, carry: Carry) -> Answer | Refusal:
    try:
        return carry(ehr, call.part(step.method, step.url, step.headers, step.resource))
    except Refusal as refusal:
        return refusal


def _response(ehr: Ehr, call: Call, answer: Answer | Refusal) -> Resource:
    if isinstance(answer, Refusal):
        return {"response": {"status": str(answer.status), "outcome": answer.body(ehr.profile)}}
    response: Resource = {"status": str(answer.status)}
    if answer.resource is not None and "lastUpdated" in answer.resource.get("meta", {}):
        response["lastModified"] = answer.resource["meta"]["lastUpdated"]
    for name, header in (("location", "Location"), ("etag", "ETag")):
        if header in answer.headers:
            response[name] = answer.headers[header].removeprefix(f"{call.base_url}/")
    if answer.resource is not None and answer.resource["resourceType"] == "OperationOutcome":
        return {"response": {**response, "outcome": answer.resource}}
    return {"response": response, **({"resource": answer.resource} if answer.resource is not None else {})}
