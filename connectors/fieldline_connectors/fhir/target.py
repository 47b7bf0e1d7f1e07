"""What an administrator writes about decisions that go into the chart."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self, TypeAlias, get_args

from pydantic import Field, model_validator

from fieldline_core.ports import Document, Target

ResourceType: TypeAlias = Literal["RiskAssessment", "Observation", "Flag", "Task", "Communication"]
"""What a decision can be in a chart."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]

PLACE = re.compile(r"\$\{([A-Za-z0-9_]+)\}")
"""Where a template takes the value of a field."""
_KNOWN = ("prediction", "reason", "model", "at")
_FIXED = ("resourceType", "id", "meta", "identifier", "subject", "for", "status", "code")


class Code(Document):
    """A code, by which others recognise what the prediction is of."""

    system: str = Field(pattern=r"^\S{1,500}$", examples=["http://snomed.info/sct"])
    """The code system."""
    code: str = Field(pattern=r"^\S+(\s\S+)*$", max_length=200)
    """The code."""
    display: str = Field(pattern=r"\S", max_length=500)
    """What people read; flags, tasks and messages begin with it."""


class FhirTarget(Target):
    """How decisions are written into the chart."""

    operation: Literal["create", "upsert", "update"] = "create"
    """`create` adds a resource for each decision; `upsert` keeps one for each record and changes it; `update` adds none."""
    resource: Literal["auto", "RiskAssessment", "Observation", "Flag", "Task", "Communication"] = "auto"
    """What to write; `auto` is the first of these that the server says it takes."""
    code: Code
    """What the prediction is of."""
    kind: Literal["probability", "quantity", "text"] = "probability"
    """What the prediction is: a probability between 0 and 1, a quantity in `unit`, or words."""
    unit: str | None = Field(None, pattern=r"^[!-~]{1,50}$", examples=["mm[Hg]"])
    """Unit of a quantity, in UCUM."""
    fields: dict[Name, str] = Field(min_length=1, max_length=50)
    """`prediction`, `reason`, `model`, `at`, and what the template or `patient` names -> field of the mapping, or fact."""
    patient: Name | None = None
    """The one of `fields` that holds the patient's id; left out, the record's key is the id, or `Patient/ID`."""
    template: dict[ResourceType, dict[str, Any]] = Field(default_factory=dict)
    """More elements for a type of resource, or others in place of ours; `${name}` is the value of that one of `fields`."""
    identifier_system: str = Field("urn:fieldline:decision", pattern=r"^[a-z][a-z0-9+.-]*:[^\s,|$\\&#?]{1,200}$")
    """The system of the identifier by which we find again what we wrote; the same for good."""
    provenance: bool = False
    """Whether a Provenance goes along, where the server takes one; needs the field `at`."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if "prediction" not in self.fields:
            raise ValueError("`fields` must say what fills `prediction`")
        if self.kind == "quantity" and self.resource == "RiskAssessment":
            raise ValueError("a RiskAssessment holds no quantity: write `resource: Observation`, or leave it to `auto`")
        if self.unit and self.kind != "quantity":
            raise ValueError("`unit` belongs to `kind: quantity`")
        if self.provenance and "at" not in self.fields:
            raise ValueError("a Provenance needs the time of the decision: fill the field `at`, such as with decision.clock")
        if fixed := sorted({*_FIXED} & {name for template in self.template.values() for name in template}):
            raise ValueError(f"{fixed[0]} is set by Fieldline: leave it out of `template`")
        named = {*places(self.template), *filter(None, (self.patient,))}
        if missing := sorted(named - self.fields.keys()):
            raise ValueError(f"`fields` has no {missing[0]!r}, which `template` or `patient` names")
        if unused := sorted(self.fields.keys() - named - {*_KNOWN}):
            raise ValueError(f"the field {unused[0]!r} goes nowhere: name it in `template` as ${{{unused[0]}}}")
        return self

    @property
    def candidates(self) -> tuple[ResourceType, ...]:
        """What may be written, the best first."""
        if self.resource != "auto":
            return (self.resource,)
        every: tuple[ResourceType, ...] = get_args(ResourceType)
        return tuple(type for type in every if type != "RiskAssessment" or self.kind != "quantity")

    def existing(self) -> Self:
        """A change of what is there, which adds nothing."""
        return self.model_copy(update={"operation": "update"})


def places(node: Any) -> Iterator[str]:
    """The fields that a template names."""
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from places(each)
    elif isinstance(node, str):
        yield from PLACE.findall(node)
