"""Whether a write operation fits its object, as the running user sees it: the same answers when it is linted and when it runs."""

from collections.abc import Iterator, Mapping

from fieldline_connectors.salesforce.config import CHANGED_AT, SalesforceTarget
from fieldline_connectors.salesforce.describe import FieldInfo, ObjectInfo
from fieldline_connectors.salesforce.errors import NOT_SEEN
from fieldline_core.errors import Misconfigured
from fieldline_core.findings import Finding, Severity, did_you_mean, errors
from fieldline_core.schema import FieldType

_MARK_CHARS = 64
_NUMBERS = (FieldType.NUMBER, FieldType.INTEGER, FieldType.DECIMAL)
_TAKES: Mapping[FieldType, tuple[FieldType, ...]] = {
    FieldType.NUMBER: _NUMBERS,
    FieldType.INTEGER: _NUMBERS,
    FieldType.BOOLEAN: (FieldType.BOOLEAN,),
    FieldType.DATE: (FieldType.DATE,),
    FieldType.DATETIME: (FieldType.DATETIME,),
    FieldType.TIME: (FieldType.TIME,),
}


_RULE = "does-not-fit"


def misfits(info: ObjectInfo, target: SalesforceTarget, given: Mapping[str, FieldType] | None = None) -> Iterator[Finding]:
    """What does not fit; `given` are the types of the mapping's fields, where they are known."""
    yield from _key(info, target)
    for name in (*target.fields, *target.constants):
        part = "fields" if name in target.fields else "constants"
        field = info.fields.get(name.lower())
        if field is None:
            yield _wrong(f"{part}.{name}", _unknown(info, name))
            continue
        if never := next(_unwriteable(info, field, target), None):
            yield _wrong(f"{part}.{name}", never)
            continue
        wanted = (given or {}).get(target.fields.get(name, ""))
        yield from _types(part, name, info, field, wanted)
    for name, value in target.constants.items():
        field = info.fields.get(name.lower())
        if field and field.restricted and not field.picked([str(value)]) <= set(field.choices):
            yield _wrong(f"constants.{name}", f"{info.name}.{field.name} takes {', '.join(field.choices[:20])}, not {value!r}")
    asked_for = target.check_record and "check_record" in target.model_fields_set
    if asked_for and CHANGED_AT.lower() not in info.fields:
        yield _wrong("check_record", f"{info.name} has no {CHANGED_AT}, so it cannot be seen whether a record was changed")
    if target.marker:
        yield from _marker(info, target.marker)


def fitting(info: ObjectInfo, target: SalesforceTarget) -> Mapping[str, FieldInfo]:
    """The fields to write, by their names in the target; raises Misconfigured with what does not fit."""
    if wrong := [found.message for found in errors(misfits(info, target))]:
        raise Misconfigured("; ".join(wrong[:5]))
    return {name: info.fields[name.lower()] for name in (*target.fields, *target.constants)}


def _key(info: ObjectInfo, target: SalesforceTarget) -> Iterator[Finding]:
    key = info.fields.get(target.key.lower())
    if key is None:
        yield _wrong("key", _unknown(info, target.key))
    elif target.operation == "upsert" and not (key.external_id and key.unique):
        yield _wrong("key", f"{info.name}.{key.name} is not a unique external id, so an upsert could hit several records: "
                     "tick 'External ID' and 'Unique' on the field, or name another key")  # fmt: skip
    elif target.operation == "create" and not key.createable:
        yield _wrong("key", f"the integration user may not set {info.name}.{key.name}: give it Edit access in the permission set")


def _unwriteable(info: ObjectInfo, field: FieldInfo, target: SalesforceTarget) -> Iterator[str]:
    place = f"{info.name}.{field.name}"
    if not field.flat:
        yield f"{place} holds several values at once ({field.kind}): write its parts instead"
    elif field.calculated:
        yield f"{place} is a formula, which Salesforce computes itself: write to another field"
    elif target.operation == "create" and not field.createable:
        yield f"{place} cannot be set by the integration user: give it Edit access in the permission set"
    elif target.operation != "create" and not field.updateable:
        yield (f"{place} is read-only for the integration user: give it Edit access in the permission set "
               "(fields that Salesforce keeps itself can never be written)")  # fmt: skip


def _types(part: str, name: str, info: ObjectInfo, field: FieldInfo, given: FieldType | None) -> Iterator[Finding]:
    place = f"{info.name}.{field.name}"
    taken = _TAKES.get(field.type)
    if given is None or taken is None or given in taken:
        if given is FieldType.LIST:
            yield _wrong(f"{part}.{name}", f"{place} takes one value, not a list")
        if given is FieldType.TEXT and 0 < field.length < 255 and field.kind not in ("picklist", "id", "reference"):
            yield _wrong(f"{part}.{name}", f"{place} takes {field.length} characters: a longer text will be refused", maybe=True)
        return
    yield _wrong(f"{part}.{name}", f"{place} takes a {field.type}, and the mapping gives a {given}")


def _marker(info: ObjectInfo, name: str) -> Iterator[Finding]:
    field = info.fields.get(name.lower())
    if field is None:
        yield _wrong("marker", _unknown(info, name))
    elif not field.createable or not field.text or field.length < _MARK_CHARS or field.kind == "textarea":
        yield _wrong("marker", f"{info.name}.{field.name} cannot take our mark: it must be a text field of at least "
                     f"{_MARK_CHARS} characters that the integration user may edit")  # fmt: skip


def _unknown(info: ObjectInfo, name: str) -> str:
    meant = did_you_mean(name, [field.name for field in info.fields.values()])
    return f"the field {name} of {info.name} {NOT_SEEN}{'. ' + meant if meant else ''}"


def _wrong(path: str, words: str, *, maybe: bool = False) -> Finding:
    return Finding(_RULE, path, words, severity=Severity.WARNING if maybe else Severity.ERROR)
