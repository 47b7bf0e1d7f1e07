"""What `fieldline simulate fhir` does: it makes a server, opens a port, and says how to come in."""

import argparse
import json
import signal
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jwt.algorithms import RSAAlgorithm

from fieldline_simulators.certificate import make_app_key, make_tls_files
from fieldline_simulators.fhir.access import CLIENT_ID, CLIENT_SECRET, FIXED_TOKEN, PASSWORD, USER
from fieldline_simulators.fhir.ehr import Options
from fieldline_simulators.fhir.profiles import PROFILES
from fieldline_simulators.fhir.server import Simulator, running

APP_KEY, APP_KEY_ID = "app.key", "app"


def main() -> None:
    """Runs the server until it is stopped."""
    given = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    options = Options(
        profile=given.profile, seed=given.seed, state=given.state, bundles=given.bundles, patients=given.patients,
    )  # fmt: skip
    with TemporaryDirectory(prefix="fieldline-fhir-") as temporary:
        directory = (given.keys or Path(temporary)).resolve()
        try:
            tls = make_tls_files(directory) if given.https else None
            with running(options, tls, given.port) as server:
                _prepare(server, given, directory)
                _announce(given, _facts(server, directory, authority=str(tls.authority) if tls else None))
                threading.Event().wait()
        except KeyboardInterrupt:
            return
        except (OSError, ValueError) as error:
            sys.exit(f"fieldline simulate fhir: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="A FHIR R4 server to practise on; its web page is at the address that is printed.")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="medplum", help="whose ways it has")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--https", action="store_true", help="serve https with a certificate made now; its CA's file is printed")
    parser.add_argument(
        "--keys", type=Path, help="folder that keeps the certificate and the client's key; else they end with the server"
    )
    parser.add_argument("--state", type=Path, help="SQLite file that keeps the records; without it all is in memory")
    parser.add_argument("--bundles", type=Path, metavar="DIR", help="folder of bundles and resources that a new server gets")
    parser.add_argument("--patients", type=int, help="how many patients of the study a new server has; all 442 where left out")
    parser.add_argument("--seed", type=int, default=7, help="another number makes other ids and strikes other requests")
    parser.add_argument(
        "--jwks", type=Path, metavar="FILE", help="public keys (JWK set) of the client, in place of the key made here"
    )
    parser.add_argument("--faults", type=Path, metavar="FILE", help="faults to begin with, in JSON (see /_sim/faults)")
    parser.add_argument("--json", action="store_true", help="print what is to know as one line of JSON")
    return parser


def _prepare(server: Simulator, given: argparse.Namespace, directory: Path) -> None:
    if given.jwks:
        server.ehr.access.clients[CLIENT_ID].keys = json.loads(given.jwks.read_text())
    elif server.ehr.profile.authenticated:
        public = make_app_key(directory / APP_KEY, directory / "app.pub")
        jwk = RSAAlgorithm.to_jwk(RSAAlgorithm(RSAAlgorithm.SHA384).prepare_key(public), as_dict=True)
        server.ehr.access.clients[CLIENT_ID].keys = {"keys": [{**jwk, "kid": APP_KEY_ID}]}
    if given.faults:
        server.ehr.faults.set(json.loads(given.faults.read_text()))


def _facts(server: Simulator, directory: Path, authority: str | None) -> dict[str, Any]:
    asks = server.ehr.profile.authenticated
    app_key = directory / APP_KEY
    signs = asks and app_key.exists()
    return {
        "url": server.url, "fhir_url": server.fhir_url, "cds_page": f"{server.url}/cds", "authority": authority,
        "profile": server.ehr.profile.name,
        "client_id": CLIENT_ID if asks else None, "client_secret": CLIENT_SECRET if asks else None,
        "user": USER if asks else None, "password": PASSWORD if asks else None, "token": FIXED_TOKEN if asks else None,
        "app_key": str(app_key) if signs else None, "app_key_id": APP_KEY_ID if signs else None,
        "patients": sum(1 for _ in server.ehr.store.all("Patient")),
    }  # fmt: skip


def _announce(given: argparse.Namespace, facts: dict[str, Any]) -> None:
    if given.json:
        print(json.dumps(facts), flush=True)  # noqa: T201
        return
    lines = [
        ("FHIR base", facts["fhir_url"]),
        ("web page", facts["url"]),
        ("CDS Hooks client", facts["cds_page"]),
        ("profile", facts["profile"]),
        ("test CA", facts["authority"]),
        ("client id", facts["client_id"]),
        ("client secret", facts["client_secret"]),
        ("key for assertions", f"{facts['app_key']} (kid {facts['app_key_id']}, RS384)" if facts["app_key"] else None),
        ("bearer token", facts["token"]),
        ("user and password", f"{facts['user']} {facts['password']}" if facts["user"] else None),
        ("patients", f"{facts['patients']:,}"),
    ]
    print("\n".join(f"{name:<20} {value}" for name, value in lines if value), flush=True)  # noqa: T201
