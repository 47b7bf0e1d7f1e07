"""What an administrator writes about an OData service: the connection, what to read, what to write."""

import re
from collections.abc import Collection
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, HttpUrl, field_validator, model_validator

from fieldline_connectors.bounded import Bounds
from fieldline_connectors.http import ThrottledConfig
from fieldline_connectors.odata.idoc_template import Idoc, IdocPort
from fieldline_connectors.odata.inbound import Inbound
from fieldline_connectors.odata.login import Login
from fieldline_connectors.timezones import TimeZone
from fieldline_core.ports import Query, Target

_NAME = re.compile(r"[^\W\d][\w]{0,127}(\.[^\W\d][\w]{0,127}){0,3}")


def _named(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of OData: letters, digits and _, with dots between the parts of a path")
    return name


Name: TypeAlias = Annotated[str, AfterValidator(_named)]
"""A property's name; `to_Customer.Name` is a property of the one record behind a navigation, `Address.City` of a complex one."""

Key: TypeAlias = Annotated[
    tuple[Name, ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    Field(max_length=8),
]
"""One property or a list of properties that together name one record."""

Value: TypeAlias = bool | int | str
"""A fixed value; a decimal is written as a text."""


class OdataConfig(ThrottledConfig):
    """Settings of an OData service."""

    service_url: HttpUrl = Field(
        examples=["https://s4.example/sap/opu/odata/sap/API_BUSINESS_PARTNER", "https://acme.crm4.dynamics.com/api/data/v9.2"]
    )
    """Root of the service, without `$metadata` behind it."""
    preset: Literal["plain", "sap", "dynamics"] = "plain"
    """Whose ways the service has: `sap` asks for a CSRF token before it writes, `dynamics` is the Dataverse Web API."""
    version: Literal["auto", "v2", "v4"] = "auto"
    """Version of OData; `auto` reads it from `$metadata`."""
    login: Login | None = None
    """How Fieldline signs in; none for a service that is open."""
    sap_client: str | None = Field(None, pattern=r"^[0-9]{3}$", examples=["100"])
    """Client of the SAP system, where it is not the system's default one."""
    language: str | None = Field(None, pattern=r"^[A-Za-z]{2}(-[A-Za-z]{2})?$")
    """Language of labels and messages, such as `en`."""
    csrf: bool | None = None
    """Whether writes need a CSRF token; where it is left out, only with the preset `sap`."""
    timezone: TimeZone = "UTC"
    """Zone of the date-times that have none (Edm.DateTime of V2)."""
    page_rows: int = Field(1_000, ge=1, le=100_000)
    """Rows that the server is asked to put on one of its pages (`Prefer: odata.maxpagesize`)."""
    batch: Literal["auto", "multipart", "json", "none"] = "auto"
    """How several operations travel in one request; `auto` is multipart, `none` sends each by itself."""
    batch_rows: int = Field(200, ge=1, le=1_000)
    """Most operations in one `$batch` request."""
    changeset_rows: int = Field(1, ge=1, le=1_000)
    """Most operations in one changeset, which is written as a whole or not at all; many services of SAP take just one."""
    update_method: Literal["auto", "PATCH", "MERGE", "PUT"] = "auto"
    """How a record is changed; `auto` is MERGE for V2 and PATCH for V4. PUT empties the properties that are not sent."""
    request_ids: bool = False
    """Whether SAP's gateway (V2) recognises repeated requests by their `RequestID`; it is set up there, and not in `$metadata`."""
    entity_sets: tuple[Name, ...] = Field((), max_length=1_000)
    """Entity sets to discover; none means all."""
    metadata_max_bytes: int = Field(32 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024)
    """Largest `$metadata` that is read, in bytes after unpacking."""
    idocs: IdocPort = IdocPort()
    """Where IDocs are sent to, and how their status is seen."""
    inbound: Inbound | None = None
    """How messages of the system (IDocs, CloudEvents) are known to come from it."""
    bounds: Bounds = Bounds()
    """How large inbound messages may be."""

    @field_validator("service_url")
    @classmethod
    def _plain_root(cls, url: HttpUrl) -> HttpUrl:
        if url.query or url.fragment or "$" in (url.path or ""):
            raise ValueError("service_url is the root of the service: no $metadata, no question mark; the client is `sap_client`")
        return url

    @model_validator(mode="after")
    def _as_its_preset(self) -> Self:
        if self.preset == "dynamics" and (self.sap_client or self.version == "v2"):
            raise ValueError("the preset dynamics is OData V4 and knows no sap_client")
        if self.preset == "dynamics" and self.batch == "json":
            raise ValueError("the Dataverse Web API takes $batch as multipart only")
        if self.request_ids and (self.preset != "sap" or self.batch != "none"):
            raise ValueError("a RequestID is of SAP's gateway, and of a request by itself: write `preset: sap` and `batch: none`")
        return self

    @property
    def needs_csrf(self) -> bool:
        """Whether writes need a CSRF token."""
        return self.preset == "sap" if self.csrf is None else self.csrf


class OdataQuery(Query):
    """What to read: an entity set, in the order of its key."""

    entity_set: Name
    """Entity set to read, such as `A_SalesOrder`."""
    key: Key = ()
    """Properties that name one record (in a lookup: the record that the rows belong to); else the set's own key."""
    fields: tuple[Name, ...] | None = Field(None, max_length=2_000)
    """Properties to read; all of them where this is left out."""
    filter: str | None = Field(None, max_length=10_000, examples=["SalesOrderType eq 'OR'"])
    """A condition in the language of `$filter`. Trusted text: it goes to the service as it is written."""
    expand: dict[Name, tuple[Name, ...]] = Field(default_factory=dict, max_length=10, examples=[{"to_Item": ["Material"]}])
    """Lists of child rows: name of the navigation -> properties of its rows (none means all)."""
    changed_at: Name | None = Field(None, examples=["LastChangeDateTime"])
    """Property with the time of the last change, to read only what is new."""
    overlap_s: int = Field(600, ge=0, le=31_536_000)
    """How long a change may take to become visible: so far behind the newest one each run begins."""
    track_changes: bool = False
    """Whether the service itself says what has changed (`odata.track-changes`, delta links), where it can."""
    order: Literal["auto", "key", "server"] = "auto"
    """How pages follow each other: by the key or by the server's own links; `auto` is by key where that can be filtered by."""

    @model_validator(mode="after")
    def _one_way_of_changes(self) -> Self:
        if self.track_changes and (self.changed_at or self.order == "key"):
            raise ValueError("with track_changes the service says what is new and in which order: leave out changed_at and order")
        if self.changed_at and self.order == "server":
            raise ValueError("changed_at goes by the order of the key: leave out order")
        return self

    @property
    def incremental(self) -> bool:
        """Whether only what changed since the last reading is read."""
        return self.track_changes or self.changed_at is not None

    def reading(self, fields: Collection[str]) -> Self:
        """The same query asking for these properties and lists only."""
        lists = {name: self.expand.get(name, ()) for name in self.expand if name in fields}
        return self.model_copy(update={"fields": tuple(sorted(set(fields) - set(lists))), "expand": lists})


class OdataTarget(Target):
    """How decisions are written to an entity set."""

    operation: Literal["update", "upsert", "create", "idoc"] = "update"
    """`update` changes records that exist, `upsert` adds the missing ones, `create` adds and `idoc` sends one for each decision."""
    entity_set: Name = ""
    """Entity set to write to; an IDoc has none."""
    idoc: Idoc | None = None
    """For `idoc`: what each IDoc looks like."""
    key: Key = ()
    """Properties that hold the record's key; left out, the set's own. For `create` and `idoc`: those that refer to the record."""
    fields: dict[Name, str] = Field(min_length=1, max_length=200)
    """Property, or field of a segment (`E1EDK01.BELNR`) -> field of the mapping."""
    constants: dict[Name, Value] = Field(default_factory=dict, max_length=50)
    """Properties of a record that is added which always take the same value."""
    marker: Name | None = None
    """For `create`: text property of at least 64 characters, filterable, by which a repeat is recognised."""
    check_before: bool = True
    """Whether records are left alone that somebody changed since they were read."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        names = [*self.key, *self.fields, *self.constants, *filter(None, (self.marker,))]
        if len(names) != len(set(names)):
            raise ValueError("each property is written once: key, fields, constants and marker must differ")
        self._fits_its_operation()
        if self.operation != "create" and self.marker:
            raise ValueError("marker belongs to the operation create")
        if self.operation == "create" and not self.key:
            raise ValueError("create needs `key`: the property that refers to the record")
        if self.operation == "update" and self.constants:
            raise ValueError("constants are for records that are added: write upsert or create, or let the mapping fill the fields")
        return self

    def _fits_its_operation(self) -> None:
        if (self.operation == "idoc") != (self.idoc is not None):
            raise ValueError("`idoc` says what an IDoc looks like: it belongs to the operation idoc, which needs it")
        if bool(self.entity_set) != (self.idoc is None):
            raise ValueError("entity_set says what is written to: each operation needs it but idoc, which has none")
        if self.idoc and self.constants:
            raise ValueError("fixed values of an IDoc are `values` of its segments: leave out constants")
        if self.idoc and (wrong := self.idoc.misplaced([*self.key, *self.fields])):
            words = "write SEGMENT.FIELD, with a segment of the template and a field that is not among its `values`"
            raise ValueError(f"{', '.join(wrong)} is no free place in the IDoc: {words}")

    def overwrites(self, query: Query) -> tuple[str, ...]:
        """The properties that are compared before they are written, where the records that are read are those that are written."""
        same = isinstance(query, OdataQuery) and query.entity_set == self.entity_set and query.key == self.key
        return tuple(self.fields) if same and self.check_before and self.operation in ("update", "upsert") else ()

    def existing(self) -> Self:
        """An update, which adds no record."""
        return self.model_copy(update={"operation": "update", "constants": {}})
