"""The statements that write a set of rows at once, in each database's SQL.

The rows come as `x`, with short names: `k0` is the first key, `f0` the first field, `b0` what that field was when it was
read, `i` the row's position. `t` is the table.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import polars as pl

from fieldline_connectors.odbc.dialects import Column, Dialect
from fieldline_core.schema import FieldType

Statement: TypeAlias = tuple[str, list[Any]]

_STATEMENT_BYTES = 4_000_000
I_COLUMN = Column("i", FieldType.INTEGER, db_type="bigint")


@dataclass(frozen=True, slots=True)
class Shape:
    """A target's table: its columns by their short names, and what is given once for all rows of an insert."""

    table: str
    keys: Mapping[str, Column]
    fields: Mapping[str, Column]
    befores: Mapping[str, Column] = field(default_factory=dict)
    constants: Sequence[tuple[Column, Any]] = ()
    charsets: Mapping[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, Column]:
        """All that a row of `x` holds."""
        return {**self.keys, **self.fields, **self.befores}


class Statements:
    """Multi-row VALUES, and UPDATE … FROM: SQLite's words; the databases below say where they differ."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    def pieces(self, rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """The rows in as many statements as the limit of parameters asks for."""
        yield from rows.iter_slices(max(1, (self.dialect.max_params - 10) // max(1, rows.width)))

    def source(self, parts: Mapping[str, Column], rows: pl.DataFrame) -> Statement:
        """The rows as a table `x`, with its parameters."""
        named = ", ".join(f"column{number} AS {part}" for number, part in enumerate(parts, 1))
        one = f"({', '.join('?' * len(parts))})"
        return f"(SELECT {named} FROM (VALUES {', '.join([one] * rows.height)})) AS x", _flat(parts, rows)  # noqa: S608

    def update(self, shape: Shape, rows: pl.DataFrame) -> Statement:
        """Writes the fields of the rows that are there and unchanged."""
        source, params = self.source(shape.parts, rows)
        where = " AND ".join(filter(None, (self.match(shape), self.unchanged(shape))))
        return f"UPDATE {shape.table} AS t SET {self.assigned(shape)} FROM {source} WHERE {where}", params  # noqa: S608

    def insert(self, shape: Shape, rows: pl.DataFrame, *, missing_only: bool = False) -> Statement:
        """Adds the rows; with `missing_only` those whose key is not there."""
        parts = {**shape.keys, **shape.fields}
        source, params = self.source(parts, rows)
        names = ", ".join(
            self.dialect.quote(column.name) for column in [*parts.values(), *(column for column, _ in shape.constants)]
        )
        values = ", ".join([*(f"x.{part}" for part in parts), *(self.dialect.placeholder(column) for column, _ in shape.constants)])
        sql = f"INSERT INTO {shape.table} ({names}) SELECT {values} FROM {source}"  # noqa: S608
        if missing_only:
            sql += f" WHERE NOT EXISTS (SELECT 1 FROM {shape.table} t WHERE {self.match(shape)})"  # noqa: S608
        elif self.dialect.name == "sqlite":
            sql += " WHERE true"
        return sql, [value for _, value in shape.constants] + params

    def states(self, shape: Shape, rows: pl.DataFrame) -> Statement:
        """Asks which rows are there (their `i`), and whether each is unchanged (1) or not (0)."""
        source, params = self.source({"i": I_COLUMN, **shape.parts}, rows)
        same = self.unchanged(shape)
        verdict = f"CASE WHEN {same} THEN 1 ELSE 0 END" if same else "1"
        return f"SELECT x.i, {verdict} FROM {shape.table} t JOIN {source} ON {self.match(shape)}", params  # noqa: S608

    def match(self, shape: Shape) -> str:
        """The condition that a row of `x` names a row of the table."""
        return " AND ".join(f"t.{self.dialect.quote(column.name)} = {self.key(shape, part)}" for part, column in shape.keys.items())

    def key(self, shape: Shape, part: str) -> str:
        """A key of `x` as it is compared with the table's."""
        return f"x.{part}"

    def assigned(self, shape: Shape) -> str:
        """The list behind SET."""
        return ", ".join(f"{self.dialect.quote(column.name)} = x.{part}" for part, column in shape.fields.items())

    def unchanged(self, shape: Shape) -> str:
        """The condition that nobody changed the row since it was read, or that it holds already what is to be written."""
        if not shape.befores:
            return ""
        pairs = [(column, part, "f" + part[1:]) for part, column in shape.befores.items()]
        as_read = " AND ".join(self.equal(shape, column, part) for column, part, _ in pairs)
        as_meant = " AND ".join(self.equal(shape, column, part) for column, _, part in pairs)
        return f"(({as_read}) OR ({as_meant}))"

    def equal(self, shape: Shape, column: Column, part: str) -> str:
        """The condition that a value of the table equals one of `x`, or both are empty."""
        return f"t.{self.dialect.quote(column.name)} IS x.{part}"


