"""Signing in to OData services: each way, what it sends, and what a refusal means."""

import base64
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from tests.odata_connections import ENTITY_SETS, LOOPBACK

from fieldline_connectors.odata import Odata, OdataConfig, OdataQuery
from fieldline_core.errors import Misconfigured
from fieldline_core.secret import Secret
from fieldline_simulators.sap import Model
from fieldline_simulators.sap.metadata import metadata


class Guarded(HTTPServer):
    """Gives out tokens at /token, and $metadata to whoever has the newest one."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.forms: list[dict[str, list[str]]] = []
        self.seen: list[dict[str, str]] = []
        self.refusal: tuple[int, dict[str, str]] | None = None
        self.open = tls is not None
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)


class _Handler(BaseHTTPRequestHandler):
    server: Guarded

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.server.forms.append(parse_qs(body))
        status, found = self.server.refusal or (200, {"access_token": f"token-{len(self.server.forms)}", "expires_in": 3600})
        self.answer(status, json.dumps(found).encode())

    def do_GET(self) -> None:
        self.server.seen.append({name.lower(): value for name, value in self.headers.items()})
        if not self.server.open and self.headers.get("authorization") != f"Bearer token-{len(self.server.forms)}":
            return self.answer(401, b"Unauthorized")
        self.answer(200, metadata(Model(ENTITY_SETS), v4=True).encode() if "$metadata" in self.path else b'{"value": []}')

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("set-cookie", "session=of-this-host")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@contextmanager
def guarded(tls: ssl.SSLContext | None = None) -> Iterator[Guarded]:
    with Guarded(tls) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def connect(server: Guarded, scheme: str = "http", **document: Any) -> Odata:
    root = f"{scheme}://127.0.0.1:{server.server_port}"
    login = {"token_url": f"{root}/token", "client_id": "app", "client_secret": Secret("s3cret+/%"), **document.pop("login", {})}
    if login["flow"] == "certificate":
        login = {name: login[name] for name in ("flow", "certificate", "private_key")}
    return Odata(OdataConfig.model_validate({"service_url": f"{root}/api", "login": login, "allow_private": LOOPBACK, **document}))


def test_client_credentials_get_one_token_for_many_requests_and_another_where_it_is_refused() -> None:
    login = {"flow": "client_credentials", "scope": "https://x/.default"}
    with guarded() as server, closing(connect(server, login=login)) as odata:
        odata.check()
        list(odata.read(OdataQuery(entity_set="Partners"), None, 10))
        assert len(server.forms) == 1
        assert server.forms[0] == {"grant_type": ["client_credentials"], "client_id": ["app"], "client_secret": ["s3cret+/%"],
                                   "scope": ["https://x/.default"]}  # fmt: skip
        server.forms.append({})
        odata.check()
        assert len(server.forms) == 3
        assert server.seen[-1]["authorization"] == "Bearer token-3"


def test_a_saml_assertion_is_read_anew_at_every_login(tmp_path: Path) -> None:
    file = tmp_path / "assertion"
    file.write_text("first\n")
    login = {"flow": "saml_bearer", "assertion": {"secret": f"file:{file}"}}
    with guarded() as server, closing(connect(server, login=login)) as odata:
        odata.check()
        file.write_text("second")
        server.forms.append({})
        odata.check()
    assert [form["assertion"] for form in (server.forms[0], server.forms[2])] == [["first"], ["second"]]
    assert server.forms[0]["grant_type"] == ["urn:ietf:params:oauth:grant-type:saml2-bearer"]


def test_a_login_that_is_refused_says_what_to_change_and_no_secret() -> None:
    with guarded() as server, closing(connect(server, login={"flow": "client_credentials"})) as odata:
        server.refusal = (401, {"error": "invalid_client", "error_description": "s3cret+/% is wrong"})
        with pytest.raises(Misconfigured, match=r"check client_id, client_secret.*\[invalid_client\]") as caught:
            odata.check()
    assert "s3cret" not in str(caught.value)


def test_a_secret_that_is_missing_is_told_when_it_is_needed() -> None:
    login = {"flow": "basic", "user": "tech", "password": {"secret": "env:NO_SUCH_PASSWORD"}}
    config = OdataConfig.model_validate({"service_url": "https://s4.example/api", "login": login})
    with closing(Odata(config)) as odata, pytest.raises(Misconfigured, match="NO_SUCH_PASSWORD"):
        odata.check()


def test_a_password_with_any_characters_is_sent_as_it_is() -> None:
    login = {"flow": "basic", "user": "tech", "password": Secret("pä:ss")}
    with guarded() as server:
        server.open = True
        root = f"http://127.0.0.1:{server.server_port}/api"
        with closing(Odata(OdataConfig.model_validate({"service_url": root, "login": login, "allow_private": LOOPBACK}))) as odata:
            odata.check()
    assert base64.b64decode(server.seen[0]["authorization"].removeprefix("Basic ")).decode() == "tech:pä:ss"


@pytest.fixture
def identities(tmp_path: Path) -> Path:
    """An authority, a server's and a client's certificate, in a folder."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=tmp_path, check=True, capture_output=True)

    key = ("-newkey", "rsa:2048", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
    for name in ("server", "client"):
        (tmp_path / f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1\nkeyUsage=digitalSignature")
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", f"{name}.pem",
                "-days", "2", "-extfile", f"{name}.ext")  # fmt: skip
    return tmp_path


def test_a_client_certificate_is_shown_and_its_key_left_in_no_file(identities: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(identities / "server.pem", identities / "server.key")
    tls.load_verify_locations(identities / "ca.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    files = {"certificate": "client.pem", "private_key": "client.key"}
    secrets = {name: {"secret": f"file:{identities / file}"} for name, file in files.items()}
    with guarded(tls) as server:
        with closing(connect(server, "https", login={"flow": "certificate", **secrets}, ca_file=identities / "ca.pem")) as odata:
            odata.check()
        wrong = {**secrets, "private_key": {"secret": f"file:{identities / 'server.key'}"}}
        other = connect(server, "https", login={"flow": "certificate", **wrong}, ca_file=identities / "ca.pem")
        with closing(other), pytest.raises(Misconfigured, match="do not fit together"):
            other.check()
