"""Which columns fill which input of the model, and the arrays that they make."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from fieldline_core.findings import Finding, Severity, did_you_mean
from fieldline_core.signature import Signature, Tensor
from fieldline_mappings.document import MappingDocument
from fieldline_mappings.features import Column, Kind

_POLARS: dict[str, type[pl.DataType]] = {
    "float32": pl.Float32, "float64": pl.Float64, "bool": pl.Boolean, "string": pl.String,
    "int8": pl.Int8, "int16": pl.Int16, "int32": pl.Int32, "int64": pl.Int64,
    "uint8": pl.UInt8, "uint16": pl.UInt16, "uint32": pl.UInt32, "uint64": pl.UInt64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Filled:
    """One input of the model and the columns that fill it, in order."""

    tensor: Tensor
    columns: tuple[Column, ...]

    def array(self, features: pl.DataFrame) -> Any:
        """The columns as a C-contiguous array of the input's type and rank."""
        cells = features.select(pl.col(column.name).cast(_POLARS[self.tensor.dtype]) for column in self.columns)
        array = cells.to_numpy(order="c")
        array = array.astype(object) if self.tensor.dtype == "string" else array
        return array.reshape(-1) if len(self.tensor.shape) == 1 else array


def fill(document: MappingDocument, signature: Signature, columns: Sequence[Column]) -> tuple[list[Filled], list[Finding]]:
    """Every input with its columns, and what does not fit."""
    wanted = _wanted(document, signature)
    filled: list[Filled] = []
    findings: list[Finding] = []
    for name, features in wanted.items():
        path = f"inputs.{name}" if name in document.inputs else "features"
        tensor = signature.input(name)
        if tensor is None:
            known = [each.name for each in signature.inputs]
            findings.append(Finding("unknown-input", path, f"the model has no input {name!r}.", _suggest(name, known)))
            continue
        chosen, missing = _chosen(features, document, columns, path)
        filled.append(Filled(tensor, chosen))
        findings += missing or _misfits(filled[-1], document, path)
    findings += _unfilled(document, signature, wanted) + _unused(document, filled)
    return filled, findings


def _wanted(document: MappingDocument, signature: Signature) -> dict[str, tuple[str, ...]]:
    names = tuple(feature.name for feature in document.features)
    if document.inputs:
        return dict(document.inputs)
    if len(signature.inputs) == 1:
        return {signature.inputs[0].name: names}
    return {tensor.name: (tensor.name,) for tensor in signature.inputs if tensor.name in names}


def _chosen(
    features: Sequence[str], document: MappingDocument, columns: Sequence[Column], path: str
) -> tuple[tuple[Column, ...], list[Finding]]:
    by_name: dict[str, tuple[Column, ...]] = {column.name: (column,) for column in columns}
    by_name |= {
        feature.name: tuple(column for column in columns if column.feature == position)
        for position, feature in enumerate(document.features)
    }
    missing = [
        Finding("unknown-feature", f"{path}[{position}]", f"there is no feature {name!r}.", _suggest(name, list(by_name)))
        for position, name in enumerate(features)
        if name not in by_name
    ]
    return tuple(column for name in features for column in by_name.get(name, ())), missing


def _misfits(filled: Filled, document: MappingDocument, path: str) -> list[Finding]:
    tensor, findings = filled.tensor, []
    if len(tensor.shape) not in (1, 2) or tensor.dtype not in _POLARS:
        shape = " by ".join("?" if size is None else str(size) for size in tensor.shape)
        message = f"the model's input {tensor.name!r} is {tensor.dtype}, {shape}: a mapping fills tables of numbers or texts."
        return [Finding("unfit-input", path, message)]
    if tensor.width not in (None, len(filled.columns)):
        given = f"the features give {len(filled.columns)} ({_names(filled.columns)})"
        message = f"the model's input {tensor.name!r} takes {tensor.width} values for each row, {given}."
        few = len(filled.columns) < (tensor.width or 0)
        change = "Add those that are missing" if few else "Remove those that it was not trained on"
        findings.append(Finding("wrong-width", path, message, f"{change}; the order is the model's."))
    for column in filled.columns:
        if not _fits(column.kind, tensor.dtype):
            message = f"feature {column.name!r} is {column.kind}, and the model's input {tensor.name!r} takes {tensor.dtype}."
            findings.append(Finding("wrong-type", f"features[{column.feature}]", message, _remedy(column, tensor)))
    return findings


def _fits(kind: Kind, dtype: str) -> bool:
    match kind:
        case Kind.TEXT:
            return dtype == "string"
        case Kind.NUMBER:
            return dtype.startswith("float")
        case Kind.INTEGER:
            return dtype not in ("bool", "string")
    return dtype != "string"


def _remedy(column: Column, tensor: Tensor) -> str:
    if column.kind is Kind.TEXT:
        return "List its `categories`, and choose `encode: onehot` or `encode: index`."
    if tensor.dtype == "string":
        return "Use `type: text` with `encode: text`."
    return "Use `type: integer`." if column.kind is Kind.NUMBER else "Use `type: boolean`."


def _unfilled(document: MappingDocument, signature: Signature, wanted: dict[str, tuple[str, ...]]) -> list[Finding]:
    path, how = ("inputs", "List it") if document.inputs else ("features", "Give a feature its name, or list it under `inputs`")
    return [
        Finding("unfilled-input", path, f"nothing fills the model's input {tensor.name!r}.", f"{how}.")
        for tensor in signature.inputs
        if tensor.name not in wanted
    ]


def _unused(document: MappingDocument, filled: Sequence[Filled]) -> list[Finding]:
    used = {document.features[column.feature].name for each in filled for column in each.columns}
    return [
        Finding("unused-feature", f"features[{position}]", f"feature {feature.name!r} fills no input.", severity=Severity.WARNING)
        for position, feature in enumerate(document.features)
        if feature.name not in used and filled
    ]


def _suggest(word: str, known: Sequence[str]) -> str:
    return did_you_mean(word, known) or f"There are {', '.join(known[:20])}{' …' if len(known) > 20 else ''}."


def _names(columns: Sequence[Column]) -> str:
    names = [column.name for column in columns]
    return ", ".join(names) if len(names) <= 12 else f"{', '.join(names[:12])} and {len(names) - 12} more"
