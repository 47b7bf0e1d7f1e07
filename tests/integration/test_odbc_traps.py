"""The traps of real drivers, each one as a test: what would corrupt, lose or hang without a sign.

1 lost commit · 2 texts of 128 characters and more · 3 fractions of seconds · 4 too many parameters · 5 row counts ·
6 booleans, infinity, zones · 7 time limits · 8 locks after a deadlock · 9 idle in transaction
"""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.databases import Erp, effect

from fieldline_connectors.odbc import OdbcQuery, OdbcTarget
from fieldline_core import crash
from fieldline_core.errors import Misconfigured, Unavailable

pytest_plugins = ["tests.database_fixtures"]

DOUBLE = {"postgresql": "double precision", "mariadb": "double"}
UPDATE = OdbcTarget(table="t", key=("id",), fields={"score": "score"})
QUERY = OdbcQuery(table="t", key=("id",))


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Erp:
    """The databases that are reached over a network."""
    erp: Erp = request.getfixturevalue(request.param)
    erp.run(f"CREATE TABLE t (id int PRIMARY KEY, score {DOUBLE[erp.kind]}, note varchar(5000), at {_time(erp)}, open boolean)")
    erp.run("INSERT INTO t (id) VALUES (1), (2)")
    return erp


def _time(erp: Erp) -> str:
    return "timestamp" if erp.kind == "postgresql" else "datetime(6)"


def end_other_connections(erp: Erp) -> None:
    """Ends every connection to the database but the one that asks."""
    if erp.kind == "postgresql":
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        erp.run(f"SELECT pg_terminate_backend(pid, 10000) {others}")
        return
    asked = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
    for (id,) in erp.run(asked):
        erp.run(f"KILL {id}")
    while erp.run(asked):
        pass


def at_commit(monkeypatch: pytest.MonkeyPatch, action: Callable[[], None], site: str = "target.commit:before") -> None:
    """Does something in the middle of the next write."""
    monkeypatch.setattr(crash, "point", lambda passed: action() if passed == site else None)


def test_trap_1_a_connection_lost_before_the_commit_is_never_a_success(server: Erp, monkeypatch: pytest.MonkeyPatch) -> None:
    connector = server.connector()
    at_commit(monkeypatch, lambda: end_other_connections(server))
    with pytest.raises(Unavailable) as caught:
        connector.write(effect(UPDATE, ["1"], score=[0.5]))
    assert caught.value.sent
    assert server.run("SELECT score FROM t WHERE id = 1") == [(None,)]
    monkeypatch.undo()
    assert connector.write(effect(UPDATE, ["1"], fence=2, score=[0.5])).detail.get("repeat") is None
    assert server.run("SELECT score FROM t WHERE id = 1") == [(0.5,)]


def test_trap_1_a_connection_that_died_while_idle_is_replaced(server: Erp) -> None:
    connector = server.connector()
    connector.write(effect(UPDATE, ["1"], score=[0.5]))
    list(connector.read(QUERY, None, 5))
    end_other_connections(server)
    with pytest.raises(Unavailable):
        connector.write(effect(UPDATE, ["2"], key="2", score=[0.5]))
    connector.write(effect(UPDATE, ["2"], key="2", score=[0.5]))
    assert [len(page.batch) for page in connector.read(QUERY, None, 5)] == [2]


def test_trap_1_a_read_that_loses_its_connection_resumes_behind_its_last_page(server: Erp) -> None:
    connector = server.connector()
    query = OdbcQuery(sql="SELECT id FROM t", key=("id",))
    reading = connector.read(query, None, 1)
    first = next(reading)
    end_other_connections(server)
    rest = [key for page in connector.read(query, first.after, 1) for key in page.batch.keys]
    reading.close()
    assert [*first.batch.keys, *rest] == ["1", "2"]


