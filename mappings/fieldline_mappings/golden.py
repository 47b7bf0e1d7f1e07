"""Golden records: what a mapping must make of the records that stand in its own document."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from fieldline_core.findings import did_you_mean
from fieldline_core.pipeline.records import batch_of
from fieldline_core.schema import FieldType
from fieldline_core.signature import Signature, Tensor
from fieldline_mappings.checked import Checked, check, lineage
from fieldline_mappings.compiling import compile_mapping
from fieldline_mappings.document import GoldenRecord, MappingDocument
from fieldline_mappings.plan import CompiledPlan

_NO_CLOCK = datetime(2000, 1, 1, tzinfo=UTC)
_CLOSE = 1e-9
_DTYPES: dict[str, pl.DataType] = {
    "float32": pl.Float32(), "float64": pl.Float64(), "bool": pl.Boolean(), "string": pl.String(),
    "int8": pl.Int8(), "int16": pl.Int16(), "int32": pl.Int32(), "int64": pl.Int64(),
    "uint8": pl.UInt8(), "uint16": pl.UInt16(), "uint32": pl.UInt32(), "uint64": pl.UInt64(),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Failure:
    """One thing that is not as the golden record says: `part` is `feature`, `field`, `held` or `test`."""

    part: str
    name: str
    expected: Any
    given: Any
    note: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one golden record; `position` is its place in the document."""

    position: int
    name: str
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class _Made:
    """What the mapping made of one record; `lost` holds the features that could not be computed, with the reason."""

    features: Mapping[str, Any]
    lost: Mapping[str, str]
    fields: Mapping[str, Any]
    held: str | None


def run_golden(document: MappingDocument, signature: Signature | None = None) -> list[Outcome]:
    """Runs every golden record; without a signature the outputs have the types of what the records give for them.

    Raises Misconfigured where the mapping itself is wrong.
    """
    known = signature or _inferred(document)
    checked = check(document, known)
    plan = compile_mapping(document if signature else _computable(document, checked), known)
    return [
        Outcome(position, golden.name, tuple(_failures(golden, plan, checked, known)))
        for position, golden in enumerate(document.tests)
    ]


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same: numbers up to a relative difference of 1e-9, true is 1."""
    if one is None or other is None or isinstance(one, str) or isinstance(other, str):
        return type(one) is type(other) and bool(one == other)
    if isinstance(one, int) and isinstance(other, int):
        return one == other
    if isinstance(one, float | int) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=_CLOSE)
    return bool(one == other)


def _inferred(document: MappingDocument) -> Signature:
    """A model without inputs, whose outputs are those that the golden records give."""
    given: dict[str, list[Any]] = {}
    for golden in document.tests:
        for name, value in golden.outputs.items():
            given.setdefault(name, []).append(value)
    outputs = tuple(Tensor(name=name, dtype=_dtype(values), shape=(None, 1)) for name, values in given.items())
    return Signature(inputs=(), outputs=outputs)


def _dtype(values: list[Any]) -> str:
    if any(isinstance(value, str) for value in values):
        return "string"
    if all(isinstance(value, bool) for value in values):
        return "bool"
    return "int64" if all(isinstance(value, int) for value in values) else "float64"


def _computable(document: MappingDocument, checked: Checked) -> MappingDocument:
    """The document without the fields that name outputs which no record gives, and without the model's inputs."""
    roots = dict(zip((field.name for field in document.written), checked.fields, strict=True))
    fields = tuple(field for field in document.fields if roots[field.name] >= 0)
    reason = document.reason if checked.fields and checked.fields[-1] >= 0 else None
    return document.model_copy(update={"fields": fields, "reason": reason, "inputs": {}})


def _failures(golden: GoldenRecord, plan: CompiledPlan, checked: Checked, signature: Signature) -> Iterator[Failure]:
    if golden.now is None and checked.checker.uses_clock:
        words = "the mapping asks what time it is: give the record a `now`, such as 2026-03-01T12:00:00Z"
        yield Failure("test", "now", None, None, words)
        return
    complaints = [*_unknown_outputs(golden, signature), *_missing_outputs(golden, checked)]
    yield from complaints
    if not complaints:
        made = _made(golden, plan, signature)
        yield from _held(golden, made)
        yield from _features(golden, made)
        yield from _fields(golden, made, plan.fields_written())


