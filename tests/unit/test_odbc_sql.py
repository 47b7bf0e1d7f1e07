"""The SQL of each database as text, those included that cannot run here."""

import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_connectors.odbc import OdbcQuery
from fieldline_connectors.odbc.dialects import DIALECTS, Column, dialect_of
from fieldline_connectors.odbc.read import Reading
from fieldline_connectors.odbc.statements import STATEMENTS, Shape, Statements
from fieldline_core.errors import Misconfigured
from fieldline_core.schema import FieldType

ROWS = pl.DataFrame({"i": [0, 1], "k0": [7, 8], "f0": [0.5, None], "b0": [None, 0.25]}, schema_overrides={"f0": pl.Float64})


def statements(name: str) -> Statements:
    return STATEMENTS[name](DIALECTS[name])


def shape(name: str, *, before: bool = True) -> Shape:
    dialect = DIALECTS[name]
    types = dialect.types
    score = Column("sco", FieldType.NUMBER, db_type=types.get(FieldType.NUMBER, "float8"))
    key = Column("id", FieldType.INTEGER, db_type=types.get(FieldType.INTEGER, "int8"))
    return Shape(dialect.table("s.t"), {"k0": key}, {"f0": score}, {"b0": score} if before else {})


UPDATES = {
    "postgresql": 'UPDATE "s"."t" AS t SET "sco" = x.f0 FROM jsonb_to_recordset(CAST(? AS jsonb)) AS x(k0 int8, f0 float8) '
    'WHERE t."id" = x.k0',
    "mariadb": "UPDATE `s`.`t` AS t JOIN JSON_TABLE(?, '$[*]' COLUMNS (k0 BIGINT PATH '$.k0', f0 DOUBLE PATH '$.f0')) AS x "
    "ON t.`id` = x.k0 SET t.`sco` = x.f0",
    "sqlite": 'UPDATE "s"."t" AS t SET "sco" = x.f0 FROM (SELECT column1 AS k0, column2 AS f0 FROM (VALUES (?, ?), (?, ?))) AS x '
    'WHERE t."id" = x.k0',
    "sqlserver": "UPDATE t SET [sco] = x.f0 FROM [s].[t] AS t JOIN (VALUES (CAST(? AS BIGINT), CAST(? AS FLOAT)), "
    "(CAST(? AS BIGINT), CAST(? AS FLOAT))) AS x(k0, f0) ON t.[id] = x.k0",
    "oracle": 'MERGE INTO "s"."t" t USING (SELECT CAST(? AS NUMBER) AS k0, CAST(? AS BINARY_DOUBLE) AS f0 FROM dual UNION ALL '
    'SELECT CAST(? AS NUMBER) AS k0, CAST(? AS BINARY_DOUBLE) AS f0 FROM dual) x ON (t."id" = x.k0) '
    'WHEN MATCHED THEN UPDATE SET t."sco" = x.f0',
    "hana": 'MERGE INTO "s"."t" t USING (SELECT CAST(? AS BIGINT) AS k0, CAST(? AS DOUBLE) AS f0 FROM DUMMY UNION ALL '
    'SELECT CAST(? AS BIGINT) AS k0, CAST(? AS DOUBLE) AS f0 FROM DUMMY) x ON (t."id" = x.k0) '
    'WHEN MATCHED THEN UPDATE SET t."sco" = x.f0',
}
OR_BOTH_EMPTY = '(t."sco" = x.{0} OR (t."sco" IS NULL AND x.{0} IS NULL))'
UNCHANGED = {
    "postgresql": '((t."sco" IS NOT DISTINCT FROM x.b0) OR (t."sco" IS NOT DISTINCT FROM x.f0))',
    "mariadb": "((t.`sco` <=> x.b0) OR (t.`sco` <=> x.f0))",
    "sqlite": '((t."sco" IS x.b0) OR (t."sco" IS x.f0))',
    "sqlserver": "((EXISTS (SELECT t.[sco] INTERSECT SELECT x.b0)) OR (EXISTS (SELECT t.[sco] INTERSECT SELECT x.f0)))",
    "oracle": f"(({OR_BOTH_EMPTY.format('b0')}) OR ({OR_BOTH_EMPTY.format('f0')}))",
    "hana": f"(({OR_BOTH_EMPTY.format('b0')}) OR ({OR_BOTH_EMPTY.format('f0')}))",
}


@pytest.mark.parametrize("name", UPDATES)
def test_an_update_writes_a_set_of_rows(name: str) -> None:
    sql, params = statements(name).update(shape(name, before=False), ROWS)
    assert sql == UPDATES[name]
    assert len(params) == sql.count("?")


