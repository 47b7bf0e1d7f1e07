"""Create, update, patch and delete, with their conditions, and with what happens when they race."""

import re
import time
from collections.abc import Callable
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl

import jsonpatch
import jsonpointer

from fieldline_simulators.fhir.calls import Answer, Call, Pairs
from fieldline_simulators.fhir.ehr import Ehr
from fieldline_simulators.fhir.outcomes import Refusal, invalid, not_found, not_supported, outcome, precondition_failed
from fieldline_simulators.fhir.parameters import missing
from fieldline_simulators.fhir.reads import allowed, found_or_refused
from fieldline_simulators.fhir.store import Version

Resource = dict[str, Any]

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")


def create(ehr: Ehr, call: Call, type: str) -> Answer:
    """POST, with If-None-Exist where the vendor heeds it."""
    allowed(ehr, call, type, "c", ehr.profile.create)
    resource = _checked(ehr, call, type)
    condition = call.headers.get("if-none-exist") if ehr.profile.conditional else None
    if not condition:
        with ehr.store.atomic():
            return _written(ehr, call, _insert(ehr, type, resource), 201)
    criteria = parse_qsl(condition.partition("?")[2] or condition, keep_blank_values=True)
    with ehr.store.lock:
        before = _matching(ehr, type, criteria)
    if not before:
        _overlap(ehr, call)
    with ehr.store.atomic():
        now = _matching(ehr, type, criteria)
        if len(now) < (1 if before else ehr.profile.create_copies):
            return _written(ehr, call, _insert(ehr, type, resource), 201)
        return _written(ehr, call, _only(now), 200)


def update(ehr: Ehr, call: Call, type: str, id: str) -> Answer:
    """PUT by id."""
    allowed(ehr, call, type, "u", ehr.profile.update)
    resource = _checked(ehr, call, type)
    if resource.get("id", id) != id:
        raise invalid("Incorrect ID", f"{type}.id")
    before = ehr.store.current(type, id)
    _overlap(ehr, call)
    with ehr.store.atomic():
        now = ehr.store.current(type, id)
        _heed_if_match(ehr, call, now)
        if now is None or now.resource is None:
            if not ehr.profile.update_creates:
                raise not_found()
            return _written(ehr, call, ehr.store.put(type, id, resource, "PUT"), 201)
        _lose_overlap(ehr, overlapped=before is not now)
        return _written(ehr, call, _replace(ehr, now, resource), 200)


def update_matching(ehr: Ehr, call: Call, type: str) -> Answer:
    """PUT to what a search finds."""
    _conditional(ehr)
    allowed(ehr, call, type, "u", ehr.profile.update)
    resource = _checked(ehr, call, type)
    with ehr.store.lock:
        before = _matching(ehr, type, call.query)
    _overlap(ehr, call)
    with ehr.store.atomic():
        now = _matching(ehr, type, call.query)
        if len(now) < (1 if before else ehr.profile.update_copies):
            return _written(ehr, call, _insert(ehr, type, resource), 201)
        only = _only(now)
        _heed_if_match(ehr, call, only)
        _lose_overlap(ehr, overlapped=not before or before[0] is not only)
        return _written(ehr, call, _replace(ehr, only, {**resource, "id": only.id}), 200)


def patch(ehr: Ehr, call: Call, type: str, id: str) -> Answer:
    """PATCH by JSON Patch."""
    allowed(ehr, call, type, "u", ehr.profile.patch)
    operations = call.json()
    if not isinstance(operations, list):
        raise invalid("Only JSON Patch is understood")
    with ehr.store.atomic():
        now = found_or_refused(ehr, type, id)
        if ehr.profile.patch_heeds_if_match:
            _heed_if_match(ehr, call, now)
        made = _patched(ehr, now, operations)
        if made.get("resourceType") != type or made.get("id") != id:
            raise invalid("A patch cannot change what the resource is")
        _refuse_missing(ehr, made)
        return _written(ehr, call, _replace(ehr, now, made), 200)


def delete(ehr: Ehr, call: Call, type: str, id: str) -> Answer:
    """DELETE by id; what is not there stays not there."""
    allowed(ehr, call, type, "d", ehr.profile.delete)
    with ehr.store.atomic():
        now = ehr.store.current(type, id)
        if now is None:
            raise not_found()
        _heed_if_match(ehr, call, now)
        if now.resource is not None:
            ehr.store.put(type, id, None, "DELETE")
    return _deleted(ehr)


def delete_matching(ehr: Ehr, call: Call, type: str) -> Answer:
    """DELETE of the one that a search finds."""
    _conditional(ehr)
    allowed(ehr, call, type, "d", ehr.profile.delete)
    with ehr.store.atomic():
        now = _matching(ehr, type, call.query)
        if now:
            ehr.store.put(type, _only(now).id, None, "DELETE")
    return _deleted(ehr)


