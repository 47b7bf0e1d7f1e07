"""What is asked of a server that tells of changes, and how its messages reach us."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, HttpUrl, PrivateAttr

from fieldline_connectors.bounded import Bounds
from fieldline_connectors.fhir.target import FhirTarget
from fieldline_core.ports import Document, Target, Topic
from fieldline_core.secret import Secret


class Notifications(Document):
    """How a server's Subscriptions reach Fieldline, and how their messages show that they are the server's."""

    public_url: HttpUrl = Field(examples=["https://fieldline.example"])
    """Address of Fieldline's API as the server reaches it; messages come to `/hooks/FLOW` below it."""
    secrets: Annotated[tuple[Secret, ...], Field(min_length=1, max_length=5)]
    """What the server sends in `header`, 16 characters or more: the first is given to it, all are accepted while one is changed."""
    header: str = Field("x-fieldline-subscription", pattern="^[a-z0-9-]{1,64}$")
    """Header that carries the secret, in lower case."""
    bounds: Bounds = Bounds()
    """How large messages may be."""
    lease_days: int = Field(30, ge=1, le=3_650)
    """How long a Subscription lasts that is no longer looked after; it is renewed when half of that is over."""

    def endpoint(self, flow: str) -> str:
        """Where the messages for a flow go."""
        return f"{str(self.public_url).rstrip('/')}/hooks/{flow}"


class FhirTopic(Topic):
    """Which changes a server tells us of."""

    criteria: str = Field(pattern=r"^[A-Z][A-Za-z]{1,63}(\?[\x21-\x7e]{1,1000})?$")
    """Which resources, as a search: `Observation?code=http://loinc.org|8480-6`."""
    topic: str | None = Field(None, pattern=r"^[a-z][a-z0-9+.-]*:[\x21-\x7e]{1,500}$")
    """Canonical URL of a topic (Subscriptions Backport guide); without it, R4's own rest-hook is asked for."""
    record: str | None = Field(None, pattern=r"^[a-z][A-Za-z]{0,63}$")
    """Element of the changed resource that refers to the flow's record (`subject`); without it the resource is the record."""
    heartbeat_s: int = Field(300, ge=10, le=86_400)
    """How often a topic's server is to say that it is still there, and how many events it has told."""
    kept_by: Literal["fieldline", "administrator"] = "fieldline"
    """Who makes and renews the Subscription at the server; an administrator gives it the endpoint and the header by hand."""

    _ours: frozenset[str] = PrivateAttr(frozenset())

    def beside(self, writes: Sequence[Target]) -> Self:
        """The same topic; what carries an identifier as the flow's own writes do is no change."""
        made = self.model_copy()
        made._ours = frozenset(each.identifier_system for each in writes if isinstance(each, FhirTarget))
        return made

    @property
    def ours(self) -> frozenset[str]:
        """The systems of the identifiers that the flow's own writes carry."""
        return self._ours

    @property
    def type(self) -> str:
        """The type of resources that change."""
        return self.criteria.partition("?")[0]
