"""The ODBC connector keeps the contract, on each database that runs here."""

from collections.abc import Iterator

import pytest
from tests.databases import Erp

from fieldline_connectors.odbc import Odbc, OdbcConfig, OdbcQuery, OdbcTarget
from fieldline_connectors.testing import ConnectorContract, TargetRows, sample_rows
from fieldline_core.batch import Batch

pytest_plugins = ["tests.database_fixtures"]

COLUMNS = {
    "postgresql": "note text, amount numeric(30,2), count bigint, score double precision, open boolean, day date, at timestamp",
    "mariadb": "note text, amount decimal(30,2), count bigint, score double, open boolean, day date, at datetime(6)",
    "sqlite": "note text, amount text, count bigint, score real, open boolean, day date, at timestamp",
}
FIELDS = {name: name for name in sample_rows().frame.columns}


class TestOdbc(ConnectorContract):
    connector_class = Odbc
    operation = "upsert"

    @pytest.fixture
    def connector(self, database: Erp) -> Iterator[Odbc]:
        columns = COLUMNS[database.kind]
        database.run(f"CREATE TABLE orders (id varchar(20) NOT NULL PRIMARY KEY, line int, {columns})")
        database.run(f"CREATE TABLE answers (id varchar(20) NOT NULL, {columns}, CHECK (score <> 666){self.unique})")
        for line, name in enumerate(("d", "a", "c", "b", "é'")):
            database.run("INSERT INTO orders (id, line, amount, day) VALUES (?, ?, '1.50', '2024-02-29')", name, line)
        self.prepare(database)
        connector = database.connector()
        yield connector
        connector.close()

    unique = ", PRIMARY KEY (id)"

    def prepare(self, database: Erp) -> None:
        """Puts into the table what the operation expects there."""

    @pytest.fixture
    def unreachable(self) -> Odbc:
        address = "Driver={PostgreSQL Unicode};Servername=127.0.0.1;Port=1;Database=x"
        return Odbc(OdbcConfig(connection_string=address, login_timeout_s=2))

    @pytest.fixture
    def query(self) -> OdbcQuery:
        return OdbcQuery(table="orders", key="id")

    @pytest.fixture
    def target(self) -> OdbcTarget:
        return OdbcTarget(operation=self.operation, table="answers", key="id", fields=FIELDS)

    @pytest.fixture
    def rows(self) -> Batch:
        return sample_rows()

    @pytest.fixture
    def bad_row(self) -> Batch:
        one = sample_rows(["bad", *"xyz"]).slice(0, 1)
        return Batch(one.keys, one.frame.with_columns(score=666.0))

    @pytest.fixture
    def target_rows(self, database: Erp, connector: Odbc) -> TargetRows:
        def ask() -> list[tuple[str, dict[str, object]]]:
            found = database.run(f"SELECT id, {', '.join(FIELDS)} FROM answers")
            return [(row[0], dict(zip(FIELDS, row[1:], strict=True))) for row in found]

        return ask


class TestOdbcUpdate(TestOdbc):
    operation = "update"

    def prepare(self, database: Erp) -> None:
        for name in ["bad", *sample_rows().keys]:
            database.run("INSERT INTO answers (id) VALUES (?)", name)


class TestOdbcInsert(TestOdbc):
    operation = "insert"
    unique = ""
