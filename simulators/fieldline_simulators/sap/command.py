"""What `fieldline simulate sap` does: it makes a system, opens a port, and says how to come in."""

import argparse
import json
import signal
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fieldline_simulators.certificate import make_tls_files
from fieldline_simulators.sap.idocs import PATHS
from fieldline_simulators.sap.server import Simulator, running
from fieldline_simulators.sap.sessions import CLIENT_ID, CLIENT_SECRET, PASSWORD, TOKEN_PATH, USER
from fieldline_simulators.sap.system import Options


def main() -> None:
    """Runs the system until it is stopped."""
    given = parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    options = Options(
        seed=given.seed, state=given.state, client=given.client, partners=given.partners, orders=given.orders, hours=given.hours,
        records=given.records, page_rows=given.page_rows, csrf_s=given.csrf_seconds, link_host=given.link_host,
        changeset_rows=given.changeset_rows, posts_idocs=given.post_idocs,
    )  # fmt: skip
    with TemporaryDirectory(prefix="fieldline-sap-") as temporary:
        try:
            tls = make_tls_files(given.keys or Path(temporary)) if given.https else None
            with running(options, tls, given.port) as server:
                if given.saml_issuer:
                    name, file = given.saml_issuer
                    server.system.sessions.assertions.trusted[name] = Path(file).read_text()
                if given.faults:
                    server.system.faults.set(json.loads(given.faults.read_text()))
                _announce(given, _facts(server, str(tls.authority.resolve()) if tls else None))
                threading.Event().wait()
        except KeyboardInterrupt:
            return
        except (OSError, ValueError) as error:
            sys.exit(f"fieldline simulate sap: {error}")


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(description="An SAP system to practise on; its web page is at the address that is printed.")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--https", action="store_true", help="serve https with a certificate made now; its CA's file is printed")
    parser.add_argument("--keys", type=Path, help="folder that keeps the certificate; else it ends with the server")
    parser.add_argument("--state", type=Path, help="SQLite file that keeps the records; without it all is in memory")
    parser.add_argument("--client", type=_client, default="100", help="client of the system: any other sap-client is refused")
    parser.add_argument("--partners", type=_count, default=60, help="how many business partners a new system has")
    parser.add_argument("--orders", type=_count, default=200, help="how many sales orders a new system has")
    parser.add_argument("--hours", type=_count, default=1_000, help="how many hours the planning table of a new system has")
    parser.add_argument("--records", type=Path, metavar="FILE", help="CSV file with the hours of the planning table")
    parser.add_argument("--page-rows", type=_size, default=500, help="most records on a page")
    parser.add_argument("--changeset-rows", type=_size, help="most operations in a changeset; any number where left out")
    parser.add_argument("--post-idocs", action="store_true", help="post IDocs as they come; else when you say so")
    parser.add_argument("--csrf-seconds", type=float, default=1_800.0, help="how long a CSRF token holds")
    parser.add_argument(
        "--saml-issuer", nargs=2, metavar=("NAME", "FILE"), help="an issuer of SAML assertions to trust, and its certificate in PEM"
    )
    parser.add_argument(
        "--link-host", default="", metavar="URL", help="scheme and host that the links of V2 name, as behind a proxy"
    )
    parser.add_argument("--seed", type=int, default=7, help="another number makes other records and strikes other requests")
    parser.add_argument("--faults", type=Path, metavar="FILE", help="faults to begin with, in JSON (see /_sim/faults)")
    parser.add_argument("--json", action="store_true", help="print what is to know as one line of JSON")
    return parser


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > 100_000:
        raise argparse.ArgumentTypeError(f"{text} is no number from 0 to 100,000")
    return int(text)


def _size(text: str) -> int:
    if _count(text) == 0:
        raise argparse.ArgumentTypeError("it is 1 or more")
    return int(text)


def _client(text: str) -> str:
    if not (len(text) == 3 and text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text} is no client: it has three digits")
    return text


def _facts(server: Simulator, authority: str | None) -> dict[str, Any]:
    return {
        "url": server.url, "v2_url": server.v2_url, "v4_url": server.v4_url, "idoc_url": f"{server.url}{PATHS[0]}",
        "token_url": f"{server.url}{TOKEN_PATH}", "authority": authority, "client": server.system.options.client,
        "user": USER, "password": PASSWORD, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET,
        "saml_audience": server.system.sessions.provider,
        "records": {each.name: server.system.store.count(each.name) for each in server.system.options.model.sets},
    }  # fmt: skip


def _announce(given: argparse.Namespace, facts: dict[str, Any]) -> None:
    if given.json:
        print(json.dumps(facts), flush=True)  # noqa: T201
        return
    lines = [
        ("web page", facts["url"]),
        ("OData V2", facts["v2_url"]),
        ("OData V4", facts["v4_url"]),
        ("IDoc port", facts["idoc_url"]),
        ("test CA", facts["authority"]),
        ("sap-client", facts["client"]),
        ("user and password", f"{facts['user']} {facts['password']}"),
        ("token url", facts["token_url"]),
        ("client id", facts["client_id"]),
        ("client secret", facts["client_secret"]),
        ("SAML audience", facts["saml_audience"]),
        ("records", ", ".join(f"{count:,} {name}" for name, count in facts["records"].items() if count)),
    ]
    print("\n".join(f"{name:<20} {value}" for name, value in lines if value), flush=True)  # noqa: T201
