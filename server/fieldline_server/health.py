"""`python -m fieldline_server.health api|relay|worker`: whether that process is at work here, for a supervisor to ask."""

import argparse
import http.client
import socket
import sys
from collections.abc import Sequence
from contextlib import closing

from fieldline_core.errors import FieldlineError, Unavailable
from fieldline_core.settings import Settings
from fieldline_core.store import Store
from fieldline_server.run_file import PORT_FILE, found_settings

_PACKAGE = "fieldline_server"
_TIMEOUT_S = 5.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def local_host(settings: Settings) -> str:
    """Where the API is reached from this machine: an address that means all of them is none to connect to."""
    return _EVERYWHERE.get(settings.api_host, settings.api_host)


def check_api(settings: Settings) -> None:
    """Returns where the API of this machine can serve requests; raises Unavailable."""
    host = local_host(settings)
    connection = http.client.HTTPConnection(host, _api_port(settings), timeout=_TIMEOUT_S)
    with closing(connection):
        try:
            connection.request("GET", "/health/ready")
            status = connection.getresponse().status
        except OSError as error:
            raise Unavailable(f"the API does not answer on {host} ({type(error).__name__})") from None
    if status != 200:
        raise Unavailable(f"the API answers, but is not ready ({status}): its database is away or lacks a migration")


def check_relay(settings: Settings) -> None:
    """Returns where a relay of this machine is connected to the database; raises Unavailable."""
    if not _asked(settings, "health.relay"):
        raise Unavailable("no relay of this machine is connected to the database")


def check_worker(settings: Settings, queues: Sequence[str]) -> None:
    """Returns where a worker of this host works on these queues; raises Unavailable."""
    if not _asked(settings, "health.worker", host=socket.gethostname(), queues=list(queues)):
        raise Unavailable(f"no worker of this host has given a sign of life for {', '.join(queues)} in the last half minute")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 where the process is at work, else 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(prog="python -m fieldline_server.health", description="Whether a process is at work here.")
    parser.add_argument("process", choices=("api", "relay", "worker"))
    parser.add_argument("--queues", default="cpu,write", help="the queues of the worker that is asked after")
    asked = parser.parse_args(arguments)
    try:
        settings = found_settings()
        match asked.process:
            case "api":
                check_api(settings)
            case "relay":
                check_relay(settings)
            case _:
                check_worker(settings, asked.queues.split(","))
    except FieldlineError as error:
        print(f"fieldline: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _api_port(settings: Settings) -> int:
    """The port that was set, else the free one that the API has noted."""
    if settings.api_port:
        return settings.api_port
    try:
        return int((settings.data_directory / PORT_FILE).read_text())
    except OSError:
        raise Unavailable("the API does not listen yet") from None


def _asked(settings: Settings, query: str, **values: object) -> bool:
    url = settings.database_url.get_secret_value()
    with closing(Store(url, connections=1)) as store, store.transaction("health", _PACKAGE) as tx:
        row = tx.one(query, **values)
    return bool(row and row["yes"])


if __name__ == "__main__":
    sys.exit(main())
