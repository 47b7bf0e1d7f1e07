"""A ViewDefinition as people write it: SQL on FHIR v2, in the standard's JSON or the same in YAML."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Self

import yaml
from pydantic import BeforeValidator, Field, StrictBool, StrictInt, StrictStr, ValidationError, model_validator

from fieldline_connectors.fhir.path import Temporal, Written
from fieldline_core.errors import Misconfigured
from fieldline_core.findings import path_text
from fieldline_core.ports import Document

MAX_COLUMNS = 500
MAX_NESTING = 20
_LARGEST = 1_000_000
_NAME = r"^[A-Za-z][A-Za-z0-9_]*$"
_MOMENTS = ("valueDate", "valueDateTime", "valueInstant", "valueTime")
_DESCRIBING = """
    resourceType id meta implicitRules language text contained extension modifierExtension url identifier version name title
    status experimental date publisher contact description useContext jurisdiction purpose copyright fhirVersion profile
"""
_METADATA = frozenset(_DESCRIBING.split())
"""What the standard lets a view say about itself, and which changes nothing of its rows."""

SqlName = Annotated[str, Field(pattern=_NAME, max_length=200)]
Path = Annotated[StrictStr, Field(min_length=1)]
_Number = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(lambda value: _number(value))]


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a decimal is a number")
    return value


class Constant(Document):
    """A value with a name, which expressions use as `%name`."""

    name: SqlName
    """Its name."""
    valueBase64Binary: StrictStr | None = None  # noqa: N815
    valueBoolean: StrictBool | None = None  # noqa: N815
    valueCanonical: StrictStr | None = None  # noqa: N815
    valueCode: StrictStr | None = None  # noqa: N815
    valueDate: StrictStr | None = None  # noqa: N815
    valueDateTime: StrictStr | None = None  # noqa: N815
    valueDecimal: _Number | None = None  # noqa: N815
    valueId: StrictStr | None = None  # noqa: N815
    valueInstant: StrictStr | None = None  # noqa: N815
    valueInteger: StrictInt | None = None  # noqa: N815
    valueInteger64: StrictInt | StrictStr | None = None  # noqa: N815
    valueOid: StrictStr | None = None  # noqa: N815
    valuePositiveInt: StrictInt | None = None  # noqa: N815
    valueString: StrictStr | None = None  # noqa: N815
    valueTime: StrictStr | None = None  # noqa: N815
    valueUnsignedInt: StrictInt | None = None  # noqa: N815
    valueUri: StrictStr | None = None  # noqa: N815
    valueUrl: StrictStr | None = None  # noqa: N815
    valueUuid: StrictStr | None = None  # noqa: N815

    @model_validator(mode="after")
    def _has_one_value(self) -> Self:
        if len(self._values) != 1:
            raise ValueError("a constant has one value, such as `valueString` or `valueInteger`")
        return self

    @property
    def _values(self) -> dict[str, Any]:
        return {key: value for key, value in self if key != "name" and value is not None}

    @property
    def value(self) -> Any:
        """The value as expressions use it."""
        [(key, value)] = self._values.items()
        if key in _MOMENTS:
            return Temporal(value)
        if key == "valueInteger64":
            return int(value)
        return Written(repr(value)) if isinstance(value, float) else value


class Tag(Document):
    """A hint for other software, which changes nothing here."""

    name: str
    """Its name."""
    value: str
    """What it says."""


class Column(Document):
    """A column of the view."""

    name: SqlName
    """The column's name: letters, digits and `_`."""
    path: Path
    """The FHIRPath expression that gives its value."""
    type: str | None = None
    """The FHIR type of the value, such as `date`, `decimal` or `code`; it decides the type of the column."""
    collection: StrictBool = False
    """Whether it holds a list of values; without this a second value is an error."""
    description: str | None = None
    """What the column is about."""
    tag: tuple[Tag, ...] = ()
    """Hints for other software."""