@pytest.mark.parametrize("name", UNCHANGED)
def test_an_update_leaves_changed_rows_alone(name: str) -> None:
    sql, params = statements(name).update(shape(name), ROWS)
    assert UNCHANGED[name] in sql
    assert len(params) == sql.count("?")


def test_a_merge_puts_its_condition_where_the_database_wants_it() -> None:
    assert "WHEN MATCHED AND ((" in statements("hana").update(shape("hana"), ROWS)[0]
    assert statements("oracle").update(shape("oracle"), ROWS)[0].endswith(f" WHERE {UNCHANGED['oracle']}")


@pytest.mark.parametrize("name", DIALECTS)
def test_an_insert_adds_only_what_is_missing_where_asked(name: str) -> None:
    every, params = statements(name).insert(shape(name), ROWS)
    missing, _ = statements(name).insert(shape(name), ROWS, missing_only=True)
    assert "NOT EXISTS" not in every
    assert missing.split(" WHERE ")[1].startswith("NOT EXISTS (SELECT 1 FROM")
    assert len(params) == every.count("?")


@pytest.mark.parametrize("name", ["sqlite", "sqlserver", "oracle", "hana"])
def test_trap_4_no_statement_has_more_parameters_than_its_database_takes(name: str) -> None:
    rows = pl.DataFrame({"i": range(5000), "k0": range(5000), "f0": [0.5] * 5000, "b0": [0.25] * 5000})
    pieces = list(statements(name).pieces(rows))
    assert sum(piece.height for piece in pieces) == 5000
    for piece in pieces:
        assert len(statements(name).states(shape(name), piece)[1]) <= DIALECTS[name].max_params


def test_trap_4_a_large_set_is_one_parameter_for_postgresql() -> None:
    rows = pl.DataFrame({"k0": range(10_000), "f0": [0.5] * 10_000})
    (piece,) = statements("postgresql").pieces(rows)
    assert len(statements("postgresql").update(shape("postgresql", before=False), piece)[1]) == 1


def test_rows_behind_an_emptied_chunk_are_sent() -> None:
    parts = [pl.DataFrame({"k0": [key], "f0": ["x"]}) for key in ("a", "b", "c")]
    rows = pl.concat(parts, rechunk=False).filter(pl.Series([True, False, True]))
    _, (payload,) = statements("postgresql").source({"k0": Column("id", FieldType.TEXT, db_type="text")}, rows)
    assert payload == '[{"k0":"a"},{"k0":"c"}]'


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("postgresql", 'WHERE (("a", "b") > (CAST(? AS int8), CAST(? AS text))\n) ORDER BY q."a", q."b" LIMIT 10'),
        ("mariadb", "WHERE (`a` >= ? AND ((`a` > ?) OR (`a` = ? AND `b` > ?))\n) ORDER BY q.`a`, q.`b` LIMIT 10"),
        (
            "sqlserver",
            "WHERE ([a] >= ? AND (([a] > ?) OR ([a] = ? AND [b] > ?))\n) ORDER BY q.[a], q.[b] "
            "OFFSET 0 ROWS FETCH NEXT 10 ROWS ONLY",
        ),
        ("oracle", 'WHERE ("a" >= ? AND (("a" > ?) OR ("a" = ? AND "b" > ?))\n) ORDER BY q."a", q."b" FETCH FIRST 10 ROWS ONLY'),
    ],
)
def test_a_page_begins_behind_the_last_key(name: str, ending: str) -> None:
    typed = name == "postgresql"
    columns = {
        "a": Column("a", FieldType.INTEGER, db_type="int8" if typed else ""),
        "b": Column("b", FieldType.TEXT, db_type="text" if typed else ""),
    }
    reading = Reading(OdbcQuery(table="t", key=("a", "b")), DIALECTS[name], "UTC", DIALECTS[name].table("t") + " q", columns)
    sql, params = reading.select([reading.behind(("7", "x"), reading.keys)], reading.keys, 10)
    assert sql.endswith(ending)
    assert len(params) == sql.count("?")
    assert set(params) == {7, "x"}


@given(st.text(min_size=1, max_size=40))
def test_no_name_leaves_its_quotes(name: str) -> None:
    for dialect in DIALECTS.values():
        opening, closing = dialect.quotes
        quoted = dialect.quote(name)
        assert quoted.startswith(opening)
        assert quoted.endswith(closing)
        assert closing not in re.sub(re.escape(closing * 2), "", quoted[1:-1])


def test_databases_are_known_by_the_names_that_drivers_give() -> None:
    products = {"PostgreSQL": "postgresql", "MariaDB": "mariadb", "SQLite": "sqlite", "HDB": "hana"}
    assert {product: dialect_of(product).name for product in products} == products
    with pytest.raises(Misconfigured, match="dialect"):
        dialect_of("dBase")
