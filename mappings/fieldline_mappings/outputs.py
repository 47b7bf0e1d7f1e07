"""What each field to write is: an expression over the model's outputs."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from fieldline_core.findings import Finding, did_you_mean
from fieldline_core.schema import POLARS_TYPES, FieldType
from fieldline_core.signature import Signature, Tensor
from fieldline_mappings.document import MappingDocument, OutputField


@dataclass(frozen=True, slots=True)
class Written:
    """A field to write: its type, its expression over the outputs, and why a row has none where that is null."""

    name: str
    output: str
    type: FieldType
    value: pl.Expr
    reason: str


def written(field: OutputField, tensor: Tensor) -> Written:
    """The field from a column of this output."""
    given = pl.col(field.output)
    where = f"field {field.name!r}: the model's output {field.output!r}"
    if field.labels:
        label = _labelled(field, tensor, given)
        return Written(field.name, field.output, FieldType.TEXT, label, f"{where} is not among its labels")
    if field.thresholds:
        return Written(field.name, field.output, FieldType.TEXT, _ranged(field, tensor, given), f"{where} is no number")
    kind = _type(field, tensor)
    value = _number(field, given).cast(POLARS_TYPES[kind], strict=False) if _numeric(tensor) else given.cast(POLARS_TYPES[kind])
    # NaN and infinity become null here, and a null holds its row.
    finite = pl.when(value.is_finite()).then(value) if kind is FieldType.NUMBER else value
    return Written(field.name, field.output, kind, finite, f"{where} is no number that can be written")


def check(document: MappingDocument, signature: Signature) -> list[Finding]:
    """What does not fit between the fields and the model's outputs."""
    findings: list[Finding] = []
    for position, field in enumerate(document.fields):
        path, tensor = f"fields[{position}]", signature.output(field.output)
        if tensor is None:
            known = signature.output_columns()
            suggestion = did_you_mean(field.output, known) or f"There are {', '.join(known[:20])}{' …' if len(known) > 20 else ''}."
            findings.append(Finding("unknown-output", f"{path}.output", f"the model has no output {field.output!r}.", suggestion))
        elif not _numeric(tensor) and (field.thresholds or field.scale is not None or field.round is not None):
            message = f"the model's output {field.output!r} is {tensor.dtype}, and only numbers have thresholds, scale and round."
            findings.append(Finding("wrong-type", path, message, "Use `labels`, or take it as it is."))
        else:
            findings += _unknown_labels(field, tensor, path)
    return findings


def _unknown_labels(field: OutputField, tensor: Tensor, path: str) -> list[Finding]:
    found = []
    for key in field.labels:
        try:
            _key(tensor)(key)
        except ValueError:
            message = f"the model's output {field.output!r} is {tensor.dtype}, and never {key!r}."
            found.append(Finding("wrong-type", f"{path}.labels.{key}", message))
    return found


def _numeric(tensor: Tensor) -> bool:
    return tensor.dtype.startswith(("float", "int", "uint", "double"))


def _type(field: OutputField, tensor: Tensor) -> FieldType:
    if not _numeric(tensor):
        return FieldType.BOOLEAN if tensor.dtype == "bool" else FieldType.TEXT
    whole = field.round == 0 or (field.scale is None and not tensor.dtype.startswith(("float", "double")))
    return FieldType.INTEGER if whole else FieldType.NUMBER


def _number(field: OutputField, given: pl.Expr) -> pl.Expr:
    if field.scale is None and field.round is None:
        return given
    scaled = given.cast(pl.Float64) * (1.0 if field.scale is None else field.scale)
    return scaled if field.round is None else scaled.round(field.round, mode="half_away_from_zero")


def _ranged(field: OutputField, tensor: Tensor, given: pl.Expr) -> pl.Expr:
    number = given.cast(pl.Float64)
    label = pl.lit(field.otherwise, pl.String)
    for threshold in sorted(field.thresholds, key=lambda threshold: threshold.at):
        # A float32 model that answers 0.7 answers 0.699999988: the threshold is rounded as the model's numbers are.
        at = float(np.float32(threshold.at)) if tensor.dtype == "float32" else threshold.at
        label = pl.when(number >= at).then(pl.lit(threshold.label)).otherwise(label)
    return pl.when(number.is_finite()).then(label)


def _labelled(field: OutputField, tensor: Tensor, given: pl.Expr) -> pl.Expr:
    keys = [_key(tensor)(key) for key in field.labels]
    dtype = {str: pl.String, int: pl.Int64, float: pl.Float64, bool: pl.Boolean}[type(keys[0])]
    return given.cast(dtype).replace_strict(keys, list(field.labels.values()), default=None, return_dtype=pl.String)


def _key(tensor: Tensor) -> Callable[[str], str | int | float | bool]:
    if tensor.dtype == "bool":
        return lambda key: bool(["false", "true"].index(key))
    if tensor.dtype.startswith(("float", "double")):
        return float
    return int if _numeric(tensor) else str
