"""From a mapping document and a model's signature to a plan, with everything checked before anything runs."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from fieldline_core.errors import Misconfigured
from fieldline_core.findings import Finding, Severity, did_you_mean, errors
from fieldline_core.schema import Entity, FieldType
from fieldline_core.signature import Signature
from fieldline_mappings import outputs
from fieldline_mappings.document import MappingDocument, canonical
from fieldline_mappings.features import Column, build, columns
from fieldline_mappings.inputs import Filled, fill
from fieldline_mappings.plan import CompiledPlan

_NUMERIC = {FieldType.NUMBER, FieldType.INTEGER, FieldType.DECIMAL, FieldType.BOOLEAN, FieldType.TEXT}
_READABLE: dict[str, set[FieldType]] = {
    "number": _NUMERIC, "integer": _NUMERIC, "boolean": _NUMERIC, "text": set(FieldType) - {FieldType.LIST},
    "date": {FieldType.DATE, FieldType.DATETIME, FieldType.TEXT}, "datetime": {FieldType.DATE, FieldType.DATETIME, FieldType.TEXT},
    "time": {FieldType.TIME, FieldType.DATETIME, FieldType.TEXT},
}  # fmt: skip
_CALENDAR = {"date", "datetime", "time"}


def compile_mapping(document: MappingDocument, signature: Signature) -> CompiledPlan:
    """The plan; raises Misconfigured with all that does not fit the model."""
    all_columns = _columns(document)
    filled, findings = fill(document, signature, all_columns)
    findings += [*_within(document, all_columns), *outputs.check(document, signature)]
    if wrong := errors(findings):
        raise Misconfigured("\n- ".join([f"mapping {document.mapping!r} does not fit the model:", *(each.words for each in wrong)]))
    dtypes = _dtypes(filled)
    built = [build(feature, position, document.timezone, dtypes) for position, feature in enumerate(document.features)]
    written = [outputs.written(field, tensor) for field in document.fields if (tensor := signature.output(field.output))]
    return CompiledPlan(document, _digest(document, signature), built, all_columns, filled, written)


def lint_mapping(document: MappingDocument, signature: Signature | None = None, entity: Entity | None = None) -> list[Finding]:
    """Everything that can be found without running: in the mapping itself, against the model, against the source."""
    all_columns = _columns(document)
    findings = list(_within(document, all_columns))
    if signature:
        findings += fill(document, signature, all_columns)[1] + outputs.check(document, signature)
    return findings + list(_against(document, entity) if entity else ())


def _columns(document: MappingDocument) -> list[Column]:
    return [column for position, feature in enumerate(document.features) for column in columns(feature, position)]


def _dtypes(filled: Iterable[Filled]) -> dict[str, str]:
    """The type of the input that each column fills, the narrowest where it fills several."""
    numeric = [each for each in filled if each.tensor.dtype != "string"]
    widest_first = sorted(numeric, key=lambda each: -np.dtype(each.tensor.dtype).itemsize)
    return {column.name: each.tensor.dtype for each in widest_first for column in each.columns}


def _digest(document: MappingDocument, signature: Signature) -> str:
    model = json.dumps(signature.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{canonical(document)}\n{model}".encode()).hexdigest()


def _within(document: MappingDocument, all_columns: Sequence[Column]) -> Iterator[Finding]:
    seen: set[str] = set()
    for column in all_columns:
        if column.name in seen:
            message = f"there are two features {column.name!r}."
            yield Finding("duplicate-name", f"features[{column.feature}]", message, "Give one another `name`.")
        seen.add(column.name)
    fields = [field.name for field in document.fields]
    for position, name in enumerate(fields):
        if name in fields[:position]:
            yield Finding("duplicate-name", f"fields[{position}].name", f"field {name!r} is written twice.")
    types: dict[str, str] = {}
    for position, feature in enumerate(document.features):
        other = types.setdefault(feature.field, feature.type)
        if other != feature.type and not {other, feature.type} <= _CALENDAR:
            message = f"field {feature.field!r} is read as {other} above, and as {feature.type} here."
            yield Finding("two-types", f"features[{position}].type", message, "Read it as one type.")


def _against(document: MappingDocument, entity: Entity) -> Iterator[Finding]:
    known = {field.name: field for field in entity.fields}
    for position, feature in enumerate(document.features):
        if found := known.get(feature.field):
            if found.type not in _READABLE[feature.type]:
                message = f"field {feature.field!r} is {found.type}, which cannot be read as {feature.type}."
                yield Finding("unreadable-type", f"features[{position}].type", message)
            continue
        # A path may lead into another object, whose fields were not discovered with this one.
        severity = Severity.WARNING if "." in feature.field else Severity.ERROR
        message = f"{entity.name} has no field {feature.field!r}."
        suggestion = did_you_mean(feature.field, known)
        yield Finding("unknown-field", f"features[{position}].field", message, suggestion, severity=severity)
