"""What a database holds: tables and views, their columns, keys, row counts and a few sample values."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from fieldline_connectors.odbc.connections import Connections, Purpose
from fieldline_connectors.odbc.dialects import Column, Connection, Dialect
from fieldline_connectors.odbc.errors import Fault, fault, odbc, state_of
from fieldline_core.schema import Catalog, Entity, Field, FieldType

_log = logging.getLogger("fieldline.odbc")
MAX_TABLES = 1000
_SAMPLES = 3
_SAMPLE_CHARS = 80


def catalog(connections: Connections) -> Catalog:
    """Every table and view that the connection shows, at most 1,000 of them."""
    with connections.use(Purpose.WRITE) as connection:
        places = [*_places(connections, connection)]
        if len(places) > MAX_TABLES:
            _log.warning("%s: more than %d tables; name `schemas` in the connection to choose", connections.place, MAX_TABLES)
        counts = _estimates(connections.dialect, connection)
        entities = [_entity(connections.dialect, connection, place, counts) for place in places[:MAX_TABLES]]
    return Catalog(entities=tuple(entity for entity in entities if entity))


def _places(connections: Connections, connection: Connection) -> Iterator[tuple[str | None, str]]:
    """Schema and name of each table; MariaDB's catalogs count as schemas."""
    wanted, ledger = connections.config.schemas, connections.config.ledger_table
    dialect = connections.dialect
    default = connection.execute("SELECT DATABASE()").fetchone()[0] if dialect.name == "mariadb" else None
    found = connection.cursor().tables(**({"catalog": "%"} if dialect.name == "mariadb" and wanted else {})).fetchall()
    for row in found:
        schema = (row.table_cat if dialect.name == "mariadb" else row.table_schem) or None
        if row.table_type.upper() not in ("TABLE", "VIEW", "MATVIEW", "FOREIGN TABLE", "PARTITIONED TABLE", "BASE TABLE"):
            continue
        if schema in dialect.system_schemas or (wanted and schema not in wanted) or row.table_name == ledger:
            continue
        yield (None if schema == default else schema), row.table_name


def _estimates(dialect: Dialect, connection: Connection) -> dict[tuple[str, str], int]:
    sql = dialect.estimates()
    return {(row[0], row[1]): int(row[2]) for row in connection.execute(sql).fetchall()} if sql else {}


def _entity(
    dialect: Dialect, connection: Connection, place: tuple[str | None, str], counts: dict[tuple[str, str], int]
) -> Entity | None:
    """One table; none where its name or its rights keep it out of reach."""
    schema, table = place
    name = f"{schema}.{table}" if schema else table
    if "." in table:
        return None
    try:
        columns = dialect.columns(connection, f"{dialect.table(name)} q", ())
        samples = _samples(dialect, connection, name, [column for column in columns if column.type])
        fields = _fields(dialect, connection, place, columns, samples)
        rows = next((count for (its, named), count in counts.items() if named == table and schema in (its, None)), None)
        if rows is None and dialect.name == "sqlite":
            rows = int(connection.execute(f"SELECT COUNT(*) FROM {dialect.table(name)}").fetchone()[0])  # noqa: S608
    except odbc().Error as error:
        connection.rollback()
        if fault(error) not in (Fault.CONFIG, Fault.MISSING_TABLE, Fault.ROW):
            raise
        _log.warning("the table %s cannot be read [%s] and is left out", name, state_of(error))
        return None
    return Entity(name=name, label=table, rows=rows, fields=fields)


def _fields(
    dialect: Dialect,
    connection: Connection,
    place: tuple[str | None, str],
    columns: Sequence[Column],
    samples: dict[str, tuple[str, ...]],
) -> tuple[Field, ...]:
    schema, table = place
    where: dict[str, Any] = {"catalog": schema} if dialect.name == "mariadb" else {"schema": schema}
    described = {row.column_name: row for row in connection.cursor().columns(table, **where).fetchall()}
    keys = {row.column_name for row in connection.cursor().primaryKeys(table, **where).fetchall()}
    return tuple(
        Field(
            name=column.name,
            type=column.type,
            label=column.name,
            nullable=column.name not in keys and bool(getattr(described.get(column.name), "nullable", True)),
            key=column.name in keys,
            length=_length(column, getattr(described.get(column.name), "column_size", None)),
            samples=samples.get(column.name, ()),
        )
        for column in columns
        if column.type
    )


def _length(column: Column, size: int | None) -> int | None:
    return size if column.type is FieldType.TEXT and size and size > 0 else None


def _samples(dialect: Dialect, connection: Connection, name: str, columns: Sequence[Column]) -> dict[str, tuple[str, ...]]:
    """Up to three different values of each column, from the first rows."""
    if not columns:
        return {}
    listed = ", ".join(dialect.selected(column) for column in columns)
    rows = connection.execute(dialect.limited(f"SELECT {listed} FROM {dialect.table(name)} q", 20)).fetchall()  # noqa: S608
    by_column = zip(*rows, strict=True) if rows else [()] * len(columns)
    texts = [dict.fromkeys(str(value)[:_SAMPLE_CHARS] for value in values if value is not None) for values in by_column]
    return {column.name: tuple(found)[:_SAMPLES] for column, found in zip(columns, texts, strict=True)}
