"""Processes of one connection have one token and one pace, which the store keeps; the token is nowhere in clear."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Lock
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.engines import Bench
from tests.fhir_script import Asked, bundle, capabilities, serving

from fieldline_connectors.fhir import FhirQuery
from fieldline_core.errors import Unavailable
from fieldline_server.wiring import Wiring

QUERY = FhirQuery(view={"resource": "Observation", "select": [{"column": [{"name": "id", "path": "getResourceKey()"}]}]})
PEM = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


class Ehr:
    """A server that counts logins, and how many searches are there at once; it wants to see two of them together."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.most = self.now = 0
        self.two, self.lock = Event(), Lock()
        self.url = ""

    def script(self, asked: Asked) -> tuple[int, Any]:
        """The answer to a request."""
        what = asked.path.rpartition("/")[2]
        with self.lock:
            self.asked[what] += 1
        if what == "smart-configuration":
            return 200, {"token_endpoint": f"{self.url}/token"}
        if what == "token":
            return 200, {"access_token": "t0ken", "expires_in": 300}
        return 200, capabilities() if what == "metadata" else self.page()

    def page(self) -> Any:
        """A page, not before there have been two searches at once."""
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            if self.now == 2:
                self.two.set()
        assert self.two.wait(30)
        with self.lock:
            self.now -= 1
        return bundle({"resourceType": "Observation", "id": "1"})


def test_processes_sign_in_once_and_keep_one_pace(bench: Bench, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(ec.generate_private_key(ec.SECP384R1()).private_bytes(*PEM))
    ehr = Ehr()
    with ExitStack() as stack:
        server = stack.enter_context(serving(ehr.script))
        ehr.url = server.url
        login = {"flow": "smart", "client_id": "app", "private_key": {"secret": f"file:{key}"}, "key_id": "k1"}
        settings = server.settings(login=login, max_concurrent=2, requests_per_minute=9)
        bench.apply(json.dumps({"connection": "ehr", "connector": "fhir", "settings": settings}))
        wirings = [Wiring(bench.engine.settings, bench.engine.store, bench.engine.keyring) for _ in range(2)]
        for each in wirings:
            stack.callback(each.close)
        connectors = [wiring.connector("ehr") for wiring in wirings]
        with ThreadPoolExecutor(4) as threads:
            found = [*threads.map(lambda number: [*connectors[number % 2].read(QUERY, None, 10)], range(4))]
        for number in range(9 - ehr.asked["Observation"] - ehr.asked["metadata"]):
            [*connectors[number % 2].read(QUERY, None, 10)]
        with pytest.raises(Unavailable, match="9 requests were sent in the last minute") as caught:
            [*connectors[0].read(QUERY, None, 10)]
    assert [len(pages) for pages in found] == [1] * 4
    assert 50 < (caught.value.retry_after or 0) <= 61
    assert ehr.asked["token"] == ehr.asked["smart-configuration"] == 1
    assert ehr.asked["Observation"] + ehr.asked["metadata"] == 9
    assert ehr.most == 2
    rows = bench.all("SELECT name, body FROM secret WHERE name LIKE 'shared/%%' ORDER BY name")
    assert [row["name"] for row in rows] == ["shared/ehr/throttle", "shared/ehr/token"]
    assert not [row["name"] for row in rows if b"t0ken" in row["body"]]


def test_a_connection_that_was_closed_is_opened_again(bench: Bench) -> None:
    with serving(Ehr().script) as server:
        bench.apply(json.dumps({"connection": "ehr", "connector": "fhir", "settings": server.settings()}))
        first = bench.engine.parts.connector("ehr")
        first.check()
        bench.close_connections()
        assert "_client" not in first._wire.__dict__
        bench.engine.parts.connector("ehr").check()
        bench.close_connections()
