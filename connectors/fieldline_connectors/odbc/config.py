"""What an administrator writes about a database: the connection, what to read, what to write."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from fieldline_connectors.timezones import TimeZone
from fieldline_core.ports import ConnectorConfig, Query, Target
from fieldline_core.secret import Secret

_PASSWORD = re.compile(r"(^|;)\s*(pwd|password)\s*=", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_OF_HANA = frozenset({"host", "port", "database", "encrypt", "validate_certificate", "trust_store", "driver"})
MAX_NAME = 128


def _named(name: str) -> str:
    if not name or len(name) > MAX_NAME or _CONTROL.search(name):
        raise ValueError(f"a name has 1 to {MAX_NAME} characters, none of them a control character")
    return name


def _located(name: str) -> str:
    parts = name.split(".")
    if len(parts) > 3:
        raise ValueError("a table is written as table, schema.table or database.schema.table")
    return ".".join(_named(part) for part in parts)


Name: TypeAlias = Annotated[str, AfterValidator(_named)]
"""A column's name, as it is stored: capitals matter where the database says so."""

TableName: TypeAlias = Annotated[str, AfterValidator(_located)]
"""A table's name with its schema before it where it has one: `sales.orders`."""

Key: TypeAlias = Annotated[
    tuple[Name, ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    Field(min_length=1, max_length=8),
]
"""One column or a list of columns that together name one row."""

DialectName: TypeAlias = Literal["auto", "postgresql", "mariadb", "sqlite", "sqlserver", "oracle", "hana"]


class OdbcConfig(ConnectorConfig):
    """Settings of a database that is reached through ODBC."""

    preset: Literal["plain", "sap-hana"] = "plain"
    """`sap-hana` makes the connection string from `host` and what follows it; with `plain` you write it, or name a data source."""
    dsn: str | None = None
    """Name of a data source in odbc.ini; either this or a connection string."""
    connection_string: str | None = Field(None, examples=["Driver={PostgreSQL Unicode};Servername=erp.example;Database=erp"])
    """ODBC connection string without the password."""
    host: str | None = Field(None, pattern=r"^[A-Za-z0-9.:_-]{1,253}$", examples=["hana.example"])
    """Host of SAP HANA."""
    port: int = Field(30_015, ge=1, le=65_535)
    """SQL port of SAP HANA: 3NN15 for instance NN, 443 in HANA Cloud, 3NN13 where `database` names the tenant."""
    database: str | None = Field(None, pattern=r"^[A-Za-z0-9_]{1,127}$", examples=["HXE"])
    """Tenant database of SAP HANA, where the port is that of its system database."""
    encrypt: bool = True
    """Whether the connection to SAP HANA is encrypted."""
    validate_certificate: bool = True
    """Whether the certificate of SAP HANA must be one that is trusted."""
    trust_store: Path | None = None
    """PEM file with the certificates that are trusted; else those of the operating system."""
    driver: str = Field("/usr/sap/hdbclient/libodbcHDB.so", max_length=1_000, examples=["HDBODBC"])
    """SAP's ODBC driver: the path of `libodbcHDB.so`, or the name that odbcinst.ini gives it."""
    user: str | None = None
    """User name, where the data source does not hold it."""
    password: Secret | None = None
    """Password of that user."""
    dialect: DialectName = "auto"
    """The database's SQL; `auto` asks the driver."""
    timezone: TimeZone = "UTC"
    """Zone of the date-times that the database holds without one."""
    query_timeout_s: int = Field(300, ge=1, le=86_400)
    """Longest that one statement may run."""
    login_timeout_s: int = Field(15, ge=1, le=300)
    """Longest that opening a connection may take."""
    schemas: tuple[Name, ...] = ()
    """Schemas to discover; none means all but the database's own."""
    ledger: bool = True
    """Whether each write leaves a row in the ledger table there, so that a repeat is noticed."""
    ledger_table: TableName = "fieldline_effect"
    """The ledger's table; it is made at the first write where that is allowed."""
    ledger_retention_days: int = Field(7, ge=1, le=3650)
    """Days after which a row of the ledger is deleted; keep it above the longest time that a write may be retried."""

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if self.preset == "sap-hana":
            self._is_hana()
        elif (self.dsn is None) == (self.connection_string is None):
            raise ValueError("write either dsn or connection_string")
        elif only := sorted(_OF_HANA & self.model_fields_set):
            raise ValueError(f"{', '.join(only)} belong to `preset: sap-hana`: with another database, write connection_string")
        if _PASSWORD.search(self.connection_string or ""):
            raise ValueError("the connection string holds a password: move it to `password: {secret: env:NAME}`")
        if re.search(r"[;{}\x00]", f"{self.dsn or ''}{self.user or ''}{self.driver}{self.trust_store or ''}"):
            raise ValueError("dsn, user, driver and trust_store are names; settings belong in connection_string")
        return self

    def _is_hana(self) -> None:
        if self.host is None:
            raise ValueError("the preset sap-hana needs host")
        if self.dsn is not None or self.connection_string is not None or self.dialect not in ("auto", "hana"):
            raise ValueError("the preset sap-hana makes the connection string itself: leave out dsn, connection_string and dialect")

    @property
    def place(self) -> str:
        """The database in words, for messages."""
        return f"SAP HANA at {self.host}" if self.preset == "sap-hana" else f"ODBC {self.dsn or 'connection'}"

    @property
    def spoken(self) -> DialectName:
        """The database's SQL, as far as the settings say it."""
        return "hana" if self.preset == "sap-hana" else self.dialect

    @property
    def address(self) -> str:
        """The connection string, without user and password."""
        if self.preset != "sap-hana":
            return f"DSN={self.dsn}" if self.dsn else (self.connection_string or "").rstrip("; ")
        # A lost connection must be an error: on one that the driver renews by itself, half a transaction could be committed.
        parts = [f"Driver={self.driver}", f"ServerNode={self.host}:{self.port}", "RECONNECT=FALSE"]
        parts += [f"DATABASENAME={self.database}"] if self.database else []
        parts += [f"ENCRYPT={str(self.encrypt).upper()}"]
        if self.encrypt:
            parts += [f"sslValidateCertificate={str(self.validate_certificate).upper()}"]
            parts += [f"sslTrustStore={self.trust_store}"] if self.trust_store else []
        return ";".join(parts)


class OdbcQuery(Query):
    """What to read: a table, or a SELECT, in the order of its key."""

    table: TableName | None = None
    """Table or view to read; read page by page, so the key wants an index."""
    sql: str | None = Field(None, max_length=100_000)
    """Instead of a table, a SELECT of your own; it runs once and is read as a stream. Trusted text: it runs as it is written."""
    key: Key
    """Columns that name one row; they must be unique together and never empty."""
    columns: tuple[Name, ...] | None = None
    """Columns to read; all of them where this is left out."""
    where: str | None = Field(None, max_length=20_000, examples=["status = ? AND region = 'EU'"])
    """A condition in the database's SQL. Trusted text: it runs as it is written; values belong in `params`."""
    params: tuple[bool | int | float | str, ...] = Field((), max_length=100)
    """Values of the question marks, first those in `sql`, then those in `where`."""
    watermark: Name | None = None
    """Column that grows with every change (a time or a counter), to read only what is new; `xmin` on PostgreSQL needs no column."""
    overlap_s: int = Field(600, ge=0, le=31_536_000)
    """How long a transaction may take to become visible: so far behind the newest time each reading begins."""
    unreadable_dates: Literal["refuse", "blank"] = "refuse"
    """What to do about dates that no calendar has (`infinity`, 0000-00-00, a skipped hour): stop, or read them as empty."""

    @model_validator(mode="after")
    def _one_relation(self) -> Self:
        if (self.table is None) == (self.sql is None):
            raise ValueError("write either table or sql")
        return self

    @property
    def incremental(self) -> bool:
        """Whether only what changed since the last reading is read."""
        return self.watermark is not None

    def reading(self, fields: Collection[str]) -> Self:
        """The same query asking for these columns only."""
        return self.model_copy(update={"columns": tuple(sorted(fields))})


class OdbcTarget(Target):
    """How decisions are written to a table: by key, as a set, in one transaction."""

    operation: Literal["update", "upsert", "insert"] = "update"
    """`update` changes rows that exist, `upsert` adds the missing ones, `insert` adds a row for each decision (history is kept)."""
    table: TableName
    """Table to write to."""
    key: Key
    """Columns that hold the key of the record."""
    fields: dict[Name, str] = Field(min_length=1, max_length=200)
    """Column of the table -> field of the mapping."""
    check_before: bool = True
    """Whether rows are left alone that somebody changed since they were read."""
    key_is_unique: bool = False
    """You vouch that the key is unique, where the database cannot say so (a view)."""
    written_at: Name | None = None
    """For `insert`: column that takes the time of writing (UTC)."""
    effect_key: Name | None = None
    """For `insert`: text column that takes the key of the write operation, 64 characters."""

    @model_validator(mode="after")
    def _columns_differ(self) -> Self:
        columns = [*self.key, *self.fields, *filter(None, (self.written_at, self.effect_key))]
        if len(columns) != len(set(columns)):
            raise ValueError("each column is written once: key, fields, written_at and effect_key must differ")
        if self.operation != "insert" and (self.written_at or self.effect_key):
            raise ValueError("written_at and effect_key belong to the operation insert")
        return self

    def overwrites(self, query: Query) -> tuple[str, ...]:
        """The columns that are compared before they are written, where the rows that are read are the ones that are written."""
        same = isinstance(query, OdbcQuery) and query.table == self.table
        return tuple(self.fields) if same and self.check_before and self.operation != "insert" else ()

    def reading(self) -> OdbcQuery:
        """The columns that are written, by key, whatever the flow's own query leaves out."""
        return OdbcQuery(table=self.table, key=self.key, columns=tuple(self.fields))

    def existing(self) -> Self:
        """An update, which adds no row."""
        return self.model_copy(update={"operation": "update"})
