"""What the routes of mappings answer."""

from typing import Any

from pydantic import BaseModel


class StepView(BaseModel):
    """One part of a formula with what it gives."""

    part: str
    value: Any


class FeatureView(BaseModel):
    """One feature of a record: what its formula gives, and what the model is given."""

    feature: str
    formula: str
    steps: list[StepView]
    computed: Any
    value: Any
    note: str


class PreviewView(BaseModel):
    """What a mapping makes of one record."""

    key: str
    features: list[FeatureView]


class FailureView(BaseModel):
    """One thing that is not as a golden record says."""

    part: str
    name: str
    expected: Any
    given: Any
    note: str
    line: int
    column: int


class GoldenView(BaseModel):
    """What came of one golden record."""

    mapping: str
    test: str
    passed: bool
    failures: list[FailureView]


class ChangedFieldView(BaseModel):
    """A field whose answers are compared, and some records on which they differ (key, old, new)."""

    field: str
    changed: int
    examples: list[dict[str, Any]]


class MeanView(BaseModel):
    """The mean of a numeric feature or output under both mappings, over the records that both decide."""

    part: str
    name: str
    old: float | None
    new: float | None
    shift: float | None


class HeldView(BaseModel):
    """How many records each mapping holds back, and why."""

    old: int
    new: int
    newly: int
    no_longer: int
    reasons_old: dict[str, int]
    reasons_new: dict[str, int]


class BacktestView(BaseModel):
    """What two mappings make of the same records; `gone` are no longer in the source."""

    flow: str
    old: str
    new: str
    rows: int
    gone: int
    decided_both_ways: int
    changed: int
    fields: list[ChangedFieldView]
    fields_added: list[str]
    fields_removed: list[str]
    means: list[MeanView]
    held: HeldView


class SchemaView(BaseModel):
    """An entity's fields with their types, and its lists of rows, whose fields are not known."""

    name: str
    record: dict[str, str]
    lists: list[str]


class ProposalView(BaseModel):
    """The field that fits an input best, with a score from 0 to 1."""

    input: str
    field: str | None
    score: float


class SuggestionView(BaseModel):
    """Proposals for a model's inputs, and the mapping that they make, in YAML."""

    entity: str
    proposals: list[ProposalView]
    mapping: str
