"""The tests that run against any FHIR server pass against the simulator in the ways of each vendor."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fhir_server import fhir_server

from fieldline_simulators.fhir import FIXED_TOKEN
from fieldline_simulators.fhir.profiles import PROFILES

pytestmark = pytest.mark.interop
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("profile", PROFILES)
def test_the_simulator_passes_in_each_profile(profile: str) -> None:
    with fhir_server(profile) as server:
        env = {**os.environ, "FHIR_BASE_URL": server.simulator.fhir_url, "FHIR_TOKEN": FIXED_TOKEN, "FHIR_PATIENT": "study-001"}
        command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests/interop/test_fhir_server.py"]
        run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)
        assert run.returncode == 0, run.stdout[-4000:]
        assert " passed" in run.stdout
