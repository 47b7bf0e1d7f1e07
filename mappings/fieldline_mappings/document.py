"""The mapping as people write it: features by formula from a record, fields by formula from a model's answers."""

import builtins
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    FiniteFloat,
    PlainSerializer,
    ValidationInfo,
    field_validator,
    model_validator,
)  # fmt: skip

from fieldline_core.findings import did_you_mean
from fieldline_core.ports import Document
from fieldline_core.schema import FieldType
from fieldline_mappings.formula.syntax import MAX_LENGTH

FeatureType = Literal["number", "integer", "text", "boolean"]
_ELSEWHERE = {
    name: here
    for here, names in {
        "text": "string str varchar char picklist email phone url id reference textarea", "number": "float double real percent",
        "decimal": "currency money numeric", "integer": "int long bigint", "boolean": "bool checkbox", "datetime": "timestamp",
    }.items()
    for name in names.split()
}  # fmt: skip
"""What other systems call the types of fields."""


def _type_word(word: Any) -> Any:
    if isinstance(word, str) and word.lower() in _ELSEWHERE:
        raise ValueError(f"{word!r} is called {_ELSEWHERE[word.lower()]} here: write `{_ELSEWHERE[word.lower()]}`")
    return word


FieldWord = Annotated[
    Literal["text", "number", "integer", "decimal", "boolean", "date", "datetime", "time"], BeforeValidator(_type_word)
]
Encoding = Literal["onehot", "index", "text"]

_MOMENTS = {"date", "datetime", "time"}


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        from zoneinfo import available_timezones  # reads hundreds of files: only for somebody who mistyped

        raise ValueError(f"{name!r} is not a time zone. {did_you_mean(name, available_timezones())}".rstrip()) from None
    return name


def _table(table: Any) -> Any:
    """A table whose keys are all texts or all numbers: YAML reads the keys 1 and "1" apart."""
    if isinstance(table, list) and all(isinstance(row, list) and len(row) == 2 for row in table):
        table = {key: value for key, value in table if isinstance(key, str | int | float)}
    if not isinstance(table, dict):
        return table
    for one, words in ((dict(table), "keys"), (table.values(), "values")):
        kinds = {str if isinstance(each, str) else float for each in one}
        if len(kinds) > 1:
            raise ValueError(f"the {words} of a table are all texts or all numbers")
    return table


def _table_rows(table: dict[str | float, str | float]) -> list[tuple[str | float, str | float]]:
    """The rows of a table for JSON, where a key would become a text."""
    return sorted(table.items(), key=lambda row: row[0])


Name = Annotated[str, Field(min_length=1, max_length=200)]
# A longer one is refused where formulas are parsed, which says what to do about it.
Formula = Annotated[str, Field(min_length=1, json_schema_extra={"maxLength": MAX_LENGTH})]
Table = Annotated[
    dict[str | FiniteFloat, str | FiniteFloat], BeforeValidator(_table), PlainSerializer(_table_rows, when_used="json"),
    Field(min_length=1, max_length=10_000),
]  # fmt: skip


class Check(Document):
    """What a feature's value must meet; a row that does not is held back."""

    at_least: FiniteFloat | None = None
    """The smallest number."""

    at_most: FiniteFloat | None = None
    """The greatest number."""

    one_of: tuple[str | FiniteFloat, ...] = Field((), max_length=1000)
    """The only values."""

    max_length: int | None = Field(None, ge=1)
    """The most characters of a text."""


