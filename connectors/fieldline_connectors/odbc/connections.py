"""Open connections: kept for the next call, given to one thread at a time, thrown away after any error."""

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum

from fieldline_connectors.odbc.config import OdbcConfig
from fieldline_connectors.odbc.dialects import DIALECTS, Connection, Dialect, dialect_of
from fieldline_connectors.odbc.errors import APT_LINE, HANA_LINE, odbc, translated, translated_connect
from fieldline_core.errors import Unavailable


class Purpose(StrEnum):
    """What a connection is for; reading takes other driver settings than writing."""

    READ = "read"
    WRITE = "write"


class Connections:
    """The connections to one database."""

    def __init__(self, config: OdbcConfig) -> None:
        self.config = config
        self.place = config.place
        self._idle: dict[Purpose, list[Connection]] = defaultdict(list)
        self._dialect: Dialect | None = None if config.spoken == "auto" else DIALECTS[config.spoken]
        self._lock = threading.Lock()

    @property
    def dialect(self) -> Dialect:
        """The SQL that the database speaks; connects at the first use where the settings leave it open."""
        if self._dialect is None:
            connection = self._open({})
            try:
                self._dialect = dialect_of(str(connection.getinfo(odbc().SQL_DBMS_NAME)))
            finally:
                connection.close()
        return self._dialect

    @contextmanager
    def use(self, purpose: Purpose) -> Iterator[Connection]:
        """A connection outside any transaction, for one thread; an error of the driver comes out as one of ours.

        Where the database was not available, the idle connections are closed too: they would most likely fail next.
        """
        connection = self._take(purpose)
        try:
            yield connection
            connection.rollback()
        except BaseException as error:
            with suppress(Exception):
                connection.close()
            ours = translated(error, self.place) if isinstance(error, odbc().Error) else error
            if isinstance(ours, Unavailable):
                self.close()
            raise ours from None
        with self._lock:
            self._idle[purpose].append(connection)

    def close(self) -> None:
        """Closes the connections that nobody uses."""
        with self._lock:
            idle = [connection for kept in self._idle.values() for connection in kept]
            self._idle.clear()
        for connection in idle:
            with suppress(Exception):
                connection.close()

    def _take(self, purpose: Purpose) -> Connection:
        with self._lock:
            if kept := self._idle[purpose]:
                return kept.pop()
        dialect = self.dialect
        connection = self._open({**dialect.always, **(dialect.reading if purpose is Purpose.READ else {})})
        try:
            if dialect.name == "mariadb":
                # Its driver corrupts texts of 128 characters and more that are bound as UTF-16 (pyodbc #1375).
                connection.setencoding("utf-8")
            for statement in dialect.session(self.config):
                connection.execute(statement).close()
            connection.commit()
        except odbc().Error as error:
            connection.close()
            raise translated_connect(error, self.place, self._install) from None
        return connection

    def _open(self, options: Mapping[str, str]) -> Connection:
        driver = odbc()
        try:
            return driver.connect(connection_text(self.config, options), timeout=self.config.login_timeout_s, autocommit=False)
        except driver.Error as error:
            raise translated_connect(error, self.place, self._install) from None

    @property
    def _install(self) -> str:
        return HANA_LINE if self.config.spoken == "hana" else APT_LINE


def connection_text(config: OdbcConfig, options: Mapping[str, str]) -> str:
    """The whole connection string, password included; made at the moment of connecting, never kept."""
    parts = [config.address, *(f"{name}={value}" for name, value in options.items())]
    if config.user is not None:
        parts.append(f"UID={config.user}")
    if config.password is not None:
        parts.append(f"PWD={_braced(config.password.reveal())}")
    return ";".join(parts)


def _braced(value: str) -> str:
    """A password whose signs mean nothing; psqlodbc would otherwise read % and + in it as codes."""
    return value if value.isalnum() else "{" + value.replace("}", "}}") + "}"
