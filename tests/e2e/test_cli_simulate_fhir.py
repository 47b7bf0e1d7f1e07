"""`fieldline simulate fhir`, as a process."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

pytestmark = pytest.mark.soak


@contextmanager
def simulated(directory: Path, *options: str) -> Iterator[dict[str, Any]]:
    """What the command prints, while it runs."""
    command = [sys.executable, "-m", "fieldline_server", "simulate", "fhir", "--json", "--patients", "3", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=directory, env=dict(os.environ)) as process:
        assert process.stdout
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGTERM)
            ended = process.wait(120)
    assert ended == 0


def signed_in(client: httpx.Client, facts: dict[str, Any]) -> str:
    """A token by a signed assertion, with the key that was printed."""
    token_url = client.get("/.well-known/smart-configuration").json()["token_endpoint"]
    now = int(time.time())
    claims = {"iss": facts["client_id"], "sub": facts["client_id"], "aud": token_url, "exp": now + 240, "jti": f"{uuid.uuid4()}"}
    signed = jwt.encode(claims, Path(facts["app_key"]).read_text(), "RS384", headers={"kid": facts["app_key_id"]})
    form = {
        "grant_type": "client_credentials", "client_assertion": signed, "scope": "system/*.rs",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    }  # fmt: skip
    return str(client.post(token_url, data=form).json()["access_token"])


def test_a_server_says_how_to_come_in_and_keeps_its_file(tmp_path: Path) -> None:
    options = ("--profile", "oracle", "--https", "--state", "ehr.db", "--keys", "keys")
    seen = []
    for _ in range(2):
        with simulated(tmp_path, *options) as facts:
            trusted = ssl.create_default_context(cafile=facts["authority"])
            with httpx.Client(base_url=facts["fhir_url"], verify=trusted, trust_env=False, timeout=30) as client:
                client.headers["Authorization"] = f"Bearer {facts['token']}"
                made = client.post("/Observation", json={"resourceType": "Observation", "status": "final", "code": {"text": "x"}})
                assert client.get("/Patient", headers={"Authorization": f"Bearer {signed_in(client, facts)}"}).status_code == 400
                assert (made.status_code, facts["profile"], facts["patients"]) == (201, "oracle", 3)
                seen.append(client.get("/Observation", params={"_id": made.headers["location"].split("/")[-3]}).json()["total"])
    assert seen == [1, 1]


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fieldline_server", "simulate", "fhir", "--bundles", "absent"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert (done.returncode, "absent is no folder" in done.stderr, "Traceback" in done.stderr) == (1, True, False)