class Select(Document):
    """Columns, and how many rows they stand in."""

    column: tuple[Column, ...] = Field((), max_length=MAX_COLUMNS)
    """The columns."""
    select: tuple["Select", ...] = Field((), max_length=MAX_COLUMNS)
    """Further columns of the same rows; each may give several rows."""
    forEach: Path | None = None  # noqa: N815
    """An expression: a row for each element that it gives, and none where it gives none."""
    forEachOrNull: Path | None = None  # noqa: N815
    """The same, with one empty row where it gives none."""
    repeat: tuple[Path, ...] | None = Field(None, min_length=1, max_length=50)
    """Expressions that are followed again and again, to any depth: a row for each element on the way."""
    unionAll: tuple["Select", ...] = Field((), max_length=MAX_COLUMNS)  # noqa: N815
    """Rows of several selections with the same columns, one after the other."""

    @model_validator(mode="after")
    def _goes_one_way(self) -> Self:
        if sum(way is not None for way in (self.forEach, self.forEachOrNull, self.repeat)) > 1:
            raise ValueError("write one of `forEach`, `forEachOrNull` and `repeat`")
        return self


class Condition(Document):
    """A condition that a resource must meet."""

    path: Path
    """The FHIRPath expression; it gives true or false."""
    description: str | None = None
    """What it is about."""


class ViewDefinition(Document):
    """A table made of resources of one type: which rows, which columns."""

    resource: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]{1,63}$")]
    """The type of the resources: `Patient`, `Observation`."""
    select: tuple[Select, ...] = Field(min_length=1, max_length=MAX_COLUMNS)
    """The columns."""
    where: tuple[Condition, ...] = Field((), max_length=100)
    """The conditions that a resource must meet, all of them."""
    constant: tuple[Constant, ...] = Field((), max_length=200)
    """Values with names."""

    @model_validator(mode="before")
    @classmethod
    def _without_metadata(cls, view: Any) -> Any:
        if not isinstance(view, Mapping):
            return view
        if (said := view.get("resourceType", "ViewDefinition")) != "ViewDefinition" and not str(said).endswith("/ViewDefinition"):
            raise ValueError("a view has `resourceType: ViewDefinition`, or none")
        return {key: value for key, value in view.items() if key not in _METADATA}

    @model_validator(mode="after")
    def _constants_once(self) -> Self:
        names = [constant.name for constant in self.constant]
        if len(set(names)) < len(names) or "rowIndex" in names:
            raise ValueError("a constant's name stands there twice, or is rowIndex")
        return self


def parse_view(text: str | Mapping[str, Any], place: str = "view") -> ViewDefinition:
    """The view in a text (JSON or YAML) or in its parsed form; raises Misconfigured with every mistake and its place."""
    if isinstance(text, str):
        if len(text) > _LARGEST:
            raise Misconfigured(f"{place}: a view has at most {_LARGEST:,} characters")
        try:
            text = yaml.safe_load(text)
        except yaml.YAMLError as error:
            line = getattr(getattr(error, "problem_mark", None), "line", None)
            raise Misconfigured(f"{place}: neither JSON nor YAML{'' if line is None else f' (line {line + 1})'}") from None
    if _nested(text) > MAX_NESTING * 3:
        raise Misconfigured(f"{place}: selections are nested deeper than {MAX_NESTING}")
    try:
        return ViewDefinition.model_validate(text)
    except ValidationError as error:
        raise Misconfigured(_complaints(place, error)) from None


def _nested(value: Any) -> int:
    """How deep lists and mappings are nested, as far as that matters."""
    level, depth = [value], 0
    while level and depth <= MAX_NESTING * 3:
        level = [inner for one in level for inner in _inner(one)]
        depth += 1
    return depth


def _inner(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()


def _complaints(place: str, error: ValidationError) -> str:
    said = [f"{path_text((place, *one['loc']))}: {re.sub('^Value error, ', '', one['msg'])}" for one in error.errors()[:5]]
    more = len(error.errors()) - len(said)
    return "; ".join(said) + (f"; and {more} more" if more > 0 else "")
