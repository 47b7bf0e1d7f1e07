"""A document with its formulas parsed and typed, and everything that is wrong with them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from fieldline_core.findings import Finding
from fieldline_core.schema import Entity, FieldType
from fieldline_core.signature import Signature
from fieldline_mappings.document import Feature, FeatureType, MappingDocument
from fieldline_mappings.formula import Checker, FormulaError, Scope, Settings, Slot, Table, Type
from fieldline_mappings.formula.tree import Literal

_WHOLE = {
    "CEILING", "FLOOR", "MCEILING", "MFLOOR", "SIGN", "LEN", "FIND", "ASCII", "COUNT", "YEAR", "MONTH", "DAY", "WEEKDAY",
    "DAYOFYEAR", "ISOWEEK", "ISOYEAR", "HOUR", "MINUTE", "SECOND", "MILLISECOND", "UNIXTIMESTAMP", "DAYS_SINCE", "BUCKET",
    "HASH_BUCKET",
}  # fmt: skip
_CHOOSING = {"IF": (1, 2), "BLANKVALUE": (0, 1), "IFERROR": (0, 1), "ABS": (0,), "MIN": None, "MAX": None}

MOST_COLUMNS = 1000
"""Columns that can be named of an output of unknown width."""


@dataclass(slots=True)
class Checked:
    """The document's formulas as parts of one checker; `features` and `fields` are positions of their roots, -1 where wrong."""

    document: MappingDocument
    checker: Checker
    tables: dict[str, Table]
    features: list[int] = field(default_factory=list)
    types: list[FeatureType] = field(default_factory=list)
    fields: list[int] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    whole_outputs: set[str] = field(default_factory=set)
    """The columns of the model's outputs that are whole numbers."""
    feature_clock: bool = False
    """Whether a feature depends on the decision's clock."""

    @property
    def settings(self) -> Settings:
        """What decides how the formulas are computed."""
        return Settings(self.document.timezone, self.document.blanks == "zero", self.tables)

    def type_of(self, root: int) -> Type:
        """The type of a root."""
        return self.checker.parts[root].type


def check(document: MappingDocument, signature: Signature | None, entity: Entity | None = None) -> Checked:
    """Checks all formulas; without a signature, those of the fields are only parsed. The source's entity makes hints better."""
    tables = {name.lower(): Table(name, tuple(rows), tuple(rows.values())) for name, rows in document.tables.items()}
    scope = Scope.of(document.record_types)
    types = {table.name: (table.key_type, table.value_type) for table in tables.values()}
    checked = Checked(document, Checker(scope, types, _elsewhere(document, signature, entity)), tables)
    for position, feature in enumerate(document.features):
        _feature(checked, position, feature)
    checked.feature_clock = checked.checker.uses_clock
    for tensor in signature.outputs if signature else ():
        # An output whose width only a run shows may have any of these.
        for name in tensor.columns() or (tensor.name, *(f"{tensor.name}[{place}]" for place in range(MOST_COLUMNS))):
            scope.give(name, _type_of_output(tensor.dtype))
            if tensor.dtype.startswith(("int", "uint")):
                checked.whole_outputs.add(name)
    if signature:
        checked.checker.hint = f"The model gives {', '.join(signature.output_columns()[:12])}"
    for position, output in enumerate(document.written):
        path = f"fields[{position}].formula" if position < len(document.fields) else "reason"
        root = _root(checked, output.formula, path, known=signature is not None)
        checked.fields.append(root)
        if path == "reason" and root >= 0 and checked.type_of(root) not in (Type.TEXT, Type.NULL):
            message = f"the reason is a text, and this gives a {checked.type_of(root)}."
            checked.findings.append(Finding("wrong-type", path, message, "Join texts with &, and write TEXT(…) of a number."))
    return checked


def _elsewhere(document: MappingDocument, signature: Signature | None, entity: Entity | None) -> dict[str, tuple[str, str]]:
    """What a formula may name by mistake: why it cannot, and what to do."""
    found: dict[str, tuple[str, str]] = {}
    for known in entity.fields if entity else ():
        listed = f"Add `{known.name}: {known.type}` under `record`."
        found[known.name.lower()] = (f"field {known.name!r} of {entity.name if entity else ''} is not listed.", listed)
    for tensor in signature.outputs if signature else ():
        for name in tensor.columns() or (tensor.name,):
            message = f"{name!r} is an output of the model, which is not known yet."
            found[name.lower()] = (message, "Use it in the formulas of `fields`.")
    for name in document.tables:
        found[name.lower()] = (f"{name!r} is a lookup table.", f'Write its name in quotes: LOOKUP("{name}", key).')
    for feature in document.features:
        message = f"feature {feature.name!r} is not known here."
        found[feature.name.lower()] = (message, "Formulas name features above them that have no error.")
    return found


def _type_of_output(dtype: str) -> Type:
    return Type.TEXT if dtype == "string" else Type.BOOLEAN if dtype == "bool" else Type.NUMBER