class Feature(Document):
    """One input of the model, or several where categories are spread over one input each."""

    field: Name | None = None
    """The field of the record: a name, or a path such as `customer.address.tier`. Give this or `formula`."""

    formula: Formula | None = None
    """A formula over the fields that are listed under `record` or named by features, and over features above this one, filled and
    clipped. Where a field and a feature have the same name, the field is meant."""

    name: Name = Field(default_factory=lambda data: data.get("field") or "")
    """Name of the feature; the field's name where it is left out."""

    type: FeatureType | None = None
    """What the model is given. A field is a `number` where nothing is said, a formula what it gives; `integer` asks for whole
    numbers. A value that cannot be read so, or computed, sets its row aside."""

    unit: Annotated[str, Field(max_length=50)] | None = None
    """The unit in which the model takes the number, as its UCUM code (`mm[Hg]`, `kg`, `mmol/L`); the field's values are converted.
    A value in a unit that does not convert sets its row aside. It goes with `field` and `unit_field`; a formula writes CONVERT."""

    unit_field: Name | None = None
    """The field of the record that holds the unit of `field`, as its UCUM code."""

    categories: tuple[str | int, ...] = Field((), max_length=1000)
    """The values that the model was trained on, in its order (text or integer features). Case matters; spaces around do not."""

    encode: Encoding | None = None
    """How the model takes it: `onehot`, a feature `name=category` of 0 or 1 for each category (the default with categories);
    `index`, the category's position from 0 on; `text`, the text itself (the default of text without categories)."""

    if_blank: bool | int | FiniteFloat | str = "hold"
    """What a blank value (nothing, or empty text) does: `hold` sets the row aside; `flag` gives 0 (no category, empty text) and
    adds a feature `name_blank` of 0 or 1; any other value is used in its place. It never replaces a value that cannot be read or
    computed."""

    if_unknown: Literal["hold", "other"] = "hold"
    """What a value outside the categories does: `hold` sets the row aside; `other` gives 0 for each category, or the index -1."""

    clip: tuple[FiniteFloat, FiniteFloat] | None = None
    """The least and the greatest number that the model is given; what lies beyond becomes the nearer of the two."""

    check: Check = Check()
    """What the value must meet, before it is clipped."""

    label: str = Field("", max_length=200)
    """What people call it."""

    @property
    def encoding(self) -> Encoding | None:
        """How the categories or the text reach the model; None for plain numbers."""
        if self.encode or self.type not in ("text", "integer"):
            return self.encode
        return "onehot" if self.categories else "text" if self.type == "text" else None

    @property
    def fill(self) -> bool | int | float | str | None:
        """The value that takes a blank's place, where the document gives one."""
        return None if self.if_blank in ("hold", "flag") else self.if_blank

    @field_validator("type", mode="before")
    @classmethod
    def _no_moment(cls, type: Any, info: ValidationInfo) -> Any:
        if type in _MOMENTS:
            field = str(info.data.get("field") or "field")[:60]
            listed = f"list `{field}: {type}` under `record`"
            raise ValueError(f"a {type} reaches the model by a formula: {listed}, and write DAYS_SINCE({field}) or YEAR({field})")
        return type

    @field_validator("categories", "encode", "if_blank", "if_unknown", "clip")
    @classmethod
    def _fits(cls, value: Any, info: ValidationInfo) -> Any:
        given = {"categories": ()} | info.data | {info.field_name: value}
        # Where one of the two was refused there is nothing to compare with.
        if "type" in given and (info.field_name == "categories" or "categories" in info.data):
            for complaint in _COMPLAINTS[str(info.field_name)](value, given["type"], given["categories"]):
                raise ValueError(complaint)
        return value

    @model_validator(mode="after")
    def _has_one_source(self) -> "Feature":
        if (self.field is None) == (self.formula is None):
            raise ValueError("a feature comes from a `field` or by a `formula`: give one of the two")
        if not self.name:
            raise ValueError("a feature by a formula has a `name`: add one")
        if (self.unit is None) != (self.unit_field is None) or (self.unit and not self.field):
            raise ValueError("`unit` goes with `field` and `unit_field`; in a formula write CONVERT(…)")
        if self.unit and self.type not in (None, "number"):
            raise ValueError("a feature with a `unit` is a number: remove `type`")
        return self

    @property
    def conversion(self) -> str | None:
        """The formula that converts the field into the unit; None where it is taken as it is."""
        return f'CONVERT(`{self.field}`, `{self.unit_field}`, "{self.unit}")' if self.unit else None


Categories: TypeAlias = tuple[str | int, ...]


def _category_complaints(value: object, type: FeatureType | None, listed: Categories) -> Iterator[str]:
    kind = str if type == "text" else int
    if listed and type not in ("text", "integer"):
        yield "`categories` go with `type: text` and `type: integer`: add the type"
    if any(builtins.type(category) is not kind or _too_large(category) for category in listed):
        yield f"categories of {type} are {'texts: write them in quotes' if kind is str else 'whole numbers'}"
    if any(isinstance(category, str) and category.strip() != (category or None) for category in listed):
        yield "a category has no spaces around it and is not empty"
    if len(set(listed)) < len(listed):
        yield "a category stands there twice"


def _encode_complaints(encode: object, type: FeatureType | None, listed: Categories) -> Iterator[str]:
    if encode and type not in ("text", "integer"):
        yield "`encode` goes with `type: text` and `type: integer`: add the type"
    if encode in ("onehot", "index") and not listed:
        yield f"`encode: {encode}` needs `categories`"
    if encode == "text" and (listed or type != "text"):
        yield "`encode: text` goes with text, without categories"


def _fill_complaints(fill: object, type: FeatureType | None, listed: Categories) -> Iterator[str]:
    expected: dict[str, tuple[tuple[builtins.type, ...], str]] = {
        "text": ((str,), "a text (in quotes)"), "number": ((int, float), "a number"), "boolean": ((bool,), "true or false"),
        "integer": ((int,), "a whole number"),
    }  # fmt: skip
    if fill in ("hold", "flag") or type is None:
        return
    if listed:
        if not any(builtins.type(fill) is builtins.type(category) and fill == category for category in listed):
            shown = ", ".join(map(str, listed[:12])) + " …" * (len(listed) > 12)
            yield f"{fill!r} is none of the categories: `if_blank` is hold, flag or one of {shown}"
        return
    kinds, words = expected[type]
    if builtins.type(fill) not in kinds or _too_large(fill):
        yield f"the feature is {type}, and {fill!r} is not: `if_blank` is hold, flag or {words}"


