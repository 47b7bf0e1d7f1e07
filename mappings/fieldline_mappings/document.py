"""The mapping as people write it: features from fields of a record, fields from a model's answers."""

import hashlib
import json
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, FiniteFloat, model_validator

from fieldline_core.findings import did_you_mean
from fieldline_core.ports import Document

FeatureType = Literal["number", "integer", "text", "boolean", "date", "datetime", "time"]
Part = Literal["days_ago", "year", "month", "day", "weekday", "hour", "minute"]
Encoding = Literal["onehot", "index", "text"]

PARTS: dict[str, tuple[Part, ...]] = {
    "date": ("days_ago", "year", "month", "day", "weekday"),
    "datetime": ("days_ago", "year", "month", "day", "weekday", "hour", "minute"),
    "time": ("hour", "minute"),
}
"""What `as` can take of each type."""


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        from zoneinfo import available_timezones  # reads hundreds of files: only for somebody who mistyped

        raise ValueError(f"{name!r} is not a time zone. {did_you_mean(name, available_timezones())}".rstrip()) from None
    return name


def _label_keys(labels: Any) -> Any:
    """Keys as text, so that 0 and '0' are one key in the document and in its digest."""
    if not isinstance(labels, dict):
        return labels
    return {str(key).lower() if isinstance(key, bool) else str(key): label for key, label in labels.items()}


Name = Annotated[str, Field(min_length=1, max_length=200)]


class Feature(Document):
    """One input of the model, or several where categories are spread over one input each."""

    field: Name
    """The field of the record: a name, or a path such as `customer.address.tier`."""

    name: Name = Field(default_factory=lambda data: data.get("field", ""))
    """Name of the feature; the field's name where it is left out."""

    type: FeatureType = "number"
    """How the field's value is read. A value that cannot be read so sets its row aside."""

    part: Part | None = Field(None, alias="as")
    """What to take of a date, datetime or time, in the mapping's time zone. `days_ago` counts whole days back from the decision's
    day and is negative for days to come; weekdays go from 1 (Monday) to 7."""

    categories: tuple[str | int, ...] = Field((), max_length=1000)
    """The values that the model was trained on, in its order (text or integer features). Case matters; spaces around do not."""

    encode: Encoding | None = None
    """How the model takes it: `onehot`, a feature `name=category` of 0 or 1 for each category (the default with categories);
    `index`, the category's position from 0 on; `text`, the text itself (the default of text without categories)."""

    if_blank: bool | int | FiniteFloat | str = "hold"
    """What a blank field (nothing, or empty text) does: `hold` sets the row aside; `flag` gives 0 (no category, empty text) and
    adds a feature `name_blank` of 0 or 1; any other value is used in its place. It never replaces a value that cannot be read."""

    if_unknown: Literal["hold", "other"] = "hold"
    """What a value outside the categories does: `hold` sets the row aside; `other` gives 0 for each category, or the index -1."""

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

    @model_validator(mode="after")
    def _agrees(self) -> "Feature":
        for complaint in (*_part_complaints(self), *_category_complaints(self), *_fill_complaints(self)):
            raise ValueError(complaint)
        return self


def _part_complaints(feature: Feature) -> list[str]:
    parts = PARTS.get(feature.type, ())
    if parts and feature.part not in parts:
        return [f"a {feature.type} reaches the model as one of {', '.join(parts)}: write it as `as:`"]
    return ["`as` goes with date, datetime and time"] if feature.part and not parts else []


def _category_complaints(feature: Feature) -> list[str]:
    complaints = []
    listed, kind = feature.categories, str if feature.type == "text" else int
    if (listed or feature.encode) and feature.type not in ("text", "integer"):
        complaints.append("`categories` and `encode` go with text and integer")
    if any(type(category) is not kind or _too_large(category) for category in listed):
        complaints.append(f"categories of {feature.type} are {'texts: write them in quotes' if kind is str else 'whole numbers'}")
    if any(isinstance(category, str) and category.strip() != (category or None) for category in listed):
        complaints.append("a category has no spaces around it and is not empty")
    if len(set(listed)) < len(listed):
        complaints.append("a category stands there twice")
    if feature.encode in ("onehot", "index") and not listed:
        complaints.append(f"`encode: {feature.encode}` needs `categories`")
    if feature.encode == "text" and (listed or feature.type != "text"):
        complaints.append("`encode: text` goes with text, without categories")
    if feature.if_unknown == "other" and not listed:
        complaints.append("`if_unknown: other` needs `categories`")
    return complaints