@pytest.mark.parametrize("length", [127, 128, 129, 199, 200, 201, 255, 256, 4000])
def test_trap_2_long_texts_arrive_as_they_were_sent(server: Erp, length: int) -> None:
    text = ("é🚲x" * length)[:length]
    target = OdbcTarget(table="t", key=("id",), fields={"note": "note"})
    connector = server.connector()
    connector.write(effect(target, ["1"], note=[text]))
    assert server.run("SELECT note FROM t WHERE id = 1") == [(text,)]
    found = connector.lookup(OdbcQuery(sql="SELECT * FROM t WHERE note IS NOT NULL", key=("note",)), [text])
    assert found.keys.to_list() == [text]


def test_trap_3_fractions_of_seconds_are_kept(server: Erp) -> None:
    server.run("UPDATE t SET at = '2024-02-29 01:02:03.000004' WHERE id = 1")
    (page,) = server.connector().read(OdbcQuery(table="t", key=("id",), columns=("at",), where="id = 1"), None, 5)
    at = page.batch.frame["at"].to_list()
    target = OdbcTarget(table="t", key=("id",), fields={"at": "at"})
    server.connector().write(effect(target, ["2"], at=at))
    assert server.run("SELECT COUNT(*) FROM t WHERE at = '2024-02-29 01:02:03.000004'") == [(2,)]


def test_trap_4_ten_thousand_rows_are_written_and_looked_up(database: Erp) -> None:
    database.run("CREATE TABLE t (id int PRIMARY KEY, score real, a int, b int)")
    target = OdbcTarget(operation="upsert", table="t", key=("id",), fields={"score": "s", "a": "a", "b": "b"})
    keys = [str(number) for number in range(10_000)]
    connector = database.connector()
    values = range(10_000)
    receipts = connector.write(effect(target, keys, score=[0.5] * 10_000, a=values, b=values))
    assert not receipts.others
    assert database.run("SELECT COUNT(*), SUM(a) - SUM(b) FROM t WHERE score = 0.5") == [(10_000, 0)]
    assert len(connector.lookup(QUERY, keys)) == 10_000


def test_trap_5_writing_the_same_value_again_counts_as_written(server: Erp) -> None:
    connector = server.connector()
    for key in ("first", "second"):
        receipts = connector.write(effect(UPDATE, ["1", "2"], key=key, score=[0.5, 0.25]))
        assert not receipts.others


def test_trap_6_booleans_are_booleans(server: Erp) -> None:
    target = OdbcTarget(table="t", key=("id",), fields={"open": "open"})
    server.connector().write(effect(target, ["1", "2"], open=[True, False]))
    (page,) = server.connector().read(OdbcQuery(table="t", key=("id",), columns=("open",)), None, 5)
    assert page.batch.frame["open"].to_list() == [True, False]


@pytest.mark.parametrize("column", ["d date", "d timestamp", "d timestamptz"])
def test_trap_6_infinity_is_never_today(postgresql: Erp, column: str) -> None:
    postgresql.run(f"CREATE TABLE t (id int PRIMARY KEY, {column})")
    postgresql.run("INSERT INTO t VALUES (1, 'infinity'), (2, '-infinity'), (3, '2024-02-29')")
    with pytest.raises(Misconfigured, match="2 dates"):
        list(postgresql.connector().read(QUERY, None, 5))
    (page,) = postgresql.connector().read(OdbcQuery(table="t", key=("id",), unreadable_dates="blank"), None, 5)
    assert [str(value)[:10] for value in page.batch.frame["d"]] == ["None", "None", "2024-02-29"]


def test_trap_6_a_time_with_a_zone_is_utc_wherever_the_server_lives(postgresql: Erp) -> None:
    name = postgresql.settings["connection_string"].partition("Database=")[2].partition(";")[0]
    postgresql.run(f"ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'")
    postgresql.run("CREATE TABLE t (id int PRIMARY KEY, at timestamptz)")
    postgresql.run("INSERT INTO t VALUES (1, '2024-07-01 12:00:00+02')")
    (page,) = postgresql.connector().read(QUERY, None, 5)
    assert str(page.batch.frame["at"][0]) == "2024-07-01 10:00:00"
    target = OdbcTarget(table="t", key=("id",), fields={"at": "at"})
    postgresql.connector().write(effect(target, ["1"], at=page.batch.frame["at"].to_list()))
    assert postgresql.run("SELECT COUNT(*) FROM t WHERE at = '2024-07-01 10:00:00+00'") == [(1,)]


