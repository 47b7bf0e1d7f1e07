"""What an administrator writes about a Salesforce org: the connection, what to read, what to write."""

import re
from collections.abc import Collection
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, HttpUrl, field_validator, model_validator

from fieldline_connectors.http import HttpConfig
from fieldline_connectors.salesforce.soql import Selection, parsed
from fieldline_core.ports import Document, Query, Target
from fieldline_core.secret import Secret

_API_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}")
_PASSWORD_LOGIN = {"password", "security_token", "securityToken", "consumer_secret", "session_id"}
CHANGED_AT = "LastModifiedDate"
"""The field that says when a person or an app last changed a record."""
_GENERIC_HOSTS = ("login.salesforce.com", "test.salesforce.com")


def _api_name(name: str) -> str:
    if not _API_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no API name; Setup > Object Manager shows it, for example Fieldline_Score__c")
    return name


ApiName: TypeAlias = Annotated[str, AfterValidator(_api_name)]
"""The API name of an object or a field."""


class JwtBearer(Document):
    """Signs in as an integration user with a private key, whose certificate the External Client App knows."""

    flow: Literal["jwt_bearer"]
    """This way of signing in."""
    client_id: str = Field(min_length=1, max_length=512)
    """Consumer key of the External Client App."""
    username: str = Field(min_length=1, max_length=255)
    """User name of the integration user."""
    private_key: Secret
    """The RSA key in PEM that belongs to the app's certificate."""
    audience: HttpUrl | None = None
    """Whom the key is shown to; `https://test.salesforce.com` for a sandbox, else `https://login.salesforce.com`."""


class ClientCredentials(Document):
    """Signs in as the External Client App itself, which runs as the user that its policies name."""

    flow: Literal["client_credentials"]
    """This way of signing in."""
    client_id: str = Field(min_length=1, max_length=512)
    """Consumer key of the External Client App."""
    client_secret: Secret
    """Consumer secret of the app."""


class OutboundMessages(Document):
    """How outbound messages are known to be the org's: they carry no signature, so a proxy has to see Salesforce's certificate."""

    organization_id: str = Field(pattern=r"^00D[A-Za-z0-9]{12}([A-Za-z0-9]{3})?$")
    """The org's Id: Setup > Company Information."""
    proxy_header: str = Field("x-client-verified", pattern="^[a-z0-9-]{1,64}$")
    """Header that your proxy sets, and takes out of what comes from outside, where the client certificate is Salesforce's."""
    proxy_secret: Secret
    """What the proxy writes into that header."""
    max_bytes: int = Field(1024 * 1024, ge=1024, le=16 * 1024 * 1024)
    """Largest message in bytes."""


