"""Reading real databases: exact values, pages that resume, changes that are not missed."""

import itertools
import threading
from typing import Any

import polars as pl
import pytest
from tests.databases import Erp

from fieldline_connectors.odbc import OdbcQuery
from fieldline_core.errors import Misconfigured
from fieldline_core.schema import FieldType

pytest_plugins = ["tests.database_fixtures"]

EXACT = {
    "postgresql": "k numeric(30,0) PRIMARY KEY, amount numeric(30,10), big bigint, open boolean, name text, day date, at timestamp",
    "mariadb": "k decimal(30,0) PRIMARY KEY, amount decimal(30,10), big bigint, open boolean, name text, day date, at datetime(6)",
    "sqlite": "k text PRIMARY KEY, amount text, big bigint, open boolean, name text, day date, at timestamp",
}
LARGE_KEYS = ["123456789012345678901234567890", "123456789012345678901234567891", "123456789012345678901234567892"]


def keys_of(erp: Erp, query: OdbcQuery, after: Any = None, limit: int = 2) -> list[str]:
    return [key for page in erp.connector().read(query, after, limit) for key in page.batch.keys]


def numbered(erp: Erp, count: int) -> None:
    """A table `t` with the keys 1 … count and a text."""
    erp.run("CREATE TABLE t (id int PRIMARY KEY, name varchar(20))")
    for number in range(1, count + 1):
        erp.run("INSERT INTO t VALUES (?, ?)", number, f"n{number}")


def test_decimals_and_keys_stay_exact(database: Erp) -> None:
    database.run(f"CREATE TABLE t ({EXACT[database.kind]})")
    row = "'12345678901234567890.0123456789', 9007199254740993, true, ?, '2024-02-29', '2024-02-29 01:02:03.000004'"
    for key in LARGE_KEYS:
        database.run(f"INSERT INTO t VALUES ('{key}', {row})", "Zoë 🚲" * 100)
    query = OdbcQuery(table="t", key=("k",))
    assert keys_of(database, query, limit=1) == LARGE_KEYS
    found = database.connector().lookup(query, [LARGE_KEYS[1]])
    assert found.keys.to_list() == [LARGE_KEYS[1]]
    read = found.frame.row(0, named=True)
    assert (read["amount"], read["big"], read["name"]) == ("12345678901234567890.0123456789", 9007199254740993, "Zoë 🚲" * 100)
    assert bool(read["open"]) is True
    assert (str(read["day"]), str(read["at"])) == ("2024-02-29", "2024-02-29 01:02:03.000004")


def test_children_are_all_rows_under_the_keys(database: Erp) -> None:
    database.run("CREATE TABLE orders (id int PRIMARY KEY, customer varchar(10), amount int)")
    for number, (customer, amount) in enumerate([("ada", 5), ("ada", 7), ("bob", 1), ("cyd", 2)]):
        database.run("INSERT INTO orders VALUES (?, ?, ?)", number, customer, amount)
    query = OdbcQuery(table="orders", key=("customer",)).reading(["amount"])
    found = database.connector().children(query, ["ada", "cyd", "eve"])
    assert sorted(zip(found.keys, found.frame["amount"], strict=True)) == [("ada", 5), ("ada", 7), ("cyd", 2)]


