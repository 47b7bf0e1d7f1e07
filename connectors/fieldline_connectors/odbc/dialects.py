"""How each database's SQL differs where it matters to reading: names, limits, types, the settings of a connection."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, ClassVar, TypeAlias

from fieldline_connectors.odbc.config import OdbcConfig
from fieldline_core.errors import Misconfigured
from fieldline_core.schema import FieldType

Connection: TypeAlias = Any
"""A pyodbc connection; the driver library is imported only when it is used."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of what is read: `cast` says that it is fetched as text, `db_type` is the database's name of its type."""

    name: str
    type: FieldType | None
    cast: bool = False
    aware: bool = False
    db_type: str = ""


_BY_CLASS: Mapping[type, FieldType] = {
    bool: FieldType.BOOLEAN, int: FieldType.INTEGER, float: FieldType.NUMBER, Decimal: FieldType.DECIMAL, str: FieldType.TEXT,
    date: FieldType.DATE, datetime: FieldType.DATETIME, time: FieldType.TIME,
}  # fmt: skip
_EXACT_AS_TEXT = (FieldType.DECIMAL, FieldType.DATE, FieldType.DATETIME, FieldType.TIME)


class Dialect:
    """Standard SQL; the databases below say where they differ."""

    name: ClassVar[str] = "standard"
    quotes: ClassVar[tuple[str, str]] = ('"', '"')
    one_row: ClassVar[str] = ""
    """The table of one row, where a SELECT needs one."""
    max_params: ClassVar[int] = 900
    always: ClassVar[Mapping[str, str]] = {}
    """Driver settings of every connection."""
    reading: ClassVar[Mapping[str, str]] = {}
    """Driver settings of connections that read: rows in portions, never the whole result in memory."""
    casts: ClassVar[tuple[FieldType, ...]] = ()
    """Types that are fetched as text, because the driver would change them."""
    types: ClassVar[Mapping[FieldType, str]] = {}
    """The type that a parameter is cast to, where the database does not infer it: precision {p}, scale {s}."""

    def quote(self, name: str) -> str:
        """A column's name as an identifier."""
        opening, closing = self.quotes
        return opening + name.replace(closing, closing * 2) + closing

    def table(self, name: str) -> str:
        """A table's name, with its schema, as identifiers."""
        return ".".join(map(self.quote, name.split(".")))

    def session(self, config: OdbcConfig) -> Sequence[str]:
        """The statements that a new connection begins with."""
        return ()

    def begin(self) -> Sequence[str]:
        """The statements that a transaction which writes begins with."""
        return ()

    def text(self, expression: str, column: Column) -> str:
        """The expression as exact text."""
        return f"CAST({expression} AS VARCHAR(64))"

    def selected(self, column: Column) -> str:
        """A column in the list of a SELECT."""
        quoted = self.quote(column.name)
        return f"{self.text(quoted, column)} AS {quoted}" if column.cast else quoted

    def limited(self, select: str, rows: int | None) -> str:
        """An ordered SELECT that gives at most so many rows."""
        return select if rows is None else f"{select} LIMIT {rows}"

    def columns(self, connection: Connection, relation: str, params: Sequence[Any]) -> list[Column]:
        """The columns of a relation, with their types; those that cannot be read as values have none."""
        cursor = connection.execute(self.limited(f"SELECT * FROM {relation}", self.probe_rows), *params)  # noqa: S608
        found = [self._column(entry) for entry in cursor.description]
        cursor.close()
        return found

    probe_rows: ClassVar[int] = 0

    def _column(self, entry: Sequence[Any]) -> Column:
        kind = _BY_CLASS.get(entry[1])
        db_type = self.types.get(kind, "").format(p=entry[4], s=entry[5]) if kind else ""
        return Column(entry[0], kind, cast=kind in self.casts, db_type=db_type)

    def placeholder(self, column: Column) -> str:
        """A question mark that is compared with the column."""
        return f"CAST(? AS {column.db_type})" if column.db_type else "?"

    def bound(self, column: Column, text: str) -> Any:
        """A value, given as its text, as the driver takes it for that column; raises ValueError where it is none."""
        match column.type:
            case FieldType.INTEGER:
                return int(text)
            case FieldType.DECIMAL:
                return Decimal(text)
            case FieldType.DATE:
                return date.fromisoformat(text)
            case FieldType.DATETIME:
                return datetime.fromisoformat(text)
        return text

    def after_key(self, keys: Sequence[Column]) -> tuple[str, list[int]]:
        """The condition that a row comes behind a key, and which parts of the key its question marks take."""
        columns = [(self.quote(column.name), self.placeholder(column)) for column in keys]
        steps: list[str] = []
        positions: list[int] = []
        for last, (name, mark) in enumerate(columns):
            equal = [f"{other} = {its_mark}" for other, its_mark in columns[:last]]
            steps.append("(" + " AND ".join([*equal, f"{name} > {mark}"]) + ")")
            positions += range(last + 1)
        if len(columns) == 1:
            return steps[0], positions
        first, mark = columns[0]
        return f"{first} >= {mark} AND ({' OR '.join(steps)})", [0, *positions]

    def estimates(self) -> str | None:
        """A SELECT of schema, table and estimated rows, where the database keeps them."""
        return None

    system_schemas: ClassVar[frozenset[str]] = frozenset({"information_schema"})


