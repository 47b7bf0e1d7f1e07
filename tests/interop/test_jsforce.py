"""jsforce, as npm has it, over https against the simulated org."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import jwt
import pytest

from fieldline_simulators.salesforce import CLIENT_ID, CLIENT_SECRET, INTEGRATION, Options, make_app_key, make_tls_files, running

pytestmark = pytest.mark.interop
PACKAGE = "jsforce@3.10.16"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("there is no Node here")
    made = tmp_path_factory.mktemp("jsforce")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(made), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        pytest.skip(f"npm has no {PACKAGE} here: {done.stderr[-300:]}")
    return made


def test_jsforce_does_all_of_its_work(folder: Path, tmp_path: Path) -> None:
    tls = make_tls_files(tmp_path / "tls")
    with running(Options(leads=300, page_rows=120), tls) as org:
        org.org.apps[CLIENT_ID].certificate = make_app_key(tmp_path / "app.key", tmp_path / "app.pub")
        claims = {"iss": CLIENT_ID, "sub": INTEGRATION, "aud": "https://login.salesforce.com", "exp": int(time.time()) + 120}
        assertion = jwt.encode(claims, (tmp_path / "app.key").read_text(), algorithm="RS256")
        script = Path(__file__).with_name("jsforce_client.cjs")
        command = ["node", str(script), str(folder), org.url, CLIENT_ID, CLIENT_SECRET, assertion]
        environment = {**os.environ, "NODE_EXTRA_CA_CERTS": str(tls.authority)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "jsforce: all of it\n"
