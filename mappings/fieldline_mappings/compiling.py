"""From a mapping document and a model's signature to a plan, with everything checked before anything runs."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from fieldline_core.errors import Misconfigured
from fieldline_core.findings import Finding, Severity, did_you_mean, errors
from fieldline_core.schema import Entity, FieldType
from fieldline_core.signature import Signature
from fieldline_mappings.checked import Checked, check
from fieldline_mappings.document import Feature, FeatureType, MappingDocument, canonical
from fieldline_mappings.features import Column, columns, encode
from fieldline_mappings.inputs import Filled, fill
from fieldline_mappings.plan import CompiledPlan

_NUMERIC = {FieldType.NUMBER, FieldType.INTEGER, FieldType.DECIMAL, FieldType.BOOLEAN, FieldType.TEXT}
_READABLE: dict[FieldType, set[FieldType]] = {
    FieldType.NUMBER: _NUMERIC, FieldType.INTEGER: _NUMERIC, FieldType.DECIMAL: _NUMERIC, FieldType.BOOLEAN: _NUMERIC,
    FieldType.TEXT: set(FieldType) - {FieldType.LIST}, FieldType.DATE: {FieldType.DATE, FieldType.DATETIME, FieldType.TEXT},
    FieldType.DATETIME: {FieldType.DATE, FieldType.DATETIME, FieldType.TEXT},
    FieldType.TIME: {FieldType.TIME, FieldType.DATETIME, FieldType.TEXT},
}  # fmt: skip


def compile_mapping(document: MappingDocument, signature: Signature) -> CompiledPlan:
    """The plan; raises Misconfigured with all that does not fit the model."""
    checked = check(document, signature)
    all_columns = _columns(checked)
    filled, findings = fill(document, signature, all_columns)
    findings += [*checked.findings, *_within(checked, all_columns)]
    if wrong := errors(findings):
        raise Misconfigured("\n- ".join([f"mapping {document.mapping!r} does not fit the model:", *(each.words for each in wrong)]))
    dtypes = _dtypes(filled)
    encoded = [
        encode(feature, type, position, dtypes)
        for position, (feature, type) in enumerate(zip(document.features, checked.types, strict=True))
    ]
    return CompiledPlan(checked, _digest(document, signature), all_columns, encoded, filled)


def lint_mapping(document: MappingDocument, signature: Signature | None = None, entity: Entity | None = None) -> list[Finding]:
    """Everything that can be found without running: in the mapping itself, against the model, against the source."""
    checked = check(document, signature, entity)
    all_columns = _columns(checked)
    findings = [*checked.findings, *_within(checked, all_columns)]
    if signature:
        findings += fill(document, signature, all_columns)[1]
    return findings + list(_against(document, entity) if entity else ())


def _columns(checked: Checked) -> list[Column]:
    features = zip(checked.document.features, checked.types, strict=True)
    return [column for position, (feature, type) in enumerate(features) for column in columns(feature, type, position)]


def _dtypes(filled: Iterable[Filled]) -> dict[str, str]:
    """The type of the input that each column fills, the narrowest where it fills several."""
    numeric = [each for each in filled if each.tensor.dtype != "string"]
    widest_first = sorted(numeric, key=lambda each: -np.dtype(each.tensor.dtype).itemsize)
    return {column.name: each.tensor.dtype for each in widest_first for column in each.columns}


def _digest(document: MappingDocument, signature: Signature) -> str:
    model = json.dumps(signature.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{canonical(document)}\n{model}".encode()).hexdigest()


def _within(checked: Checked, all_columns: Sequence[Column]) -> Iterator[Finding]:
    document, seen = checked.document, set[str]()
    for column in all_columns:
        if column.name in seen:
            message = f"there are two features {column.name!r}."
            yield Finding("duplicate-name", f"features[{column.feature}]", message, "Give one another `name`.")
        seen.add(column.name)
    names = [field.name for field in document.written]
    for position, name in enumerate(names):
        if name in names[:position]:
            reserved = "`reason` is written under this name: give the field another."
            reserved = reserved if position == len(document.fields) else "Remove one of the two, or name it otherwise."
            yield Finding("duplicate-name", f"fields[{names.index(name)}].name", f"field {name!r} is written twice.", reserved)
    yield from _two_types(document)
    for position, (feature, type) in enumerate(zip(document.features, checked.types, strict=True)):
        yield from _fill_misfit(feature.fill if feature.type is None and not feature.categories else None, type, position)
        yield from _check_misfit(feature, type, position)


def _two_types(document: MappingDocument) -> Iterator[Finding]:
    types: dict[str, str] = {}
    for position, feature in enumerate(document.features):
        if feature.field and feature.field not in document.record:
            own = feature.type or "number"
            other = types.setdefault(feature.field, own)
            if other != own:
                message = f"field {feature.field!r} is read as {other} above, and as {own} here."
                yield Finding("two-types", f"features[{position}].type", message, "Read it as one type, or write a formula.")


def _fill_misfit(fill: object, type: str, position: int) -> Iterator[Finding]:
    fits = {"number": (int, float), "integer": (int,), "text": (str,), "boolean": (bool,)}[type]
    if fill is not None and (not isinstance(fill, fits) or (isinstance(fill, bool) and type != "boolean")):
        words = {"number": "a number", "integer": "a whole number", "text": "a text in quotes", "boolean": "true or false"}[type]
        message = f"the feature is {type}, and {fill!r} is not."
        yield Finding("wrong-type", f"features[{position}].if_blank", message, f"Write {words}, hold or flag.")


def _check_misfit(feature: Feature, type: FeatureType, position: int) -> Iterator[Finding]:
    check, numeric = feature.check, type in ("number", "integer")
    listed = all(isinstance(value, str) == (type == "text") for value in check.one_of) and type != "boolean"
    for part, wanted, given, fits in (
        ("clip", "numbers", feature.clip, numeric),
        # A clipped whole number is one.
        ("clip", "whole numbers", feature.clip, type != "integer" or all(map(float.is_integer, feature.clip or ()))),
        ("check.at_least", "numbers", check.at_least, numeric),
        ("check.at_most", "numbers", check.at_most, numeric),
        ("check.max_length", "texts", check.max_length, type == "text"),
        ("check.one_of", "texts for a text, numbers for a number", check.one_of or None, listed),
    ):
        if given is not None and not fits:
            message = f"feature {feature.name!r} is {type}, and `{part}` takes {wanted}."
            yield Finding("wrong-type", f"features[{position}].{part}", message, "Remove it.")


def _against(document: MappingDocument, entity: Entity) -> Iterator[Finding]:
    known = {field.name: field for field in entity.fields}
    for name, type in document.record_types.items():
        if not isinstance(type, FieldType):
            continue
        path = _path_of(document, name)
        if found := known.get(name):
            if found.type not in _READABLE[type]:
                message = f"field {name!r} is of type {found.type}, which cannot be read as {type}."
                moment = found.type in (FieldType.DATE, FieldType.DATETIME)
                formula = f", and write a formula: DAYS_SINCE({name})" if moment and path.startswith("features") else ""
                yield Finding("unreadable-type", path, message, f"List `{name}: {found.type}` under `record`{formula}.")
            continue
        # A path may lead into another object, whose fields were not discovered with this one.
        severity = Severity.WARNING if "." in name else Severity.ERROR
        yield Finding("unknown-field", path, f"{entity.name} has no field {name!r}.", did_you_mean(name, known), severity=severity)


def _path_of(document: MappingDocument, name: str) -> str:
    """Where a field is named first."""
    if name in document.record:
        return f"record.{name}"
    return next(f"features[{position}].field" for position, feature in enumerate(document.features) if feature.field == name)