class PostgreSql(Dialect):
    """PostgreSQL: all but the plain types are fetched as text, which is exact, and faster than the driver's conversions."""

    name = "postgresql"
    max_params = 7_000
    # Debian's driver is set up to write a log file for each process, which could hold what is sent.
    always: ClassVar[Mapping[str, str]] = {"BoolsAsChar": "0", "ApplicationName": "fieldline", "CommLog": "0", "Debug": "0"}
    reading: ClassVar[Mapping[str, str]] = {"UseDeclareFetch": "1", "Fetch": "1000"}
    system_schemas = frozenset({"information_schema", "pg_catalog", "pg_toast"})
    _TYPES: ClassVar[Mapping[str, FieldType | None]] = {
        "smallint": FieldType.INTEGER, "integer": FieldType.INTEGER, "bigint": FieldType.INTEGER, "real": FieldType.NUMBER,
        "double precision": FieldType.NUMBER, "numeric": FieldType.DECIMAL, "boolean": FieldType.BOOLEAN, "date": FieldType.DATE,
        "timestamp without time zone": FieldType.DATETIME, "timestamp with time zone": FieldType.DATETIME,
        "time without time zone": FieldType.TIME, "bytea": None,
    }  # fmt: skip
    _PLAIN = frozenset({"smallint", "integer", "bigint", "real", "double precision", "boolean", "text", "character varying"})
    _UNBOUNDED: ClassVar[Mapping[str, str]] = {"character": "bpchar", "bit": "varbit"}

    def session(self, config: OdbcConfig) -> Sequence[str]:
        return "SET TIME ZONE 'UTC'", f"SET statement_timeout = {config.query_timeout_s * 1000}", "SET DateStyle = 'ISO, YMD'"

    def begin(self) -> Sequence[str]:
        return ("SET CONSTRAINTS ALL IMMEDIATE",)

    def text(self, expression: str, column: Column) -> str:
        return f"{expression}::text"

    def columns(self, connection: Connection, relation: str, params: Sequence[Any]) -> list[Column]:
        names = [column.name for column in super().columns(connection, relation, params)]
        if len(set(names)) < len(names):
            return [Column(name, FieldType.TEXT) for name in names]
        asked = ", ".join(f"pg_typeof(q.{self.quote(name)})::text" for name in names)
        sql = f"SELECT {asked} FROM (SELECT 1) AS one LEFT JOIN {relation} ON false"  # noqa: S608
        row = connection.execute(sql, *params).fetchone()
        return [self.typed(name, kind) for name, kind in zip(names, row, strict=True)]

    def typed(self, name: str, kind: str) -> Column:
        """The column of a type of PostgreSQL, such as `numeric`."""
        return Column(
            name, self._TYPES.get(kind, FieldType.TEXT), cast=kind not in self._PLAIN, aware=kind == "timestamp with time zone",
            db_type=self._UNBOUNDED.get(kind, kind),
        )  # fmt: skip

    def bound(self, column: Column, text: str) -> Any:
        return super().bound(column, text) if column.type is FieldType.INTEGER else text

    def after_key(self, keys: Sequence[Column]) -> tuple[str, list[int]]:
        names, marks = ", ".join(self.quote(key.name) for key in keys), ", ".join(map(self.placeholder, keys))
        return f"({names}) > ({marks})", list(range(len(keys)))

    def estimates(self) -> str:
        return (
            "SELECT n.nspname, c.relname, CAST(c.reltuples AS bigint) FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'm') AND c.reltuples >= 0"
        )