def test_more_children_than_memory_should_hold_are_refused(database: Erp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fieldline_connectors.odbc.read._MOST_FOUND", 2)
    database.run("CREATE TABLE orders (id int PRIMARY KEY, customer varchar(10))")
    for number in range(3):
        database.run("INSERT INTO orders VALUES (?, 'ada')", number)
    with pytest.raises(Misconfigured, match="more than 2 rows of orders belong to 1 records: narrow it by `where`"):
        database.connector().children(OdbcQuery(table="orders", key=("customer",)), ["ada"])


def test_a_composite_key_orders_and_resumes(database: Erp) -> None:
    database.run("CREATE TABLE t (shop varchar(5), line int, PRIMARY KEY (shop, line))")
    pairs = [(shop, line) for shop in ("a", "b", "c") for line in (1, 2, 10)]
    for pair in reversed(pairs):
        database.run("INSERT INTO t VALUES (?, ?)", *pair)
    query = OdbcQuery(table="t", key=("shop", "line"))
    expected = [f'["{shop}", "{line}"]' for shop, line in pairs]
    pages = list(database.connector().read(query, None, 2))
    assert [key for page in pages for key in page.batch.keys] == expected
    for count, page in enumerate(pages[:-1], 1):
        assert keys_of(database, query, page.after, 4) == expected[2 * count :]
    assert sorted(database.connector().lookup(query, [expected[8], expected[0]]).keys) == [expected[0], expected[8]]


def test_a_select_of_ones_own_is_read_as_a_stream(database: Erp) -> None:
    numbered(database, 9)
    sql = "SELECT id, name FROM t WHERE id > ? -- the rest;"
    query = OdbcQuery(sql=sql, where="name <> ?", params=(2, "n5"), key=("id",), columns=("name",))
    assert keys_of(database, query) == ["3", "4", "6", "7", "8", "9"]
    assert keys_of(database, query, {"key": ["6"]}) == ["7", "8", "9"]
    assert next(database.connector().read(query, None, 3)).batch.frame.columns == ["name"]


def test_only_the_columns_and_rows_asked_for_are_read(database: Erp) -> None:
    numbered(database, 5)
    query = OdbcQuery(table="t", key=("id",), columns=("name",), where="id < ? OR id = ?", params=(3, 5))
    (page,) = database.connector().read(query, None, 10)
    assert page.batch.keys.to_list() == ["1", "2", "5"]
    assert page.batch.frame.to_dict(as_series=False) == {"name": ["n1", "n2", "n5"]}


def test_a_key_that_is_not_unique_is_refused(database: Erp) -> None:
    database.run("CREATE TABLE t (id int, name varchar(20))")
    for _ in range(3):
        database.run("INSERT INTO t VALUES (1, 'x')")
    for limit in (1, 2):
        with pytest.raises(Misconfigured, match="not unique"):
            keys_of(database, OdbcQuery(sql="SELECT * FROM t", key=("id",)), limit=limit)
        with pytest.raises(Misconfigured, match="not unique"):
            keys_of(database, OdbcQuery(table="t", key=("id",)), limit=limit)


def test_an_unknown_column_is_named_with_those_that_are_there(database: Erp) -> None:
    numbered(database, 1)
    with pytest.raises(Misconfigured, match="no column nope; it has id, name"):
        keys_of(database, OdbcQuery(table="t", key=("nope",)))


def test_an_unknown_table_is_misconfigured(database: Erp) -> None:
    with pytest.raises(Misconfigured, match="nope"):
        keys_of(database, OdbcQuery(table="nope", key=("id",)))


def test_names_are_never_sql(database: Erp) -> None:
    numbered(database, 2)
    hostile = 't" WHERE 1=1; DROP TABLE t; --` '
    with pytest.raises(Misconfigured):
        keys_of(database, OdbcQuery(table=hostile, key=("id",)))
    with pytest.raises(Misconfigured):
        keys_of(database, OdbcQuery(table="t", key=(hostile,)))
    assert database.run("SELECT COUNT(*) FROM t") == [(2,)]


def test_what_is_discovered_can_be_read(database: Erp) -> None:
    database.run("CREATE TABLE parts (a varchar(7), b int, price numeric(9,2), PRIMARY KEY (a, b))")
    database.run("INSERT INTO parts VALUES ('x', 1, 2.50)")
    database.run("CREATE VIEW cheap AS SELECT * FROM parts")
    catalog = database.connector().discover()
    (entity,) = [entity for entity in catalog.entities if entity.label == "parts"]
    assert any(entity.label == "cheap" for entity in catalog.entities)
    assert [(field.name, field.key, field.nullable) for field in entity.fields] == [
        ("a", True, False), ("b", True, False), ("price", False, True),
    ]  # fmt: skip
    assert entity.fields[0].length == 7
    assert entity.fields[0].samples == ("x",)
    page = next(database.connector().read(OdbcQuery(table=entity.name, key=("a", "b")), None, 5))
    assert page.batch.frame.columns == [field.name for field in entity.fields]


def test_threads_read_and_look_up_side_by_side(database: Erp) -> None:
    numbered(database, 20)
    connector, query, found = database.connector(), OdbcQuery(table="t", key=("id",)), []

    def work() -> None:
        for _ in range(5):
            keys = [key for page in connector.read(query, None, 7) for key in page.batch.keys]
            found.append(len(keys) + len(connector.lookup(query, keys)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    connector.close()
    assert found == [40] * 20


def test_a_watermark_reads_what_is_new_and_the_overlap_again(mariadb: Erp) -> None:
    mariadb.run("CREATE TABLE t (id int PRIMARY KEY, at datetime(6))")
    for number in range(1, 6):
        mariadb.run("INSERT INTO t VALUES (?, ?)", number, f"2024-01-01 00:0{number}:00")
    query = OdbcQuery(table="t", key=("id",), watermark="at", overlap_s=60)
    *_, last = mariadb.connector().read(query, None, 2)
    mariadb.run("INSERT INTO t VALUES (9, '2024-01-01 00:04:30')")
    assert keys_of(mariadb, query, last.after) == ["4", "9", "5"]
    exact = OdbcQuery(table="t", key=("id",), watermark="at", overlap_s=0)
    assert keys_of(mariadb, exact, last.after) == []


def test_naive_times_are_read_in_the_zone_of_the_connection(postgresql: Erp) -> None:
    postgresql.run("CREATE TABLE t (id int PRIMARY KEY, naive timestamp, aware timestamptz)")
    postgresql.run("INSERT INTO t VALUES (1, '2024-07-01 12:00', '2024-07-01 12:00+00')")
    (page,) = postgresql.connector(timezone="Europe/Berlin").read(OdbcQuery(table="t", key=("id",)), None, 5)
    assert [str(value) for value in page.batch.frame.row(0)[1:]] == ["2024-07-01 10:00:00", "2024-07-01 12:00:00"]
    assert page.batch.frame.schema["aware"] == pl.Datetime("us")


def test_a_zone_that_mariadb_has_not_loaded_is_said_with_the_way_out(mariadb: Erp) -> None:
    with pytest.raises(Misconfigured, match="mariadb-tzinfo-to-sql"):
        mariadb.connector(timezone="Europe/Berlin").check()


def test_zero_dates_are_not_read_as_empty(mariadb: Erp) -> None:
    mariadb.run("CREATE TABLE t (id int PRIMARY KEY, day date)")
    mariadb.run("SET STATEMENT sql_mode='' FOR INSERT INTO t VALUES (1, '0000-00-00')")
    with pytest.raises(Misconfigured, match="0000-00-00"):
        keys_of(mariadb, OdbcQuery(table="t", key=("id",)))
    assert keys_of(mariadb, OdbcQuery(table="t", key=("id",), unreadable_dates="blank")) == ["1"]


class Late:
    """Two writers of PostgreSQL: the first begins before the second, and commits after it was read."""

    def __init__(self, erp: Erp) -> None:
        erp.run("CREATE TABLE t (id int PRIMARY KEY, at timestamptz)")
        self.erp = erp
        self.slow, self.fast = erp.open(), erp.open()

    def begin(self, *, writes: bool) -> None:
        """The slow writer begins; its `now()` is fixed, its transaction has a number only once it writes."""
        self.slow.execute("INSERT INTO t VALUES (1, now())" if writes else "SELECT now()")

    def overtake(self) -> None:
        """The fast writer begins and commits."""
        self.fast.execute("INSERT INTO t VALUES (2, clock_timestamp())")
        self.fast.commit()

    def end(self, *, writes: bool) -> None:
        """The slow writer commits at last."""
        if writes:
            self.slow.execute("INSERT INTO t VALUES (1, now())")
        self.slow.commit()


@pytest.mark.parametrize("early", [True, False], ids=["wrote before it was read", "wrote after it was read"])
@pytest.mark.parametrize("watermark", ["at", "xmin"])
def test_a_late_commit_is_not_missed(postgresql: Erp, watermark: str, early: bool) -> None:
    query = OdbcQuery(table="t", key=("id",), watermark=watermark)
    late = Late(postgresql)
    late.begin(writes=early)
    late.overtake()
    newest = postgresql.run("SELECT max(at) FROM t")[0][0]
    pages = list(postgresql.connector().read(query, None, 10))
    late.end(writes=not early)
    assert postgresql.run("SELECT id FROM t WHERE at > ?", newest) == [], "the trap: a plain watermark never sees the late row"
    after = pages[-1].after if pages else None
    read = [key for page in pages for key in page.batch.keys]
    assert sorted(read + keys_of(postgresql, query, after)) == ["1", "2"]


def test_a_change_is_read_once_and_a_window_resumes_anywhere(postgresql: Erp) -> None:
    numbered(postgresql, 7)
    query = OdbcQuery(table="t", key=("id",), watermark="xmin")
    pages = list(postgresql.connector().read(query, None, 2))
    assert [key for page in pages for key in page.batch.keys] == list("1234567")
    assert keys_of(postgresql, query, pages[-1].after) == []
    postgresql.run("UPDATE t SET name = 'new' WHERE id IN (2, 6, 7)")
    postgresql.run("INSERT INTO t VALUES (8, 'eight')")
    after = pages[-1].after
    changed = list(postgresql.connector().read(query, after, 1))
    assert [key for page in changed for key in page.batch.keys] == ["2", "6", "7", "8"]
    postgresql.run("UPDATE t SET name = 'newer' WHERE id = 2")
    for count in range(4):
        rest = keys_of(postgresql, query, changed[count].after, 3)
        assert rest == [*["2", "6", "7", "8"][count + 1 :], "2"]


def test_the_watermark_only_narrows_what_is_searched(postgresql: Erp) -> None:
    postgresql.run("CREATE TABLE t (id int PRIMARY KEY, n bigint)")
    postgresql.run("INSERT INTO t VALUES (1, 9), (2, 10)")
    query = OdbcQuery(table="t", key=("id",), watermark="n")
    (page,) = postgresql.connector().read(query, None, 9)
    postgresql.run("INSERT INTO t VALUES (3, 11), (4, 10)")
    assert keys_of(postgresql, query, page.after) == ["3", "4"]


def test_a_view_has_no_transactions_and_says_so(postgresql: Erp) -> None:
    numbered(postgresql, 2)
    postgresql.run("CREATE VIEW v AS SELECT * FROM t")
    assert keys_of(postgresql, OdbcQuery(table="v", key=("id",), watermark="id")) == ["1", "2"]
    with pytest.raises(Misconfigured, match="xmin"):
        keys_of(postgresql, OdbcQuery(table="v", key=("id",), watermark="xmin"))


def test_types_are_those_that_mappings_know(postgresql: Erp) -> None:
    more = "d varchar(5), e char(5), f jsonb, g interval, h bytea, i int[]"
    postgresql.run(f"CREATE TABLE t (id uuid PRIMARY KEY, a smallint, b real, c numeric, {more})")
    key = "6b33cc66-fb02-4254-8136-cbc650abcdef"
    postgresql.run("INSERT INTO t VALUES (?, 1, 1.1, 'NaN', 'x', 'y', '{}', '1 day', '\\x00', '{1,2}')", key)
    (entity,) = postgresql.connector().discover().entities
    types = {field.name: field.type for field in entity.fields}
    assert "h" not in types, "binary columns are no values"
    assert (types["a"], types["b"], types["c"], types["i"]) == (
        FieldType.INTEGER,
        FieldType.NUMBER,
        FieldType.DECIMAL,
        FieldType.TEXT,
    )
    (page,) = postgresql.connector().read(OdbcQuery(table="t", key=("id",)), None, 9)
    assert page.batch.keys.to_list() == [key]
    assert page.batch.frame["e"].to_list() == ["y"]
    with pytest.raises(Misconfigured, match="binary"):
        keys_of(postgresql, OdbcQuery(table="t", key=("id",), columns=("h",)))


def test_memory_stays_flat_because_pages_are_asked_for_one_by_one(postgresql: Erp) -> None:
    postgresql.run("CREATE TABLE t AS SELECT g AS id, repeat('x', 100) AS name FROM generate_series(1, 20000) g")
    postgresql.run("ALTER TABLE t ADD PRIMARY KEY (id)")
    reading = postgresql.connector().read(OdbcQuery(table="t", key=("id",)), None, 1000)
    first = list(itertools.islice(reading, 2))
    postgresql.run("DELETE FROM t WHERE id > 2500")
    assert [len(page.batch) for page in [*first, *reading]] == [1000, 1000, 500]
