"""salesforce-pubsub-api-client, as npm has it, over TLS against the simulated org."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fieldline_simulators.salesforce import CLIENT_ID, CLIENT_SECRET, Options, dml, make_tls_files, running

pytestmark = pytest.mark.interop
# The client needs underscore without saying so.
PACKAGES = ("salesforce-pubsub-api-client@5.5.2", "underscore@1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("there is no Node here")
    made = tmp_path_factory.mktemp("pubsub")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(made), *PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        pytest.skip(f"npm has no {PACKAGES[0]} here: {done.stderr[-300:]}")
    return made


def test_the_client_subscribes_resumes_and_publishes(folder: Path, tmp_path: Path) -> None:
    tls = make_tls_files(tmp_path / "tls")
    with running(Options(leads=0), tls, pubsub_port=0) as server:
        assert server.pubsub is not None
        with server.org.transaction(server.org.administrator()) as tx:
            lead = dml.insert(tx, "Lead", {"LastName": "Lind", "Company": "Alpine", "Title": "CEO"}).id
        with server.org.transaction(server.org.administrator()) as tx:
            dml.update(tx, "Lead", lead, {"FirstName": "Eva", "City": "Bern", "Title": None})
        script = Path(__file__).with_name("pubsub_client.cjs")
        command = ["node", str(script), str(folder), server.url, server.pubsub.endpoint, CLIENT_ID, CLIENT_SECRET]
        environment = {**os.environ, "NODE_EXTRA_CA_CERTS": str(tls.authority)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "pubsub: all of it\n"
