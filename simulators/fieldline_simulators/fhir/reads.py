"""Read, vread, history and search, and who may do what."""

from email.utils import format_datetime

from fieldline_simulators.fhir.calls import Answer, Call
from fieldline_simulators.fhir.ehr import Ehr
from fieldline_simulators.fhir.outcomes import Refusal, not_found, not_supported
from fieldline_simulators.fhir.paging import history_bundle
from fieldline_simulators.fhir.parameters import TYPES
from fieldline_simulators.fhir.search import Found, check_shaping
from fieldline_simulators.fhir.store import Version


def allowed(ehr: Ehr, call: Call, type: str, verb: str, types: frozenset[str] | None = None) -> None:
    """Raises Refusal where the server does not offer this to anybody, or the token's scopes do not to this client."""
    if type not in TYPES or type in ehr.profile.absent:
        raise not_supported(f"Resource type {type} is not supported", 404)
    if types is not None and type not in types:
        raise not_supported(f"{type} does not support this interaction")
    if not ehr.access.may(call.scopes, type, verb):
        raise Refusal(403, "forbidden", "Forbidden", id="forbidden")


def read(ehr: Ehr, call: Call, type: str, id: str) -> Answer:
    """GET by id."""
    allowed(ehr, call, type, "r")
    with ehr.store.lock:
        found = found_or_refused(ehr, type, id)
    if call.headers.get("if-none-match", "").removeprefix("W/").strip('"') == found.version_id:
        return Answer(304, headers=_version_headers(found))
    return Answer(200, found.resource, _version_headers(found))


def vread(ehr: Ehr, call: Call, type: str, id: str, version_id: str) -> Answer:
    """GET of one version."""
    allowed(ehr, call, type, "r")
    with ehr.store.lock:
        found = next((each for each in ehr.store.history(type, id) if each.version_id == version_id), None)
    if found is None:
        raise not_found()
    if found.resource is None:
        raise gone()
    return Answer(200, found.resource, _version_headers(found))


def history(ehr: Ehr, call: Call, type: str, id: str) -> Answer:
    """GET of all versions of one resource."""
    allowed(ehr, call, type, "r")
    with ehr.store.lock:
        versions = ehr.store.history(type, id)
    if not versions:
        raise not_found()
    return Answer(200, history_bundle(call.base_url, versions))


def search(ehr: Ehr, call: Call, type: str) -> Answer:
    """GET with a query, or POST _search with a form, or the next page of either."""
    allowed(ehr, call, type, "s")
    in_body = call.method == "POST"
    pairs = call.query if not in_body else call.form() + ([] if ehr.profile.post_search_ignores_query else call.query)
    check_shaping(pairs)
    given = dict(pairs)
    with ehr.store.lock:
        if ehr.profile.paging == "session" and "_session" in given:
            return _next_page(ehr, call, type, given)
        found = ehr.searching.find(type, pairs, strict=call.strict)
        page = ehr.pages.page_of(pairs)
        made = ehr.pages.searchset(
            call.base_url, type, pairs, found, lambda matches: ehr.searching.with_includes(type, matches, pairs), page
        )  # fmt: skip
    return Answer(200, made)


def _next_page(ehr: Ehr, call: Call, type: str, given: dict[str, str]) -> Answer:
    kept, page = ehr.pages.resume(given["_session"], given.get("_offset", ""))
    if kept.type != type:
        raise not_found()
    found = Found(kept.matches)
    made = ehr.pages.searchset(
        call.base_url, type, kept.pairs, found, lambda matches: ehr.searching.with_includes(type, matches, kept.pairs), page,
        given["_session"],
    )  # fmt: skip
    return Answer(200, made)


def found_or_refused(ehr: Ehr, type: str, id: str) -> Version:
    """The current version; raises Refusal where there is none or it is deleted."""
    found = ehr.store.current(type, id)
    if found is None:
        raise not_found()
    if found.resource is None:
        raise gone()
    return found


def gone() -> Refusal:
    """The resource was deleted."""
    return Refusal(410, "deleted", "Gone", id="gone")


def _version_headers(version: Version) -> dict[str, str]:
    return {"ETag": f'W/"{version.version_id}"', "Last-Modified": format_datetime(version.updated, usegmt=True)}
