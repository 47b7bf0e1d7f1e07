"""What a driver's error means to us: by its SQLSTATE, and by its words where drivers leave the state open.

Messages of drivers may hold values of records ("Key (id)=(5) already exists"), so they are quoted only where they
speak of the connection or of the statement's text.
"""

import re
from enum import Enum
from typing import Any

from fieldline_core.errors import FieldlineError, Misconfigured, Rejected, Unavailable

APT_LINE = "apt-get install unixodbc odbc-postgresql odbc-mariadb tdsodbc libsqliteodbc"
HANA_LINE = (
    "libodbcHDB.so comes with SAP's HANA client, which you get from SAP (tools.hana.ondemand.com) under SAP's licence: unpack "
    "it where Fieldline runs, and let `driver` be its path"
)
"""Where the driver of SAP HANA comes from."""


class Fault(Enum):
    """The kinds of driver errors, by what follows."""

    LOST = "connection lost"
    BUSY = "busy"
    ROW = "row refused"
    MISSING_TABLE = "no such table"
    CONFIG = "configuration"
    UNKNOWN = "unknown"


_WORDS: tuple[tuple[str, Fault], ...] = (
    (r"no such table", Fault.MISSING_TABLE),
    (r"no such column|syntax error|readonly database|has no column|unable to open database", Fault.CONFIG),
    (r"constraint failed|datatype mismatch", Fault.ROW),
    (r"database (table )?is locked|lock wait timeout|\b1205\b|canceling statement|query.*(timeout|time-out)", Fault.BUSY),
    (
        r"connection (has been |was |is )?(lost|closed|refused|reset)|lost connection|gone away|server closed|lost synchronization",
        Fault.LOST,
    ),
    (r"can't connect|could not connect|communication|broken pipe|no connection", Fault.LOST),
    (r"incorrect .* value|data too long|out of range value", Fault.ROW),
)
_STATES: tuple[tuple[str, Fault], ...] = (
    (r"08|57P0[1-5]|25P0[34]|53[23]00", Fault.LOST),
    (r"40|55P03|57014|HY008|HY018|HYT0[01]|53", Fault.BUSY),
    (r"42P01|42S02|S0002", Fault.MISSING_TABLE),
    (r"22|23|44000", Fault.ROW),
    (r"42|28|3D|3F|0A|07|25006|IM|01000|3[BF]", Fault.CONFIG),
)
_LOGIN = re.compile(
    r"authentication failed|access denied|does not exist|login failed|not allowed to connect|no pg_hba", re.IGNORECASE
)
_CERTIFICATE = re.compile(r"certificate (verify|validation) failed|self[- ]signed certificate", re.IGNORECASE)
_REASONS = {
    "22001": "a value is too long for its column",
    "22003": "a number does not fit its column",
    "22007": "a value does not fit its column's type",
    "22008": "a date does not fit its column",
    "22P02": "a value does not fit its column's type",
    "22P05": "a text holds a character that the column cannot hold",
    "23502": "a required column would be empty",
    "23503": "it refers to a row that is not there",
    "23505": "a row with the same unique value is there already",
    "23514": "it breaks a check of the table",
}


def state_of(error: Exception) -> str:
    """The SQLSTATE of a driver's error."""
    return str(error.args[0]) if error.args else ""


def fault(error: Exception) -> Fault:
    """What kind of error it is; the words go first where the state is a catch-all."""
    state, text = state_of(error), _text(error)
    by_state = next((kind for pattern, kind in _STATES if re.match(pattern, state)), None)
    by_words = next((kind for pattern, kind in _WORDS if re.search(pattern, text, re.IGNORECASE)), None)
    if state in ("HY000", "S1000", ""):
        return by_words or Fault.UNKNOWN
    return by_state or by_words or Fault.UNKNOWN


def reason(error: Exception) -> str:
    """Why the table refused a row, in words that hold no value."""
    why = _REASONS.get(state_of(error), "a value or a rule of the table forbids it")
    return f"the table refused the row: {why} [{state_of(error)}]"


def translated(error: Exception, place: str, *, sent: bool = False) -> FieldlineError:
    """The error to raise for a failed statement at `place`; `sent` where it may have taken effect."""
    state = state_of(error)
    match fault(error):
        case Fault.LOST:
            return Unavailable(f"{place}: the connection to the database was lost [{state}]", sent=sent)
        case Fault.BUSY:
            return Unavailable(f"{place}: the database is busy (lock, deadlock or time limit) [{state}]", sent=False)
        case Fault.ROW:
            return Rejected(f"{place}: {reason(error)}")
        case Fault.MISSING_TABLE | Fault.CONFIG:
            return Misconfigured(f"{place}: {_first_line(error)} [{state}]")
    return Unavailable(f"{place}: the driver failed with [{state}]", sent=sent)


def translated_connect(error: Exception, place: str, install: str = APT_LINE) -> FieldlineError:
    """The error to raise where no connection could be opened; `install` says how its driver is had."""
    state, text = state_of(error), _text(error)
    if state == "01000" or "Can't open lib" in text:
        return Misconfigured(f"{place}: the ODBC driver is not installed ({_first_line(error)}); install it: {install}")
    if state.startswith("IM"):
        return Misconfigured(f"{place}: {_first_line(error)}; name it in odbc.ini, or install its driver: {install}")
    if _CERTIFICATE.search(text):
        return Misconfigured(f"{place}: its certificate is not trusted: name its authority (HANA: trust_store) [{state}]")
    if "incorrect time zone" in text:
        way_out = "load its zones (mariadb-tzinfo-to-sql /usr/share/zoneinfo | mariadb mysql), or let `timezone` be UTC"
        return Misconfigured(f"{place}: the database does not know the zone of the connection: {way_out}")
    if state.startswith("28") or _LOGIN.search(text):
        return Misconfigured(f"{place}: the database refused us: {_first_line(error)}")
    if state[:2] in ("08", "HY", "57", "53"):
        return Unavailable(f"{place}: the database cannot be reached: {_first_line(error)}")
    return Misconfigured(f"{place}: {_first_line(error)} [{state}]")


def odbc() -> Any:
    """The driver library, imported only when a database is used; raises Misconfigured where the driver manager is missing."""
    try:
        import pyodbc
    except ImportError as error:
        raise Misconfigured(f"ODBC cannot be used here ({error}); install the driver manager and the drivers: {APT_LINE}") from None
    pyodbc.pooling = False
    return pyodbc


def _text(error: Exception) -> str:
    return str(error.args[1]) if len(error.args) > 1 else ""


def _first_line(error: Exception) -> str:
    """The first line of the driver's words, without its brackets, bounded."""
    line = re.sub(r"\[[^\]]*\]|\s*\(\w+\)$", "", _text(error)).strip().splitlines()
    return line[0].strip(" ;")[:300] if line else "no reason given"