@pytest.mark.parametrize(
    ("kind", "endless"),
    [("postgresql", "SELECT id FROM t, pg_sleep(600 * id)"), ("mariadb", "SELECT id FROM t WHERE SLEEP(600 * id) = 0")],
)
def test_trap_7_a_statement_ends_at_its_time_limit(kind: str, endless: str, request: pytest.FixtureRequest) -> None:
    erp: Erp = request.getfixturevalue(kind)
    erp.run("CREATE TABLE t (id int PRIMARY KEY)")
    erp.run("INSERT INTO t VALUES (1)")
    query = OdbcQuery(sql=endless, key=("id",))
    with pytest.raises(Unavailable):
        list(erp.connector(query_timeout_s=1).read(query, None, 5))


def test_trap_8_a_write_that_meets_a_lock_lets_go_of_its_own(server: Erp) -> None:
    holder = server.open()
    holder.execute("UPDATE t SET score = 0 WHERE id = 2")
    connector = server.connector(query_timeout_s=1)
    with pytest.raises(Unavailable):
        connector.write(effect(UPDATE, ["1", "2"], score=[0.5, 0.5]))
    holder.execute("UPDATE t SET score = 0 WHERE id = 1")
    holder.commit()
    holder.close()
    assert not connector.write(effect(UPDATE, ["1", "2"], fence=2, score=[0.5, 0.5])).others


def test_trap_8_writers_that_deadlock_all_get_through(server: Erp) -> None:
    keys, connector, left = ["1", "2"], server.connector(), []

    def work(number: int) -> None:
        order = keys if number % 2 else keys[::-1]
        for turn in range(10):
            slice = effect(UPDATE, order, key=f"{number}.{turn}", score=[number / 10, turn / 10])
            while True:
                try:
                    left.append(connector.write(slice).others)
                    break
                except Unavailable:
                    continue

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert left == [{}] * 40
    assert server.run("SELECT COUNT(*) FROM fieldline_effect") == [(40,)]


def test_trap_9_nothing_stays_idle_in_a_transaction(postgresql: Erp) -> None:
    postgresql.run("CREATE TABLE t (id int PRIMARY KEY, score float8)")
    postgresql.run("INSERT INTO t (id) VALUES (1), (2), (3)")
    connector = postgresql.connector()
    states = "SELECT DISTINCT state FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    reading = connector.read(QUERY, None, 1)
    next(reading)
    assert postgresql.run(states) == [("idle",)], "a reader of a table that waits for its caller holds no transaction"
    list(reading)
    connector.lookup(QUERY, ["1"])
    connector.write(effect(UPDATE, ["1", "9"], score=[0.5, 0.5]))
    connector.dedupe(UPDATE)
    connector.check()
    assert postgresql.run(states) == [("idle",)]


@pytest.mark.parametrize("password", ["plain", "a;b}c{d=e'f", "100%25+1 x"])
def test_signs_in_a_password_are_only_signs(server: Erp, password: str) -> None:
    database = server.settings["connection_string"].partition("Database=")[2].partition(";")[0]
    user = f"ann_{database}"
    quoted = password.replace("'", "''")
    if server.kind == "postgresql":
        server.run(f"CREATE ROLE {user} LOGIN PASSWORD '{quoted}'")
    else:
        server.run(f"CREATE USER {user}@localhost IDENTIFIED BY '{quoted}'")
        server.run(f"GRANT ALL ON {database}.* TO {user}@localhost")
    guest: Any = Erp(server.kind, {**server.settings, "user": user}, password)
    guest.connector().check()
    with pytest.raises(Misconfigured, match="refused us"):
        Erp(server.kind, {**server.settings, "user": user}, "wrong").connector().check()
    server.run(
        f"DROP {'ROLE' if server.kind == 'postgresql' else 'USER'} {user}{'' if server.kind == 'postgresql' else '@localhost'}"
    )