def _unknown_outputs(golden: GoldenRecord, signature: Signature) -> Iterator[Failure]:
    for name in golden.outputs:
        if signature.output(name) is None:
            meant = did_you_mean(name, signature.output_columns())
            yield Failure("test", name, None, None, f"the model has no output {name!r}. {meant}".rstrip())


def _missing_outputs(golden: GoldenRecord, checked: Checked) -> Iterator[Failure]:
    for name, expected in golden.fields.items():
        for place, field in enumerate(checked.document.written):
            if field.name != name:
                continue
            wrong = [found.words for found in checked.findings if found.path in (f"fields[{place}].formula", "reason")]
            _, needed = lineage(checked, [checked.fields[place]])
            lacking = [f"the record gives no output {output!r}" for output in sorted(needed - golden.outputs.keys())]
            if checked.fields[place] < 0 or lacking:
                yield Failure("field", name, expected, None, (lacking or wrong or ["it cannot be computed"])[0])


def _made(golden: GoldenRecord, plan: CompiledPlan, signature: Signature) -> _Made:
    # As JSON: YAML reads 2026-03-01 as a date, and a record holds texts for those.
    record = golden.model_dump(mode="json", include={"record"})["record"]
    batch, unread = batch_of([(golden.name, record)], plan.fields_read())
    clock = golden.now.astimezone(UTC) if golden.now else _NO_CLOCK
    sifted = plan.features(batch, clock)
    reasons = plan.reasons(batch, clock)[0]
    features = sifted.frame.row(0, named=True)
    lost = {column.name: reasons[column.feature] for column in plan.columns if column.feature in reasons}
    held = unread.get(0) or sifted.held.get(0)
    if held or not (golden.fields or golden.outputs):
        return _Made(features, lost, {}, held)
    written = plan.fields(batch, _outputs(golden, plan, signature), clock)
    return _Made(features, lost, written.frame.row(0, named=True), written.held.get(0))


def _outputs(golden: GoldenRecord, plan: CompiledPlan, signature: Signature) -> pl.DataFrame:
    """What the model answers: null for outputs that only fields need which are not looked at."""
    _, needed = lineage(plan.checked, plan.checked.fields)
    types = {name: tensor.dtype for name in needed | golden.outputs.keys() if (tensor := signature.output(name))}
    return pl.DataFrame([pl.Series(name, [golden.outputs.get(name)], dtype=_DTYPES[type]) for name, type in types.items()])


def _held(golden: GoldenRecord, made: _Made) -> Iterator[Failure]:
    if golden.held is None:
        if made.held is not None:
            yield Failure("held", "", None, made.held)
    elif made.held is None or golden.held.lower() not in made.held.lower():
        yield Failure("held", "", golden.held, made.held)


def _features(golden: GoldenRecord, made: _Made) -> Iterator[Failure]:
    for name, expected in golden.features.items():
        if name not in made.features:
            meant = did_you_mean(name, made.features)
            yield Failure("feature", name, expected, None, f"there is no such feature. {meant}".rstrip())
        elif name in made.lost:
            yield Failure("feature", name, expected, None, made.lost[name])
        elif not same(expected, _plain(made.features[name])):
            yield Failure("feature", name, expected, _plain(made.features[name]))


def _fields(golden: GoldenRecord, made: _Made, types: Mapping[str, FieldType]) -> Iterator[Failure]:
    for name, expected in golden.fields.items():
        if name not in types:
            yield Failure("field", name, expected, None, f"there is no such field. {did_you_mean(name, types)}".rstrip())
        elif made.held is None and not same(expected, _comparable(made.fields[name], expected)):
            yield Failure("field", name, expected, _plain(made.fields[name]))


def _comparable(given: Any, expected: Any) -> Any:
    """A given value as the kind of thing that is expected: a decimal travels as its text."""
    if isinstance(given, str) and isinstance(expected, int | float):
        try:
            return float(given)
        except ValueError:
            return given
    return _plain(given)


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else value.isoformat()


__all__ = ["Failure", "Outcome", "run_golden", "same"]