def _unknown_complaints(value: object, type: FeatureType | None, listed: Categories) -> Iterator[str]:
    if value == "other" and not listed:
        yield "`if_unknown: other` needs `categories`"


def _clip_complaints(clip: Any, type: FeatureType | None, listed: Categories) -> Iterator[str]:
    if clip and clip[0] > clip[1]:
        yield "the first number of `clip` is the smaller one: exchange the two"
    if clip and (listed or type in ("text", "boolean")):
        yield "`clip` goes with numbers"


_COMPLAINTS: dict[str, Callable[[Any, FeatureType | None, Categories], Iterator[str]]] = {
    "categories": _category_complaints, "encode": _encode_complaints, "if_blank": _fill_complaints,
    "if_unknown": _unknown_complaints, "clip": _clip_complaints,
}  # fmt: skip


def _too_large(fill: object) -> bool:
    return isinstance(fill, int) and abs(fill) >= 2**63


class OutputField(Document):
    """One field to write, by a formula over the model's outputs, the features and the record."""

    name: Name
    """The field at the target."""

    formula: Formula
    """What is written, such as `ROUND(probability * 100)` or `IF(score >= 0.7, "Hot", "Cold")`. An output of several columns has
    one name for each: `probabilities[1]`."""

    label: str = Field("", max_length=200)
    """What people call it."""


class GoldenRecord(Document):
    """A record and what the mapping must make of it; `fieldline test` runs them all."""

    name: Name
    """What it shows."""

    record: dict[str, Any] = Field(max_length=2000)
    """The record: its fields by name, and child rows as a list."""

    outputs: dict[str, float | int | bool | str] = Field({}, max_length=500)
    """What the model answers, where `fields` are expected."""

    now: AwareDatetime | None = None
    """The decision's moment, for TODAY() and NOW()."""

    features: dict[str, float | int | bool | str | None] = Field({}, max_length=2000)
    """The features that are expected, as the model is given them; those that are not listed are not looked at."""

    fields: dict[str, float | int | bool | str | None] = Field({}, max_length=2000)
    """The fields that are expected."""

    held: str | None = Field(None, min_length=1)
    """A part of the reason for which the record is expected to be held back."""


class MappingDocument(Document):
    """Features in, fields out: how records become a model's inputs, and how its answers become fields."""

    mapping: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")
    """Name of the mapping: letters, digits, `_`, `.` and `-`."""

    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    """The time zone that says which day and hour it is, such as `Europe/Berlin`."""

    blanks: Literal["blank", "zero"] = "blank"
    """What a blank number field is in formulas: `blank`, or `zero` (Salesforce's other setting)."""

    record: dict[Name, FieldWord | dict[Name, FieldWord]] = Field({}, max_length=2000)
    """The fields that formulas name, each with its type; a list of child rows is given by the types of its fields."""

    tables: dict[Name, Table] = Field({}, max_length=100)
    """Lookup tables for LOOKUP: texts or numbers by text or number; they are part of the mapping's version."""

    features: tuple[Feature, ...] = Field(min_length=1, max_length=2000)
    """The features, in the order in which the model takes them."""

    inputs: dict[str, tuple[str, ...]] = Field({}, max_length=2000)
    """Which features fill which input of the model, in order; a feature's name stands for all that it gives. Left out: a model with
    one input takes all features in order, a model with several takes for each input the feature of the same name."""

    fields: tuple[OutputField, ...] = Field(min_length=1, max_length=500)
    """The fields to write."""

    reason: Formula | None = None
    """A formula that says in words how the answer came about; it can be written like a field, under the name `reason`."""

    tests: tuple[GoldenRecord, ...] = Field((), max_length=1000)
    """Golden records; they are no part of the mapping's digest."""

    @property
    def record_types(self) -> Mapping[str, FieldType | Mapping[str, FieldType]]:
        """The record's fields with their types: those listed, and those that features name."""
        listed: dict[str, FieldType | Mapping[str, FieldType]] = {
            name: FieldType(type) if isinstance(type, str) else {key: FieldType(kind) for key, kind in type.items()}
            for name, type in self.record.items()
        }
        known = {name.lower() for name in listed}
        for feature in self.features:
            if feature.field and feature.field.lower() not in known:
                listed.setdefault(feature.field, FieldType(feature.type or "number"))
            if feature.unit_field and feature.unit_field.lower() not in known:
                listed.setdefault(feature.unit_field, FieldType.TEXT)
        return listed

    @property
    def written(self) -> tuple[OutputField, ...]:
        """All that can be written: the fields, and the reason under its own name."""
        return (*self.fields, *([OutputField(name="reason", formula=self.reason)] if self.reason else []))


def canonical(document: MappingDocument) -> str:
    """What the document does as JSON that is the same for the same meaning: keys sorted, defaults and golden records left out."""
    data = document.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"tests"})
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(document: MappingDocument) -> str:
    """SHA-256 of the canonical document, in hexadecimal digits."""
    return hashlib.sha256(canonical(document).encode()).hexdigest()