def _feature(checked: Checked, position: int, feature: Feature) -> None:
    path = f"features[{position}].{'unit' if feature.unit else 'field' if feature.field else 'formula'}"
    formula = feature.conversion or feature.formula
    root = _root(checked, formula, path) if formula else _field(checked, feature.field or "", path)
    checked.features.append(root)
    checked.types.append(_feature_type(checked, position, feature, root))
    if root >= 0:
        # A field of the record keeps its name; a feature that hid it would change formulas below it.
        checked.checker.scope.slots.setdefault(feature.name.lower(), Slot(feature.name, checked.type_of(root)))


def _field(checked: Checked, name: str, path: str) -> int:
    """A field's own part: its name may hold signs that a formula cannot spell."""
    scope = checked.checker.scope
    slot = scope.slots.get(name.lower())
    if slot is not None and slot.field is not None:
        return checked.checker.keep_slot(slot)
    suggestion = f"Write a formula: COUNT({name})." if name.lower() in scope.lists else ""
    checked.findings.append(Finding("list", path, f"{name!r} is a list of rows, and a feature is one value.", suggestion))
    return -1


def _root(checked: Checked, formula: str, path: str, *, known: bool = True) -> int:
    try:
        return checked.checker.check(formula)
    except FormulaError as error:
        if known or error.rule.startswith("formula-"):
            checked.findings.append(Finding(error.rule, path, error.message, error.suggestion, offset=error.start))
        return -1


_FITTING: dict[Type, tuple[FeatureType, ...]] = {
    Type.NUMBER: ("number", "integer"), Type.TEXT: ("text",), Type.BOOLEAN: ("boolean",),
}  # fmt: skip


def _feature_type(checked: Checked, position: int, feature: Feature, root: int) -> FeatureType:
    if root < 0:
        return feature.type or "number"
    given = checked.type_of(root)
    fitting = _FITTING.get(given)
    if fitting is None:
        what = feature.field or " ".join((feature.formula or "").split())
        message = f"feature {feature.name!r} is a {given}, and a model takes numbers, texts, and true or false."
        dated = given in (Type.DATE, Type.DATETIME)
        suggestion = f"Write a formula: DAYS_SINCE({what}), YEAR({what}), MONTH({what})." if dated else ""
        path = f"features[{position}].{'field' if feature.field else 'formula'}"
        checked.findings.append(Finding("wrong-type", path, message, suggestion))
        return feature.type or "number"
    if feature.type and feature.type not in fitting:
        message = f"feature {feature.name!r} is said to be {feature.type}, and it gives a {given}."
        suggestion = f"Write `type: {fitting[0]}`, or leave it out."
        checked.findings.append(Finding("wrong-type", f"features[{position}].type", message, suggestion))
        return fitting[0]
    slot = checked.checker.parts[root].what
    if feature.type is None and isinstance(slot, Slot) and slot.field is FieldType.INTEGER:
        return "integer"
    return feature.type or fitting[0]


def lineage(checked: Checked, roots: Iterable[int]) -> tuple[set[str], set[str]]:
    """The fields of the record that formulas depend on (those of child rows as `list.field`), and the model's outputs they name."""
    features = {feature.name.lower(): root for feature, root in zip(checked.document.features, checked.features, strict=True)}
    fields, outputs, seen = set[str](), set[str](), set[int]()
    left = [root for root in roots if root >= 0]
    while left:
        position = left.pop()
        if position in seen:
            continue
        seen.add(position)
        part = checked.checker.parts[position]
        left += [arg for arg in part.args if arg >= 0]
        if part.list and part.args[0] < 0:
            fields.add(part.list)
        if not isinstance(part.what, Slot) or part.what.name.startswith("$"):
            continue
        if part.what.field is not None:
            fields.add(f"{part.rows}.{part.what.name}" if part.rows else part.what.name)
        elif part.what.output:
            outputs.add(part.what.name)
        else:
            left.append(features[part.what.name.lower()])
    return fields, outputs


def texts_of(checked: Checked, root: int) -> frozenset[str] | None:
    """All texts that a formula can give, where it chooses among fixed ones; None where that cannot be told."""
    part = checked.checker.parts[root]
    match part.what:
        case Literal(value=value):
            return frozenset() if value is None else frozenset({str(value)})
        case Slot():
            return None
    places = range(2, len(part.args) - 1, 2) if part.what.name == "CASE" else _CHOOSING.get(part.what.name) or ()
    chosen = [part.args[place] for place in (*places, *([-1] if part.what.name == "CASE" else []))]
    found = [texts_of(checked, each) for each in chosen]
    return frozenset(text for each in found for text in each or ()) if found and None not in found else None


def is_whole(checked: Checked, root: int) -> bool:
    """Whether a number is a whole one by the way it is made."""
    part = checked.checker.parts[root]
    match part.what:
        case Literal(value=float() as value):
            return value.is_integer()
        case Slot(name=name, field=kind, output=given):
            return name in checked.whole_outputs if given else kind is FieldType.INTEGER
    name = getattr(part.what, "name", "")
    if name in ("ROUND", "TRUNC"):
        if len(part.args) == 1:
            return True
        places = checked.checker.parts[part.args[1]].what
        return isinstance(places, Literal) and isinstance(places.value, float) and places.value <= 0
    if name in _CHOOSING:
        chosen = _CHOOSING[name] or range(len(part.args))
        return all(is_whole(checked, part.args[place]) for place in chosen)
    return name in _WHOLE