def _checked(ehr: Ehr, call: Call, type: str) -> Resource:
    """The resource in the body, with what must be in it."""
    resource = call.resource()
    if resource["resourceType"] != type:
        raise invalid("Incorrect resource type", "resourceType")
    if not isinstance(resource.get("meta", {}), dict) or not _ID.fullmatch(str(resource.get("id", "-"))):
        raise invalid("Invalid meta or id", type)
    if type == "Subscription" and not _is_subscription(resource):
        raise invalid("Invalid channel or criteria", type)
    if not call.inside or ehr.profile.checks_transactions:
        _refuse_missing(ehr, resource)
    return resource


def _is_subscription(resource: Resource) -> bool:
    """Whether what is called later can be."""
    channel = resource.get("channel", {})
    if not isinstance(channel, dict) or not isinstance(resource.get("criteria", ""), str):
        return False
    extensions, headers = resource.get("extension", []), channel.get("header", [])
    if not isinstance(extensions, list) or not isinstance(headers, list):
        return False
    sendable = all(isinstance(each, str) and each.isascii() and each.isprintable() for each in headers)
    return sendable and all(isinstance(each, dict) for each in extensions)


def _refuse_missing(ehr: Ehr, resource: Resource) -> None:
    lacking = missing(resource)
    if lacking:
        code = "structure" if ehr.profile.words_in == "details" else "required"
        raise Refusal(ehr.profile.missing_status, code, "Missing required property", f"{resource['resourceType']}.{lacking}")


def _matching(ehr: Ehr, type: str, criteria: Pairs) -> list[Version]:
    if not [name for name, value in criteria if value]:
        raise precondition_failed("A condition needs a search parameter")
    found = ehr.searching.find(type, criteria, strict=True).matches
    return [version for each in found if (version := ehr.store.current(type, each["id"]))]


def _only(found: list[Version]) -> Version:
    if len(found) > 1:
        raise precondition_failed("Multiple resources found matching condition")
    return found[0]


def _overlap(ehr: Ehr, call: Call) -> None:
    """Lets other writes come between what this one saw and what it does, where the vendor lets them."""
    races = ehr.profile.overlapping_conflict or ehr.profile.create_copies > 1
    if races and not call.inside and ehr.options.race_window_s:
        time.sleep(ehr.options.race_window_s)


def _lose_overlap(ehr: Ehr, *, overlapped: bool) -> None:
    if overlapped and ehr.loses_overlap():
        raise Refusal(409, "conflict", "could not serialize access due to concurrent update", vendor_code="40001")


def _heed_if_match(ehr: Ehr, call: Call, now: Version | None) -> None:
    wanted = call.headers.get("if-match", "").strip()
    if not wanted or wanted == "*":
        return
    if now is None or wanted.removeprefix("W/").strip('"') != now.version_id:
        if ehr.profile.stale_status == 409:
            raise Refusal(409, "conflict", "The resource has changed since it was read")
        raise precondition_failed()


def _patched(ehr: Ehr, now: Version, operations: list[Any]) -> Resource:
    refusals: dict[type[Exception], Callable[[str], Refusal]] = {
        jsonpatch.JsonPatchTestFailed: lambda words: Refusal(ehr.profile.failed_test_status, "processing", f"Test failed: {words}"),
        jsonpatch.JsonPatchException: lambda words: invalid(f"Patch cannot be applied: {words}"),
        jsonpointer.JsonPointerException: lambda words: invalid(f"Patch cannot be applied: {words}"),
    }
    try:
        made = jsonpatch.apply_patch(now.resource, operations)
    except tuple(refusals) as error:
        raise next(refuse for kind, refuse in refusals.items() if isinstance(error, kind))(str(error)) from None
    except (TypeError, KeyError, AttributeError) as error:
        raise invalid(f"Patch cannot be applied: {error}") from None
    if not isinstance(made, dict):
        raise invalid("A patch must leave a resource")
    return made


def _insert(ehr: Ehr, type: str, resource: Resource) -> Version:
    return ehr.store.put(type, ehr.store.new_id(), resource, "POST")


def _replace(ehr: Ehr, now: Version, resource: Resource) -> Version:
    if ehr.profile.unchanged_keeps_version and _content(resource) == _content(now.resource or {}):
        return now
    return ehr.store.put(now.type, now.id, resource, "PUT")


def _content(resource: Resource) -> Resource:
    meta = {name: value for name, value in resource.get("meta", {}).items() if name not in ("versionId", "lastUpdated")}
    return {**{name: value for name, value in resource.items() if name != "id"}, "meta": meta}


def _conditional(ehr: Ehr) -> None:
    if not ehr.profile.conditional:
        raise not_supported("Conditional interactions are not supported")


def _deleted(ehr: Ehr) -> Answer:
    if ehr.profile.delete_status == 204:
        return Answer(204)
    return Answer(200, outcome("information", "informational", "All OK", ehr.profile))


def _written(ehr: Ehr, call: Call, version: Version, status: int) -> Answer:
    headers = {"ETag": f'W/"{version.version_id}"', "Last-Modified": format_datetime(version.updated, usegmt=True)}
    headers["Location"] = f"{call.base_url}/{version.type}/{version.id}/_history/{version.version_id}"
    quiet = "return=minimal" in call.headers.get("prefer", "") or not ehr.profile.returns_written
    return Answer(status, None if quiet and not call.inside else version.resource, headers)