def _fill_complaints(feature: Feature) -> list[str]:
    fill = feature.fill
    if fill is None:
        return []
    if feature.categories:
        listed = any(type(fill) is type(category) and fill == category for category in feature.categories)
        return [] if listed else ["`if_blank` is hold, flag or one of the categories"]
    expected: dict[str, tuple[tuple[type, ...], str]] = {
        "text": ((str,), "a text (in quotes)"), "number": ((int, float), "a number"), "boolean": ((bool,), "true or false"),
    }  # fmt: skip
    kinds, words = expected.get(feature.type, ((int,), "a whole number"))
    return [] if type(fill) in kinds and not _too_large(fill) else [f"`if_blank` of {feature.type} is hold, flag or {words}"]


def _too_large(fill: object) -> bool:
    return isinstance(fill, int) and abs(fill) >= 2**63


class Threshold(Document):
    """A label for the values from some point on."""

    at: FiniteFloat
    """The smallest value that gets the label."""

    label: str = Field(max_length=500)
    """What is written."""


class OutputField(Document):
    """One field to write, from one column of the model's outputs: as a number, by thresholds, or by labels."""

    name: Name
    """The field at the target."""

    output: Name
    """The output, or one of its columns: `probabilities[1]`."""

    scale: FiniteFloat | None = None
    """The number is multiplied by this before it is rounded."""

    round: int | None = Field(None, ge=0, le=12)
    """Decimal places, halves away from zero; 0 gives whole numbers."""

    thresholds: tuple[Threshold, ...] = Field((), max_length=100)
    """Labels for ranges of the number; the highest threshold that is reached wins."""

    otherwise: str | None = Field(None, max_length=500)
    """What is written where no threshold is reached."""

    labels: Annotated[dict[str, str], BeforeValidator(_label_keys)] = Field({}, max_length=1000)
    """What is written for each answer of the model, all of which are listed."""

    @model_validator(mode="after")
    def _is_one_thing(self) -> "OutputField":
        numeric = self.scale is not None or self.round is not None
        if numeric + bool(self.thresholds) + bool(self.labels) > 1:
            raise ValueError("a field is either a number (scale, round), or has thresholds, or has labels")
        if bool(self.thresholds) != (self.otherwise is not None):
            raise ValueError("`thresholds` and `otherwise` go together")
        if len({threshold.at for threshold in self.thresholds}) < len(self.thresholds):
            raise ValueError("two thresholds begin at the same value")
        return self


class MappingDocument(Document):
    """Features in, fields out: how records become a model's inputs, and how its answers become fields."""

    mapping: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")
    """Name of the mapping: letters, digits, `_`, `.` and `-`."""

    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    """The time zone that says which day and hour it is, such as `Europe/Berlin`."""

    features: tuple[Feature, ...] = Field(min_length=1, max_length=2000)
    """The features, in the order in which the model takes them."""

    inputs: dict[str, tuple[str, ...]] = Field({}, max_length=2000)
    """Which features fill which input of the model, in order; a feature's name stands for all that it gives. Left out: a model with
    one input takes all features in order, a model with several takes for each input the feature of the same name."""

    fields: tuple[OutputField, ...] = Field(min_length=1, max_length=500)
    """The fields to write."""


def canonical(document: MappingDocument) -> str:
    """The document as JSON that is the same for the same meaning: keys sorted, defaults left out."""
    data = document.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(document: MappingDocument) -> str:
    """SHA-256 of the canonical document, in hexadecimal digits."""
    return hashlib.sha256(canonical(document).encode()).hexdigest()
