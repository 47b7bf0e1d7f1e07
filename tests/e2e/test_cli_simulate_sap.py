"""`fieldline simulate sap`, as a process."""

import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.soak


@contextmanager
def simulated(directory: Path, *options: str) -> Iterator[dict[str, Any]]:
    """What the command prints, while it runs."""
    command = [sys.executable, "-m", "fieldline_server", "simulate", "sap", "--json", "--orders", "3", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=directory, env=dict(os.environ)) as process:
        assert process.stdout
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGTERM)
            ended = process.wait(120)
    assert ended == 0


def test_a_system_says_how_to_come_in_and_keeps_its_file(tmp_path: Path) -> None:
    (tmp_path / "faults.json").write_text('[{"kind": "status", "status": 429, "entity": "A_Product"}]')
    options = ("--https", "--state", "s4.db", "--keys", "keys", "--client", "300", "--hours", "5", "--faults", "faults.json")
    seen = []
    for _ in range(2):
        with simulated(tmp_path, *options) as facts:
            trusted = ssl.create_default_context(cafile=facts["authority"])
            with httpx.Client(verify=trusted, trust_env=False, timeout=30, params={"sap-client": facts["client"]}) as client:
                form = {"grant_type": "client_credentials"}
                token = client.post(facts["token_url"], data=form, auth=(facts["client_id"], facts["client_secret"])).json()
                client.headers["Authorization"] = f"Bearer {token['access_token']}"
                fetched = client.get(facts["v2_url"], headers={"x-csrf-token": "Fetch"})
                headers = {"x-csrf-token": fetched.headers["x-csrf-token"], "if-match": "*"}
                hour = f"{facts['v2_url']}Z_MaterialPlanningHour(Material='RENTAL-BIKE',Day=1,hr=4)"
                seen.append(client.get(hour).json()["d"]["DemandLevel"])
                client.request("MERGE", hour, json={"DemandLevel": "high"}, headers=headers).raise_for_status()
                assert client.get(f"{facts['v4_url']}A_Product").status_code == 429
                assert (facts["records"]["A_SalesOrder"], facts["records"]["Z_MaterialPlanningHour"]) == (3, 5)
    assert seen == [None, "high"]


def test_a_file_that_does_not_fit_is_named(tmp_path: Path) -> None:
    (tmp_path / "hours.csv").write_text("day,hr\n1,1\n")
    command = [sys.executable, "-m", "fieldline_server", "simulate", "sap", "--records", "hours.csv"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert (done.returncode, "hours.csv does not hold" in done.stderr, "Traceback" in done.stderr) == (1, True, False)
