"""What an administrator writes about a FHIR server: the connection, and what to read."""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, HttpUrl, model_validator

from fieldline_connectors.fhir.login import Login
from fieldline_connectors.fhir.topic import Notifications
from fieldline_connectors.fhir.views import Partial, View, ViewDefinition, compile_view, parse_view
from fieldline_connectors.http import ThrottledConfig
from fieldline_connectors.timezones import TimeZone
from fieldline_core.errors import Misconfigured
from fieldline_core.ports import Document, Query

_OURS = ("_count", "_sort", "_lastUpdated", "_include", "_revinclude", "_format", "_elements", "_summary")


class FhirConfig(ThrottledConfig):
    """Settings of a FHIR R4 server."""

    base_url: HttpUrl = Field(examples=["https://ehr.example/api/FHIR/R4"])
    """Root of the FHIR API, without a resource at its end."""
    login: Login | None = None
    """How to sign in; left out for a test server that lets everybody in."""
    page_size: int = Field(100, ge=1, le=1000)
    """Resources for each page that is asked for; servers may give fewer."""
    search_by: Literal["get", "post"] = "get"
    """How searches are sent: `post` keeps parameters out of the server's address logs, where the server takes it."""
    bundle_rows: int = Field(50, ge=1, le=500)
    """Rows for each bundle, where the server takes batches or transactions; 1 sends each by itself."""
    search_rows: int = Field(20, ge=1, le=50)
    """Written rows that one search looks for; 1 where the server searches for one patient at a time, as lookups then do, too."""
    notifications: Notifications | None = None
    """How Subscriptions of the server reach Fieldline, for flows that listen to `changes`."""
    timezone: TimeZone = "UTC"
    """Zone of dates and times that the server gives without one."""

    @property
    def root(self) -> str:
        """The root of the API without a slash at its end."""
        return str(self.base_url).rstrip("/")


Value = Annotated[str, Field(min_length=1, max_length=2_000)]


class Export(Document):
    """Bulk Data `$export`: the server prepares files of all resources of the view's type, while no worker waits."""

    level: Literal["system", "patient", "group"] = "system"
    """Whose resources: all of the server, those that belong to any patient, or to those of a group."""
    group: str | None = Field(None, pattern=r"^[A-Za-z0-9.-]{1,64}$")
    """Id of the Group, for the level `group`."""
    poll_s: float = Field(10.0, ge=0.01, le=3_600)
    """First wait before asking how far the server is, in seconds, where it does not say itself; it grows."""
    longest_s: float = Field(86_400.0, ge=1, le=604_800)
    """Longest time that the server may take, in seconds; then the export is given up, and the run ends."""
    errors: Literal["refuse", "pass"] = "refuse"
    """Where the server says that it could not export all: `refuse` ends the run before anything is read, `pass` reads the rest."""

    @model_validator(mode="after")
    def _of_a_group(self) -> Self:
        if (self.group is not None) != (self.level == "group"):
            raise ValueError("`group` is the id of a Group, and goes with `level: group`")
        return self


class FhirQuery(Query):
    """What to read: resources that a search finds or an export brings, as the rows of a view."""

    view: dict[str, Any]
    """The ViewDefinition (SQL on FHIR v2)."""
    key: str = "id"
    """The view's column that names a row."""
    search: str | None = Field(None, pattern=r"^[A-Z][A-Za-z]{1,63}$")
    """The type of resources to search, where it is not the view's: with `include` the view reads what comes along."""
    parameters: Mapping[str, Value | tuple[Value, ...]] = Field({}, max_length=50)
    """Search parameters of FHIR: `code: http://loinc.org|8480-6`; a list asks for all of its values at once."""
    include: tuple[Value, ...] = Field((), max_length=20)
    """Resources to read along that those found refer to: `Observation:subject`."""
    revinclude: tuple[Value, ...] = Field((), max_length=20)
    """Resources to read along that refer to those found: `Observation:subject`."""
    by: str = Field("_id", pattern=r"^[A-Za-z_][A-Za-z0-9_:.-]{0,99}$")
    """The search parameter that takes the keys of a lookup: `_id`, or `patient` for the rows that belong to patients."""
    changes: bool = False
    """Whether a run reads only what has changed since the last one (`_lastUpdated`, or `_since` of an export)."""
    overlap_s: int = Field(600, ge=0, le=31_536_000)
    """How far behind the newest change each reading begins: how long a server may take to show a change."""
    export: Export | None = None
    """Read by Bulk Data `$export` instead of by searches; conditions stand in the view's `where`."""
    partial_dates: Partial = Partial.BLANK
    """What a date without its month or day becomes: `blank`, or `refuse` stops the reading."""

    @property
    def incremental(self) -> bool:
        """Whether a run goes on where the last one stopped."""
        return self.changes

    @property
    def repeats(self) -> bool:
        """Whether one run may meet a record twice: searches end before they are read, and are made again."""
        return self.changes or self.export is None

    @property
    def prepared(self) -> bool:
        """Whether the server has to prepare what is read."""
        return self.export is not None

    @cached_property
    def compiled(self) -> View:
        """The view, compiled once."""
        return compile_view(self.definition)

    @property
    def definition(self) -> ViewDefinition:
        """The view."""
        return parse_view(self.view)

    @property
    def searched(self) -> str:
        """The type of resources that is searched."""
        return self.search or self.compiled.resource

    @model_validator(mode="after")
    def _fits(self) -> Self:
        try:
            columns = {column.name for column in self.compiled.columns}
        except Misconfigured as error:
            raise ValueError(str(error)) from None
        if self.key not in columns:
            raise ValueError(f"the view has no column {self.key!r} for `key`: add one, such as getResourceKey()")
        if ours := [name for name in self.parameters if name.partition(":")[0] in _OURS]:
            raise ValueError(f"{ours[0]} is set by Fieldline: use `changes`, `include`, `revinclude` or the connection's page_size")
        if self.export and (self.parameters or self.include or self.revinclude or self.search):
            raise ValueError("an export takes no search: write conditions in the view's `where`")
        return self
