"""What drivers' errors mean: by state, and by words where the state says nothing; never with a record's values."""

import sys

import pytest

from fieldline_connectors.odbc import Odbc, OdbcConfig
from fieldline_connectors.odbc.errors import APT_LINE, Fault, fault, translated, translated_connect
from fieldline_core.errors import Misconfigured, Rejected, Unavailable

# State and words as the drivers gave them: psqlodbc 13.02, MariaDB 3.1.15, libsqliteodbc 0.9998.
SEEN = [
    ("57P01", "FATAL: terminating connection due to administrator command", Fault.LOST),
    ("08S01", "SQLExecDirectW unable due to the connection lost", Fault.LOST),
    ("HY000", "The connection has been lost", Fault.LOST),
    ("08S01", "[ma-3.1.15]Server has gone away (2006)", Fault.LOST),
    ("HY000", "lost synchronization with server: got message type", Fault.LOST),
    ("57014", "ERROR: canceling statement due to statement timeout", Fault.BUSY),
    ("HY000", "ERROR: canceling statement due to user request", Fault.BUSY),
    ("HY018", "Query execution was interrupted (max_statement_time exceeded) (1969)", Fault.BUSY),
    ("40P01", "ERROR: deadlock detected", Fault.BUSY),
    ("40001", "Deadlock found when trying to get lock (1213)", Fault.BUSY),
    ("HY000", "Lock wait timeout exceeded; try restarting transaction (1205)", Fault.BUSY),
    ("HY000", "[SQLite]database is locked (5)", Fault.BUSY),
    ("42P01", 'ERROR: relation "nope" does not exist', Fault.MISSING_TABLE),
    ("42S02", "Table 't.nope' doesn't exist (1146)", Fault.MISSING_TABLE),
    ("HY000", "[SQLite]no such table: nope (1)", Fault.MISSING_TABLE),
    ("42501", "ERROR: permission denied for table t", Fault.CONFIG),
    ("HY000", "[SQLite]no such column: nope (1)", Fault.CONFIG),
    ("22001", "Data too long for column 's' at row 1 (1406)", Fault.ROW),
    ("23505", "DETAIL: Key (i)=(100) already exists.", Fault.ROW),
    ("HY000", "[SQLite]UNIQUE constraint failed: ty.k (19)", Fault.ROW),
    ("HY000", "something else", Fault.UNKNOWN),
]


@pytest.mark.parametrize(("state", "text", "kind"), SEEN)
def test_errors_are_told_apart_by_state_and_words(state: str, text: str, kind: Fault) -> None:
    assert fault(Exception(state, f"[{state}] {text} (SQLExecDirectW)")) is kind


def test_a_lost_connection_after_sending_may_have_taken_effect() -> None:
    error = translated(Exception("08S01", "gone"), "writing to t", sent=True)
    assert isinstance(error, Unavailable)
    assert error.sent


def test_a_refused_row_keeps_its_values_to_itself() -> None:
    error = translated(Exception("23505", "[23505] DETAIL: Key (name)=(Zoe Miller) already exists."), "writing to t")
    assert isinstance(error, Rejected)
    assert "Zoe" not in str(error)
    assert "unique" in str(error)


@pytest.mark.parametrize(
    ("state", "text", "kind", "words"),
    [
        (
            "01000",
            "[unixODBC][Driver Manager]Can't open lib 'Nope' : file not found (0) (SQLDriverConnect)",
            Misconfigured,
            APT_LINE,
        ),
        ("IM002", "[IM002] [unixODBC][Driver Manager]Data source name not found", Misconfigured, APT_LINE),
        ("08001", 'connection to server failed: FATAL: password authentication failed for user "x"', Misconfigured, "refused us"),
        ("28000", "Access denied for user 'no'@'localhost' (1045)", Misconfigured, "refused us"),
        ("08001", "connection to server failed: Connection refused", Unavailable, "cannot be reached"),
        ("08S01", "-10709;Connection failed (RTE:[300015] SSL certificate validation failed", Misconfigured, "trust_store"),
        ("HY000", "Can't connect to local server through socket (2002)", Unavailable, "cannot be reached"),
    ],
)
def test_connecting_fails_with_the_way_out(state: str, text: str, kind: type[Exception], words: str) -> None:
    error = translated_connect(Exception(state, text), "ODBC erp")
    assert type(error) is kind
    assert words in str(error)


def test_a_missing_driver_manager_is_said_with_the_line_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyodbc", None)
    with pytest.raises(Misconfigured, match=APT_LINE):
        Odbc(OdbcConfig(dsn="erp")).check()


@pytest.mark.parametrize("address", [{"dsn": "no_such_source"}, {"connection_string": "Driver={No Such Driver}"}])
def test_a_missing_driver_is_said_with_the_line_to_run(address: dict[str, str]) -> None:
    pytest.importorskip("pyodbc", reason="the ODBC driver manager is not installed", exc_type=ImportError)
    with pytest.raises(Misconfigured, match=APT_LINE):
        Odbc(OdbcConfig(**address)).check()  # type: ignore[arg-type]


def test_a_missing_driver_of_sap_hana_is_said_with_the_place_to_get_it() -> None:
    pytest.importorskip("pyodbc", reason="the ODBC driver manager is not installed", exc_type=ImportError)
    with pytest.raises(Misconfigured, match=r"SAP HANA at h: the ODBC driver is not installed .*libodbcHDB\.so comes with SAP's"):
        Odbc(OdbcConfig(preset="sap-hana", host="h", driver="/no/such/libodbcHDB.so")).check()