class PostgreSqlStatements(Statements):
    """One parameter for all rows: a JSON array, opened by `jsonb_to_recordset` with the columns' own types."""

    def pieces(self, rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
        yield from _by_bytes(rows)

    def source(self, parts: Mapping[str, Column], rows: pl.DataFrame) -> Statement:
        named = ", ".join(f"{part} {column.db_type}" for part, column in parts.items())
        return f"jsonb_to_recordset(CAST(? AS jsonb)) AS x({named})", [_json(parts, rows)]

    def equal(self, shape: Shape, column: Column, part: str) -> str:
        return f"t.{self.dialect.quote(column.name)} IS NOT DISTINCT FROM x.{part}"


class MariaDbStatements(Statements):
    """One parameter for all rows: a JSON array, opened by JSON_TABLE.

    JSON_TABLE itself turns what does not fit into 0 or cuts it, without an error; so each of its columns is wide enough
    for all that is sent, and the strict conversion is left to the assignment.
    """

    _TYPES: ClassVar[Mapping[type[pl.DataType], str]] = {
        pl.Int64: "BIGINT", pl.Float64: "DOUBLE", pl.Boolean: "TINYINT", pl.String: "LONGTEXT CHARACTER SET utf8mb4",
    }  # fmt: skip
    _EXACT: ClassVar[Mapping[FieldType, str]] = {FieldType.DECIMAL: "DECIMAL(65,30)"}

    def pieces(self, rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
        yield from _by_bytes(rows)

    def source(self, parts: Mapping[str, Column], rows: pl.DataFrame) -> Statement:
        named = ", ".join(f"{part} {self._type(column, rows.schema[part])} PATH '$.{part}'" for part, column in parts.items())
        return f"JSON_TABLE(?, '$[*]' COLUMNS ({named})) AS x", [_json(parts, rows).encode()]

    def _type(self, column: Column, sent: pl.DataType) -> str:
        exact = self._EXACT.get(column.type or FieldType.TEXT) if sent == pl.String else None
        return exact or self._TYPES[type(sent)]

    def update(self, shape: Shape, rows: pl.DataFrame) -> Statement:
        source, params = self.source(shape.parts, rows)
        where = self.unchanged(shape)
        sql = f"UPDATE {shape.table} AS t JOIN {source} ON {self.match(shape)} SET {self.assigned(shape)}"  # noqa: S608
        return sql + (f" WHERE {where}" if where else ""), params

    def assigned(self, shape: Shape) -> str:
        return ", ".join(f"t.{self.dialect.quote(column.name)} = x.{part}" for part, column in shape.fields.items())

    def key(self, shape: Shape, part: str) -> str:
        collation = shape.charsets.get(shape.keys[part].name)
        return f"CONVERT(x.{part} USING {collation.split('_')[0]}) COLLATE {collation}" if collation else f"x.{part}"

    def equal(self, shape: Shape, column: Column, part: str) -> str:
        name = f"t.{self.dialect.quote(column.name)}"
        if collation := shape.charsets.get(column.name):
            charset = collation.split("_")[0]
            return f"{name} <=> CONVERT(x.{part} USING {charset}) COLLATE {charset}_bin"
        return f"{name} <=> x.{part}"


class SqlServerStatements(Statements):
    """Microsoft SQL Server: typed VALUES, joined in UPDATE … FROM."""

    def source(self, parts: Mapping[str, Column], rows: pl.DataFrame) -> Statement:
        one = f"({', '.join(self.dialect.placeholder(column) for column in parts.values())})"
        return f"(VALUES {', '.join([one] * rows.height)}) AS x({', '.join(parts)})", _flat(parts, rows)

    def pieces(self, rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
        yield from rows.iter_slices(min(1000, max(1, (self.dialect.max_params - 10) // max(1, rows.width))))

    def update(self, shape: Shape, rows: pl.DataFrame) -> Statement:
        source, params = self.source(shape.parts, rows)
        where = self.unchanged(shape)
        sql = f"UPDATE t SET {self.assigned(shape)} FROM {shape.table} AS t JOIN {source} ON {self.match(shape)}"  # noqa: S608
        return sql + (f" WHERE {where}" if where else ""), params

    def equal(self, shape: Shape, column: Column, part: str) -> str:
        return f"EXISTS (SELECT t.{self.dialect.quote(column.name)} INTERSECT SELECT x.{part})"


class MergeStatements(Statements):
    """Oracle and SAP HANA: typed rows from their one-row table, written by MERGE."""

    def source(self, parts: Mapping[str, Column], rows: pl.DataFrame) -> Statement:
        one = ", ".join(f"{self.dialect.placeholder(column)} AS {part}" for part, column in parts.items())
        selects = " UNION ALL ".join([f"SELECT {one} FROM {self.dialect.one_row}"] * rows.height)  # noqa: S608
        return f"({selects}) x", _flat(parts, rows)

    def update(self, shape: Shape, rows: pl.DataFrame) -> Statement:
        source, params = self.source(shape.parts, rows)
        return f"MERGE INTO {shape.table} t USING {source} ON ({self.match(shape)}) {self._matched(shape)}", params

    def _matched(self, shape: Shape) -> str:
        where = self.unchanged(shape)
        return f"WHEN MATCHED{' AND ' + where if where else ''} THEN UPDATE SET {self.assigned(shape)}"

    def assigned(self, shape: Shape) -> str:
        return ", ".join(f"t.{self.dialect.quote(column.name)} = x.{part}" for part, column in shape.fields.items())

    def equal(self, shape: Shape, column: Column, part: str) -> str:
        name = f"t.{self.dialect.quote(column.name)}"
        return f"({name} = x.{part} OR ({name} IS NULL AND x.{part} IS NULL))"


class OracleStatements(MergeStatements):
    """Oracle puts the condition of a MERGE behind its assignments."""

    def _matched(self, shape: Shape) -> str:
        where = self.unchanged(shape)
        return f"WHEN MATCHED THEN UPDATE SET {self.assigned(shape)}{' WHERE ' + where if where else ''}"


STATEMENTS: Mapping[str, type[Statements]] = {
    "postgresql": PostgreSqlStatements, "mariadb": MariaDbStatements, "sqlite": Statements,
    "sqlserver": SqlServerStatements, "oracle": OracleStatements, "hana": MergeStatements,
}  # fmt: skip


def _flat(parts: Mapping[str, Column], rows: pl.DataFrame) -> list[Any]:
    return [value for row in rows.select(list(parts)).iter_rows() for value in row]


def _json(parts: Mapping[str, Column], rows: pl.DataFrame) -> str:
    """The rows as a JSON array; without rechunk, write_json (Polars 2.1) stops at a chunk that a filter emptied."""
    return rows.select(list(parts)).rechunk().write_json()


def _by_bytes(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The rows in pieces of a few megabytes, so that no statement exceeds what a server takes at once."""
    return rows.iter_slices(max(1, rows.height * _STATEMENT_BYTES // max(_STATEMENT_BYTES, 2 * int(rows.estimated_size()))))
