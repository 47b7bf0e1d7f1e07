"""What a flow is inside a clinician's workflow: a service of CDS Hooks, and the card that it answers with."""

import re
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, field_validator

from fieldline_core.ports import Document

RECORD = "record"
"""The name under which the record itself is fetched before a call; lists are fetched under their own."""
PATIENT = "{{context.patientId}}"
"""What stands in a template for the patient whose chart is open."""
SUGGESTED_PATIENT = "patient"
"""What a suggestion's resource names, as `${patient}`, where the patient's id is to stand."""
_TEMPLATE = re.compile(r"^[A-Z][A-Za-z]{1,63}[/?]\S+$")
_TYPE = re.compile(r"^[A-Z][A-Za-z]{1,63}$")
_TOKEN = re.compile(r"\{\{(.*?)\}\}")
_TOKENS = {"context.patientId", "context.userId", "context.encounterId"}

Hook: TypeAlias = Literal["patient-view", "order-select", "order-sign"]
Address = Annotated[str, Field(pattern=r"^https?://[^\s/]+(/\S*)?$", max_length=2000)]
Words = Annotated[str, Field(min_length=1, max_length=200)]


def _template(text: str) -> str:
    if len(text) > 4000 or not _TEMPLATE.match(text):
        raise ValueError("a template begins with a type of resource: Observation?patient={{context.patientId}}")
    if unknown := sorted(set(_TOKEN.findall(text)) - _TOKENS):
        raise ValueError(f"a template knows {', '.join(sorted(_TOKENS))} in double braces, not {unknown[0]}")
    if PATIENT not in text:
        raise ValueError(f"a template asks for one patient: {PATIENT} stands in it")
    return text


Template = Annotated[str, AfterValidator(_template)]


class CdsClient(Document):
    """An EHR that may call the service."""

    issuer: str = Field(min_length=1, max_length=2000)
    """What its tokens say in `iss`, exactly."""
    keys: Address
    """Where its public keys are (JWKS): no other address is ever asked, whatever a token says in `jku`."""


class OverrideReason(Document):
    """A reason that a clinician can choose for not following the card."""

    code: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Its code, which is kept with the decision."""
    system: str = Field(min_length=1, max_length=500)
    """The code system, as a URI."""
    display: Words
    """What the clinician reads."""


class Suggestion(Document):
    """What a clinician can have done by one click, such as drafting an order."""

    label: Words
    """What the button says."""
    description: Words
    """What is done then, in a sentence."""
    create: dict[str, Any] = Field(max_length=100)
    """The resource that the EHR then adds or drafts; `${name}` is a field of the mapping, `${patient}` the patient's id."""
    recommended: bool = False
    """Whether it is the one to choose."""

    @field_validator("create")
    @classmethod
    def _is_a_resource(cls, create: dict[str, Any]) -> dict[str, Any]:
        if not _TYPE.match(str(create.get("resourceType", ""))):
            raise ValueError("the resource to create says its type: `resourceType: ServiceRequest`")
        return create


class Card(Document):
    """The card, from fields of the mapping; none is shown where `summary` or `indicator` is blank."""

    summary: Words
    """The mapping's field with the one sentence; what is longer than 139 characters is cut."""
    indicator: Words
    """The mapping's field that is `info`, `warning` or `critical`."""
    detail: Words | None = None
    """The mapping's field with the reasons, in Markdown."""
    source: Words
    """Who says it, as the clinician reads it."""
    source_url: Address | None = None
    """Where more is said about who says it."""
    override_reasons: tuple[OverrideReason, ...] = Field((), max_length=20)
    """What a clinician can choose from who does not follow the card."""
    suggestions: tuple[Suggestion, ...] = Field((), max_length=10)
    """What a clinician can have done who follows it."""


class Cds(Document):
    """A service of CDS Hooks: an EHR calls it, and shows its card while the clinician works."""

    hook: Hook
    """When the EHR calls."""
    title: Words
    """The service's name for people."""
    description: str = Field(min_length=1, max_length=2000)
    """What it does, for the administrator of the EHR."""
    url: Address
    """Where the EHR reaches this API, without `/cds-services`: tokens must be made for this address."""
    clients: tuple[CdsClient, ...] = Field(min_length=1, max_length=20)
    """The EHRs that may call."""
    prefetch: dict[str, Template] = Field(default_factory=dict, max_length=17)
    """Templates of what the EHR fetches before it calls, by list (or `record`), where they differ from what the flow reads."""
    card: Card
    """What is answered."""

    @property
    def root(self) -> str:
        """The address of the API without a slash at its end."""
        return self.url.rstrip("/")
