"""What `fieldline simulate salesforce` does: it makes an org, opens a port, and says how to log in."""

import argparse
import json
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fieldline_simulators.certificate import make_app_key, make_tls_files
from fieldline_simulators.salesforce.errors import ApiError
from fieldline_simulators.salesforce.load_csv import load_csv
from fieldline_simulators.salesforce.org import Options
from fieldline_simulators.salesforce.seed import ADMINISTRATOR, CLIENT_ID, CLIENT_SECRET, INTEGRATION, RESTRICTED
from fieldline_simulators.salesforce.server import Simulator, open_org


def main() -> None:
    """Runs the org until it is stopped."""
    given = parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with TemporaryDirectory(prefix="fieldline-salesforce-") as temporary:
        directory = given.keys or (given.state.with_suffix(".keys") if given.state else Path(temporary))
        options = Options(
            seed=given.seed, leads=given.leads, state=given.state, daily_limit=given.daily_limit, session_s=given.session_seconds
        )
        tls = make_tls_files(directory) if given.https else None
        with Simulator(open_org(options), given.port, tls=tls, pubsub_port=given.pubsub_port) as server:
            _prepare(server, given, directory)
            _announce(given, _facts(server, directory, https=given.https))
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                return


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(description="A Salesforce org to practise on; its web page is at the address that is printed.")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--pubsub-port", type=int, default=0, help="port of the Pub/Sub API (gRPC); 0 takes a free one")
    parser.add_argument(
        "--https", action="store_true", help="serve https with a certificate made now; its authority's file is printed"
    )
    parser.add_argument("--state", type=Path, help="SQLite file that keeps the org; without it all is in memory")
    parser.add_argument("--keys", type=Path, help="folder of the certificate and the app's key; by default beside the state file")
    parser.add_argument("--seed", type=int, default=7, help="another number makes other records")
    parser.add_argument("--leads", type=int, default=3000, help="how many leads a new org has")
    parser.add_argument(
        "--csv", action="append", default=[], metavar="OBJECT=FILE", help="records to add; the object is else the file's name"
    )
    parser.add_argument(
        "--app-certificate", type=Path, metavar="FILE", help="certificate or public key (PEM) of the app, for JWT logins"
    )
    parser.add_argument("--faults", type=Path, metavar="FILE", help="faults to begin with, in JSON (see /_sim/faults)")
    parser.add_argument("--daily-limit", type=int, default=100_000, help="API calls in 24 hours")
    parser.add_argument("--session-seconds", type=float, default=7200.0, help="how long a session lives unused")
    parser.add_argument("--json", action="store_true", help="print what is to know as one line of JSON")
    return parser


def _prepare(server: Simulator, given: argparse.Namespace, directory: Path) -> None:
    org = server.org
    try:
        if given.app_certificate:
            org.apps[CLIENT_ID].certificate = given.app_certificate.read_text()
        elif not org.apps[CLIENT_ID].certificate or not given.state:
            org.apps[CLIENT_ID].certificate = make_app_key(directory / "app.key", directory / "app.pub")
        if given.faults:
            org.faults.set(json.loads(given.faults.read_text()))
        for each in given.csv:
            name, _, path = each.rpartition("=")
            load_csv(org, name or Path(path).stem, Path(path).read_text("utf-8-sig"))
    except (OSError, ValueError, ApiError) as error:
        sys.exit(f"fieldline simulate salesforce: {error}")
    org.save()


def _facts(server: Simulator, directory: Path, *, https: bool) -> dict[str, Any]:
    app_key = directory / "app.key"
    return {
        "url": server.url,
        "pubsub": server.pubsub.endpoint if server.pubsub else None,
        "authority": str(directory / "ca.pem") if https else None,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "app_key": str(app_key) if app_key.exists() else None,
        "users": {"administrator": ADMINISTRATOR, "integration": INTEGRATION, "restricted": RESTRICTED},
        "leads": sum(1 for _ in server.org.tables["Lead"].live()),
    }


def _announce(given: argparse.Namespace, facts: dict[str, Any]) -> None:
    if given.json:
        print(json.dumps(facts), flush=True)  # noqa: T201
        return
    users = facts["users"]
    lines = [
        ("org and web page", facts["url"]),
        ("Pub/Sub API", facts["pubsub"]),
        ("test CA", facts["authority"]),
        ("consumer key", facts["client_id"]),
        ("consumer secret", facts["client_secret"]),
        ("key for JWT logins", facts["app_key"]),
        ("integration user", users["integration"]),
        ("a user who may less", users["restricted"]),
        ("leads", f"{facts['leads']:,}"),
    ]
    print("\n".join(f"{name:<20} {value}" for name, value in lines if value), flush=True)  # noqa: T201
