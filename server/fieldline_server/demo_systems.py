"""The customer's side of the demo: an ERP and a laboratory database, or where ODBC is missing a receiver of webhooks."""

import base64
import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Protocol

import psycopg
import yaml
from psycopg import sql

from fieldline_core.errors import Misconfigured
from fieldline_server.embedded import Postgres
from fieldline_simulators import webhook_receiver

BIKES, LAB = "bike-demand", "lab-triage"
_DRIVER = "PostgreSQL Unicode"


class System(Protocol):
    """A system that Fieldline works for in the demo."""

    flows: ClassVar[tuple[str, ...]]
    """The examples that read it or write to it."""

    def start(self) -> None:
        """Starts it."""

    def stop(self) -> None:
        """Ends it."""

    @property
    def secrets(self) -> Mapping[str, str]:
        """What the examples' documents refer to, by the names that they have in the environment."""
        ...

    @property
    def records(self) -> int:
        """How many records a run reads of it."""
        ...

    def documents(self, flow: str) -> str:
        """An example's documents, with the addresses of this system."""
        ...

    def written(self, flow: str) -> int:
        """How many answers of a flow have really arrived."""
        ...


def missing_odbc() -> str:
    """Why databases cannot be reached through ODBC here, with the line that mends it; empty where they can."""
    from fieldline_connectors.odbc.errors import APT_LINE, odbc

    try:
        drivers = odbc().drivers()
    except Misconfigured as error:
        return str(error)
    return "" if _DRIVER in drivers else f"the ODBC driver for PostgreSQL is missing: {APT_LINE}"


class Databases:
    """Two databases in a PostgreSQL of their own, which Fieldline reaches through ODBC only."""

    flows: ClassVar[tuple[str, ...]] = (BIKES, LAB)

    def __init__(self, directory: Path, examples: Path, rows: int | None) -> None:
        self._server = Postgres(directory, fsync=False)
        self._examples = examples
        self._rows = rows
        self.lab_secret = _signing_secret()

    def start(self) -> None:
        """Starts the server and fills the tables."""
        self._server.start()
        erp = self._server.create_database("erp")
        with psycopg.connect(erp) as connection:
            connection.execute((self._examples / BIKES / "table.sql").read_bytes())
            _copy(connection, "demand_forecast", self._examples / BIKES / "records.csv", self._rows)
        with psycopg.connect(self._server.create_database("lab")) as connection:
            connection.execute((self._examples / LAB / "table.sql").read_bytes())

    @property
    def secrets(self) -> Mapping[str, str]:
        """What the examples' documents refer to, by the names that they have in the environment."""
        password = self._server.database("erp").password
        return {"LAB_WEBHOOK_SECRET": self.lab_secret, "ERP_PASSWORD": password, "LAB_DATABASE_PASSWORD": password}

    @property
    def records(self) -> int:
        """How many records the ERP holds."""
        every = len((self._examples / BIKES / "records.csv").read_text().splitlines()) - 1
        return min(every, self._rows or every)

    def stop(self) -> None:
        """Ends the server."""
        self._server.stop()

    def documents(self, flow: str) -> str:
        """An example's documents, with the addresses of these databases."""
        documents = example_documents(self._examples, flow)
        for document in documents:
            if document.get("connector") == "odbc":
                at = self._server.database("erp" if document["connection"] == "erp" else "lab")
                address = f"Driver={{{_DRIVER}}};Servername=127.0.0.1;Port={at.port};Database={at.name};Uid=fieldline"
                document["settings"]["connection_string"] = address
        return with_stored_secrets(documents)

    def written(self, flow: str) -> int:
        """How many answers of a flow have really arrived."""
        asked = {
            BIKES: ("erp", b"SELECT count(*) FROM demand_forecast WHERE expected_bikers IS NOT NULL"),
            LAB: ("lab", b"SELECT count(*) FROM reading_queue WHERE triage IS NOT NULL"),
        }
        database, query = asked[flow]
        with psycopg.connect(self._server.database(database).url) as connection:
            row = connection.execute(query).fetchone()
        return int(row[0]) if row else 0


class Inbox:
    """A receiver of signed webhooks, which takes the laboratory's answers where no database can be reached."""

    flows: ClassVar[tuple[str, ...]] = (LAB,)
    records: ClassVar[int] = 0

    def __init__(self, examples: Path) -> None:
        self._examples = examples
        self._stack = ExitStack()
        self._secret = _signing_secret()
        self.lab_secret = _signing_secret()

    def start(self) -> None:
        """Starts the receiver."""
        self._receiver = self._stack.enter_context(webhook_receiver.running(self._secret))

    @property
    def secrets(self) -> Mapping[str, str]:
        """What the documents refer to, by the names that they have in the environment."""
        return {"LAB_WEBHOOK_SECRET": self.lab_secret, "LAB_RECEIVER_SECRET": self._secret}

    def stop(self) -> None:
        """Ends the receiver."""
        self._stack.close()

    def documents(self, flow: str) -> str:
        """An example's documents, with its database replaced by the receiver."""
        documents = example_documents(self._examples, flow)
        for document in documents:
            if document.get("connector") == "odbc":
                document["connector"] = "webhook"
                document["settings"] = {
                    "url": self._receiver.url,
                    "signing_secrets": [{"secret": "env:LAB_RECEIVER_SECRET"}],
                    "receiver_dedupes": True,
                    "allow_private": [{"host": "127.0.0.1", "network": "127.0.0.0/8"}],
                }
            for write in document.get("writes", ()):
                write["target"] = {"fields": write["target"]["fields"]}
        return with_stored_secrets(documents)

    def written(self, flow: str) -> int:
        """How many answers have really arrived."""
        return sum(len(message["body"]["data"]["records"]) for message in self._receiver.inbox.messages.values())


def example_documents(examples: Path, flow: str) -> list[dict[str, Any]]:
    """An example's documents."""
    return list(yaml.safe_load_all((examples / flow / "flow.yaml").read_text()))


def with_stored_secrets(documents: list[dict[str, Any]]) -> str:
    """The documents as YAML, with their secrets in the store, where every process and every terminal finds them."""
    return yaml.safe_dump_all([_referring(document) for document in documents], sort_keys=False)


def _referring(part: Any) -> Any:
    match part:
        case {"secret": str(reference)}:
            return {"secret": f"store:{stored_name(reference.removeprefix('env:'))}"}
        case dict():
            return {key: _referring(value) for key, value in part.items()}
        case list():
            return [_referring(value) for value in part]
    return part


def stored_name(variable: str) -> str:
    """The name in the store of a secret that the examples take from the environment."""
    return variable.lower().replace("_", "-")


def _copy(connection: psycopg.Connection[Any], table: str, records: Path, rows: int | None) -> None:
    """Puts the records of a CSV file into a table, at most `rows` of them."""
    lines = records.read_text().splitlines(keepends=True)[: None if rows is None else rows + 1]
    columns = sql.SQL(", ").join(sql.Identifier(name) for name in lines[0].strip().split(","))
    copy_in = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv, HEADER true)").format(sql.Identifier(table), columns)
    with connection.cursor().copy(copy_in) as copy:
        copy.write("".join(lines))


def _signing_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