class SalesforceConfig(HttpConfig):
    """Settings of a Salesforce org."""

    url: HttpUrl = Field(examples=["https://acme.my.salesforce.com", "https://acme--uat.sandbox.my.salesforce.com"])
    """The org's My Domain address; a sandbox is a connection of its own."""
    login: Annotated[JwtBearer | ClientCredentials, Field(discriminator="flow")]
    """How Fieldline signs in: `jwt_bearer` or `client_credentials`."""
    api_version: str = Field("64.0", pattern=r"^[1-9][0-9]\.0$")
    """Version of the REST and Bulk API."""
    client_name: str = Field("fieldline", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    """Name under which our changes appear in the org's change events."""
    assignment_rules: bool = False
    """Whether a write may start assignment rules, which can give a lead to somebody else."""
    duplicate_rules: Literal["refuse", "allow"] = "refuse"
    """What a duplicate rule does to a write: `refuse` heeds it, `allow` saves all the same."""
    bulk_read_from: int = Field(20_000, ge=1)
    """From so many records on, reading goes through the Bulk API 2.0."""
    bulk_write_from: int = Field(2_000, ge=1)
    """From so many changed records in one write on, writing goes through the Bulk API 2.0."""
    bulk_poll_s: float = Field(5.0, ge=0.01, le=60)
    """First wait before asking how far a bulk job is, in seconds; it grows."""
    bulk_wait_s: float = Field(3_600.0, ge=1, le=86_400)
    """Longest wait for a bulk query, in seconds."""
    daily_calls_share: float = Field(0.5, gt=0, le=1)
    """Share of the org's daily API calls that this connection may use, counted over all workers."""
    org_calls_limit: float = Field(0.9, gt=0, le=1)
    """Share of the org's daily API calls, used by whomever, at which this connection stops."""
    outbound_messages: OutboundMessages | None = None
    """For flows that outbound messages trigger: how those are known to be the org's."""
    pubsub_url: HttpUrl = HttpUrl("https://api.pubsub.salesforce.com:7443")
    """Address of the Pub/Sub API, for flows that change events trigger; some regions have one of their own."""
    objects: tuple[ApiName, ...] = Field((), max_length=200)
    """Objects to discover; none means the usual standard objects and all custom ones."""

    @model_validator(mode="before")
    @classmethod
    def _no_passwords(cls, data: Any) -> Any:
        if isinstance(data, dict):
            login = data.get("login")
            ways = {str(login.get("flow"))} if isinstance(login, dict) else set()
            keys = {*data, *(login if isinstance(login, dict) else ())}
            if keys & _PASSWORD_LOGIN or ways & {"password", "soap", "username_password"}:
                raise ValueError(
                    "Salesforce is switching off logins by user name and password (SOAP, and the OAuth password flow): "
                    "make an External Client App and use login.flow jwt_bearer or client_credentials"
                )
        return data

    @model_validator(mode="after")
    def _my_domain(self) -> Self:
        if isinstance(self.login, ClientCredentials) and self.url.host in _GENERIC_HOSTS:
            raise ValueError(
                "client_credentials works at the org's own address: give its My Domain, https://NAME.my.salesforce.com"
            )
        return self

    @property
    def audience(self) -> str:
        """Whom a signed assertion is meant for."""
        if isinstance(self.login, JwtBearer) and self.login.audience:
            return str(self.login.audience).rstrip("/")
        host = self.url.host or ""
        return f"https://{'test' if '.sandbox.' in host or host.startswith('test.') else 'login'}.salesforce.com"


class SalesforceQuery(Query):
    """What to read, in SOQL."""

    soql: str = Field(max_length=20_000, examples=["SELECT Id, Account.Industry FROM Contact WHERE IsDeleted = false"])
    """SELECT … FROM … WHERE …; subqueries give lists of rows. Fields that the mapping needs are added, others left out."""
    key: ApiName = "Id"
    """Field that holds the key: Id, an external id, or for rows that belong to records the field that names the record."""
    changes_only: bool = False
    """Whether each run reads only what has changed (by SystemModstamp) since the last one."""
    overlap_s: int = Field(600, ge=0, le=86_400)
    """How long a change may take to become visible: so far behind the newest change the next run begins."""
    deleted: bool = False
    """Whether deleted and archived records are read, too; the field IsDeleted tells them apart."""
    fields: tuple[str, ...] | None = Field(None, max_length=2_000)
    """Fields to read instead of those in the SELECT; set by Fieldline."""

    @field_validator("soql")
    @classmethod
    def _understood(cls, soql: str) -> str:
        parsed(soql)
        return soql

    @property
    def selection(self) -> Selection:
        """The query, taken apart."""
        return parsed(self.soql)

    @property
    def incremental(self) -> bool:
        """Whether only what changed since the last reading is read."""
        return self.changes_only

    def reading(self, fields: Collection[str]) -> Self:
        """The same query asking for these fields and lists only."""
        return self.model_copy(update={"fields": tuple(sorted(fields))})


class SalesforceTarget(Target):
    """How answers are written to records: by Id or by an external id."""

    operation: Literal["update", "upsert", "create"] = "update"
    """`update` changes records, `upsert` adds missing ones by external id, `create` adds one for each decision (a Task)."""
    object: ApiName
    """Object to write to."""
    key: ApiName = "Id"
    """Field that holds the record's key; for `create` the field that points to the record, such as WhoId."""
    fields: dict[ApiName, str] = Field(min_length=1, max_length=200)
    """Field of the object -> field of the mapping."""
    constants: dict[ApiName, str | bool | int | float] = Field(default_factory=dict, max_length=50)
    """Fields that always take the same value, such as the Status of a Task."""
    marker: ApiName | None = None
    """For `create`: text field of at least 64 characters by which a repeat is recognised."""
    only_if: str | None = None
    """For `create`: field of `fields` that must be filled (and not false) for a record to be added."""
    check_before: bool = True
    """Whether fields are left alone that somebody changed since the record was read."""
    check_record: bool = True
    """Whether a record in which somebody changed anything else since it was read (LastModifiedDate) is left alone, and is read and
    decided on again; not where its object has no such field."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        names = [self.key.lower(), *(name.lower() for name in (*self.fields, *self.constants)), (self.marker or "").lower()]
        if len(names) != len(set(names)):
            raise ValueError("each field is written once: key, fields, constants and marker must differ")
        if self.operation == "upsert" and self.key.lower() == "id":
            raise ValueError("an upsert goes by an external id: name that field as `key`")
        if self.operation == "create" and (self.marker is None or self.key.lower() == "id"):
            raise ValueError("create needs `key` (the field that points to the record) and `marker` (a field that takes our mark)")
        if self.operation != "create" and (self.marker or self.only_if or self.constants):
            raise ValueError("marker, only_if and constants belong to the operation create")
        asked_for = self.check_record and "check_record" in self.model_fields_set
        if asked_for and (self.operation == "create" or not self.check_before):
            raise ValueError("check_record belongs to updates and upserts that check before they write")
        if self.only_if is not None and self.only_if not in self.fields:
            raise ValueError("only_if names one of `fields`")
        return self

    def overwrites(self, query: Query) -> tuple[str, ...]:
        """The fields that are compared before they are written, where the records that are read are the ones that are written."""
        same = (
            isinstance(query, SalesforceQuery)
            and query.selection.object.lower() == self.object.lower()
            and query.key.lower() == self.key.lower()
        )
        compared = (*self.fields, *([CHANGED_AT] if self.check_record else []))
        return compared if same and self.check_before and self.operation != "create" else ()
