"""Pick lists: which values a field takes, for each record type, and whether what is written is among them."""

from collections.abc import Iterator, Mapping

from fieldline_connectors.salesforce.config import SalesforceTarget
from fieldline_connectors.salesforce.describe import FieldInfo, ObjectInfo
from fieldline_connectors.salesforce.org import Org
from fieldline_core.findings import Finding, Severity
from fieldline_core.ports import Texts

_RULE = "does-not-fit"
_MOST_RECORD_TYPES = 20
_MOST_NAMED = 20
Narrowed = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Field -> record type -> the values that its records take, where those are not all."""


def narrowed(org: Org, info: ObjectInfo) -> Narrowed:
    """The pick lists that some record types allow fewer values of; one API call for each record type."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    if not any(field.choices for field in info.fields.values()):
        return found
    for record_type, name in list(info.record_types.items())[:_MOST_RECORD_TYPES]:
        for field_name, allowed in org.choices(info, record_type).items():
            field = info.fields.get(field_name.lower())
            if field is not None and set(allowed) < set(field.choices):
                found.setdefault(field.name, {})[name] = allowed
    return found


def unlisted(org: Org, info: ObjectInfo, target: SalesforceTarget, texts: Texts) -> Iterator[Finding]:
    """What restricted pick lists will refuse of what is written."""
    written = {name: texts[source] for name, source in target.fields.items() if source in texts and _restricted(info, name)}
    constants = {name: frozenset({str(value)}) for name, value in target.constants.items() if _restricted(info, name)}
    if not written and not constants:
        return
    fewer = narrowed(org, info)
    for name, possible in written.items():
        yield from _findings(f"fields.{name}", info, info.fields[name.lower()], possible, fewer)
    for name, only in constants.items():
        field = info.fields[name.lower()]
        if field.picked(only) <= set(field.choices):
            yield from _findings(f"constants.{name}", info, field, only, fewer)


def _restricted(info: ObjectInfo, name: str) -> bool:
    field = info.fields.get(name.lower())
    return field is not None and field.restricted


def _findings(path: str, info: ObjectInfo, field: FieldInfo, possible: frozenset[str] | None, fewer: Narrowed) -> Iterator[Finding]:
    place, kinds, all_taken = f"{info.name}.{field.name}", fewer.get(field.name, {}), _named(field.choices)
    if possible is None:
        also = "".join(f"; records of the type {kind} take only {_named(allowed)}" for kind, allowed in kinds.items())
        words = f"{place} is a restricted pick list and takes only {all_taken}{also}. The formula may give other texts, whose rows "
        words += "will be refused: choose among fixed texts by IF or CASE, and they are checked here instead"
        yield Finding(_RULE, path, words, severity=Severity.WARNING)
        return
    picked = field.picked(possible)
    if wrong := sorted(picked - set(field.choices)):
        words = f"{place} is a restricted pick list: it takes {all_taken}, and the mapping can give {_named(wrong)}"
        yield Finding(_RULE, path, words)
    for kind, allowed in kinds.items():
        if refused := sorted((picked & set(field.choices)) - set(allowed)):
            words = f"{place} takes only {_named(allowed)} in records of the type {kind}, and the mapping can give "
            words += f"{_named(refused)}: assign the value to the record type, or leave such records out of the SOQL"
            yield Finding(_RULE, path, words, severity=Severity.WARNING)


def _named(values: tuple[str, ...] | list[str]) -> str:
    return f"{', '.join(values[:_MOST_NAMED])}{' …' if len(values) > _MOST_NAMED else ''}" or "nothing"