class MariaDb(Dialect):
    """MariaDB; zero dates, which the driver reads as empty, are seen because dates are fetched as text."""

    name = "mariadb"
    quotes = ("`", "`")
    max_params = 5_000
    always: ClassVar[Mapping[str, str]] = {"OPTION": "2"}
    reading: ClassVar[Mapping[str, str]] = {"FORWARDONLY": "1", "NO_CACHE": "1"}
    casts = _EXACT_AS_TEXT
    system_schemas = frozenset({"information_schema", "mysql", "performance_schema", "sys"})

    def session(self, config: OdbcConfig) -> Sequence[str]:
        zone = "+00:00" if config.timezone == "UTC" else config.timezone
        return (
            f"SET SESSION time_zone = '{zone}'",
            f"SET SESSION max_statement_time = {config.query_timeout_s}",
            "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES,NO_ZERO_IN_DATE')",
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        )

    def text(self, expression: str, column: Column) -> str:
        return f"CAST({expression} AS CHAR)"

    def bound(self, column: Column, text: str) -> Any:
        return super().bound(column, text) if column.type in (FieldType.INTEGER, FieldType.DECIMAL) else text

    def estimates(self) -> str:
        return "SELECT table_schema, table_name, table_rows FROM information_schema.tables WHERE table_rows IS NOT NULL"


class Sqlite(Dialect):
    """SQLite; types are those of the first row, where a column declares none."""

    name = "sqlite"
    casts = (FieldType.DATE, FieldType.DATETIME, FieldType.TIME)
    probe_rows = 1

    def text(self, expression: str, column: Column) -> str:
        return f"CAST({expression} AS TEXT)"

    def bound(self, column: Column, text: str) -> Any:
        return super().bound(column, text) if column.type is FieldType.INTEGER else text


class SqlServer(Dialect):
    """Microsoft SQL Server."""

    name = "sqlserver"
    types: ClassVar[Mapping[FieldType, str]] = {
        FieldType.INTEGER: "BIGINT", FieldType.NUMBER: "FLOAT", FieldType.DECIMAL: "DECIMAL({p},{s})", FieldType.BOOLEAN: "BIT",
        FieldType.DATE: "DATE", FieldType.DATETIME: "DATETIME2(6)", FieldType.TIME: "TIME(6)", FieldType.TEXT: "NVARCHAR(MAX)",
    }  # fmt: skip
    quotes = ("[", "]")
    max_params = 2_000
    casts = (FieldType.DECIMAL,)
    system_schemas = frozenset({"INFORMATION_SCHEMA", "sys"})

    def limited(self, select: str, rows: int | None) -> str:
        if rows is None:
            return select
        if "ORDER BY" not in select:
            return select.replace("SELECT ", f"SELECT TOP {rows} ", 1)
        return f"{select} OFFSET 0 ROWS FETCH NEXT {rows} ROWS ONLY"


class Oracle(Dialect):
    """Oracle Database."""

    name = "oracle"
    one_row = "dual"
    types: ClassVar[Mapping[FieldType, str]] = {
        FieldType.INTEGER: "NUMBER", FieldType.NUMBER: "BINARY_DOUBLE", FieldType.DECIMAL: "NUMBER", FieldType.BOOLEAN: "NUMBER(1)",
        FieldType.DATE: "DATE", FieldType.DATETIME: "TIMESTAMP(6)", FieldType.TEXT: "VARCHAR2(4000)",
    }  # fmt: skip
    casts = (FieldType.DECIMAL,)

    def text(self, expression: str, column: Column) -> str:
        return f"TO_CHAR({expression}, 'TM9', 'NLS_NUMERIC_CHARACTERS=''.,''')"

    def limited(self, select: str, rows: int | None) -> str:
        return select if rows is None else f"{select} FETCH FIRST {rows} ROWS ONLY"


class Hana(Dialect):
    """SAP HANA."""

    name = "hana"
    one_row = "DUMMY"
    types: ClassVar[Mapping[FieldType, str]] = {
        FieldType.INTEGER: "BIGINT", FieldType.NUMBER: "DOUBLE", FieldType.DECIMAL: "DECIMAL({p},{s})",
        FieldType.BOOLEAN: "BOOLEAN",
        FieldType.DATE: "DATE", FieldType.DATETIME: "TIMESTAMP", FieldType.TIME: "TIME", FieldType.TEXT: "NVARCHAR(5000)",
    }  # fmt: skip
    casts = (FieldType.DECIMAL,)
    system_schemas = frozenset({"SYS", "_SYS_BIC", "_SYS_REPO", "_SYS_STATISTICS"})


DIALECTS: Mapping[str, Dialect] = {d.name: d for d in (PostgreSql(), MariaDb(), Sqlite(), SqlServer(), Oracle(), Hana())}
_PRODUCTS = {
    "postgresql": "postgresql", "mariadb": "mariadb", "sqlite": "sqlite", "microsoft sql server": "sqlserver",
    "oracle": "oracle", "hdb": "hana",
}  # fmt: skip


def dialect_of(product: str) -> Dialect:
    """The dialect of a database by the name that its driver gives it."""
    for start, name in _PRODUCTS.items():
        if product.lower().startswith(start):
            return DIALECTS[name]
    raise Misconfigured(
        f"the database {product!r} is not known: set `dialect` of the connection to one of {', '.join(sorted(DIALECTS))}"
    )
