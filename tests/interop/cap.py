"""SAP's CAP server: installed once from npm into a folder of its own, started for a run."""

import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from fieldline_connectors.odata import Odata, OdataConfig
from fieldline_core.secret import Secret

SOURCE = Path(__file__).parent / "cap"
LOGIN = ("TECH_USER", "secret of the tests")
_INSTALL_S = 900
_START_S = 120


class Cap:
    """A running server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def fill(self, **rows: Sequence[Mapping[str, Any]]) -> None:
        """Empties it and puts these rows into it."""
        httpx.post(f"{self.url}/fill", json=rows, timeout=120).raise_for_status()

    def rows(self, entity_set: str) -> list[dict[str, Any]]:
        """What it holds, asked for without our connector."""
        headers = {"accept": "application/json;IEEE754Compatible=true"}
        found: list[dict[str, Any]] = []
        url = f"{self.url}/odata/v4/shop/{entity_set}?sap-client=100"
        while url:
            answer = httpx.get(url, auth=LOGIN, headers=headers, timeout=60).raise_for_status().json()
            found += answer["value"]
            more = answer.get("@odata.nextLink")
            url = f"{self.url}/odata/v4/shop/{more}" if more else ""
        return found

    def connector(self, version: str, **settings: Any) -> Odata:
        """A connection to the service in that version of OData."""
        login = {"flow": "basic", "user": LOGIN[0], "password": Secret(LOGIN[1])}
        document = {
            "service_url": f"{self.url}/odata/{version}/shop", "preset": "sap", "sap_client": "100", "login": login,
            "allow_private": [{"host": "127.0.0.1", "network": "127.0.0.0/8"}], **settings,
        }  # fmt: skip
        return Odata(OdataConfig.model_validate(document))


@contextmanager
def running() -> Iterator[Cap]:
    """The server on a free port; the test is skipped, with the reason, where it cannot be had."""
    folder = _installed()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / f"server-{port}.log"
    command = ["node", "node_modules/@sap/cds/bin/serve.js", "all", "--in-memory", "--port", str(port)]
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait(process, port, log)
            yield Cap(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            process.wait()


def _installed() -> Path:
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not here, and CAP runs on Node")
    digest = hashlib.sha256((SOURCE / "package.json").read_bytes()).hexdigest()[:12]
    folder = Path(os.environ.get("FIELDLINE_CAP", Path(tempfile.gettempdir(), f"fieldline-cap-{digest}")))
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(SOURCE, folder, dirs_exist_ok=True)
    if not (folder / "installed").exists():
        _install(folder)
    return folder


def _install(folder: Path) -> None:
    with suppress(subprocess.SubprocessError):
        install = ["npm", "install", "--no-audit", "--no-fund"]
        subprocess.run(install, cwd=folder, capture_output=True, timeout=_INSTALL_S, check=True)
        # npm 11 builds nothing that was not approved; older ones do not know the word, and have built it.
        approve = ["npm", "install-scripts", "approve", "better-sqlite3"]
        subprocess.run(approve, cwd=folder, capture_output=True, timeout=_INSTALL_S, check=False)
        subprocess.run(["npm", "rebuild"], cwd=folder, capture_output=True, timeout=_INSTALL_S, check=True)
        (folder / "installed").touch()
        return
    pytest.skip(f"CAP and its packages could not be installed from npm: run `npm install` in {folder} to see why")


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    pytest.skip(f"CAP did not start: {log.read_text()[-500:]}")
