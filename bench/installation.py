"""A whole Fieldline for benchmarks: its own PostgreSQL, an ERP's PostgreSQL, Redis, relay and workers as real processes."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import yaml

from fieldline_core.pipeline.engine import Engine
from fieldline_core.settings import Settings
from fieldline_core.store import migrate
from fieldline_server.apply import apply
from fieldline_server.embedded import Database, Postgres, Redis
from fieldline_server.wiring import Wiring, open_engine

HERE = Path(__file__).parent


class Installation:
    """Servers, an engine of this process, and workers that come and go."""

    def __init__(self, directory: Path, store: Database, erp: Database, redis: Redis) -> None:
        self.directory, self.erp = directory, erp
        self.environment = {
            **os.environ, "FIELDLINE_DATA_DIRECTORY": str(directory / "data"), "FIELDLINE_DATABASE_URL": store.url,
            "FIELDLINE_BROKER_URL": redis.url, "FIELDLINE_API_PORT": "0", "ERP_PASSWORD": erp.url.split(":")[2].split("@")[0],
        }  # fmt: skip
        os.environ.update(self.environment)
        migrate(store.url)
        self.settings = Settings()
        self.engine: Engine = open_engine(self.settings, "bench")
        self.processes: list[subprocess.Popen[bytes]] = []

    def apply(self, file: Path, models: Mapping[str, Path]) -> None:
        """Imports the models and applies the documents, with the ERP's address put in."""
        parts = self.engine.parts
        assert isinstance(parts, Wiring)
        for name, path in models.items():
            parts.registry.import_model(path, name, "bench")
        documents = list(yaml.safe_load_all(file.read_text()))
        for document in documents:
            if document.get("connector") == "odbc":
                parts_of_address = (part for part in self.erp.odbc.split(";") if not part.startswith("Pwd="))
                document["settings"]["connection_string"] = ";".join(parts_of_address)
        done = apply(self.engine, parts.registry, {file.name: yaml.safe_dump_all(documents)}, "bench")
        if done.findings:
            raise SystemExit("\n".join(str(finding) for finding in done.findings))

    def start(self, *argv: str, **environment: str) -> "subprocess.Popen[bytes]":
        """Starts `fieldline ARGV`; its log lies beside the data."""
        log = self.directory / f"{argv[0]}-{len(self.processes)}.log"
        command = [sys.executable, "-m", "fieldline_server", *argv]
        with log.open("wb") as out:
            process = subprocess.Popen(command, env={**self.environment, **environment}, stdout=out, stderr=out)
        self.processes.append(process)
        return process

    def api_port(self, limit_s: float = 60.0) -> int:
        """The port that the API listens on, as soon as it does."""
        deadline = time.monotonic() + limit_s
        while not (file := self.directory / "data" / "api.port").exists():
            if time.monotonic() > deadline:
                raise SystemExit(f"the API does not listen: see {self.directory}")
            time.sleep(0.1)
        return int(file.read_text())

    def stop(self) -> None:
        """Stops what was started."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(60)
        self.processes.clear()

    def stages(self) -> dict[str, float]:
        """Seconds that the workers spent in each stage, by their logs."""
        spent: dict[str, float] = {}
        for log in self.directory.glob("worker-*.log"):
            for line in log.read_text().splitlines():
                event = json.loads(line) if line.startswith("{") else {}
                if "duration_ms" in event:
                    spent[event["stage"]] = spent.get(event["stage"], 0.0) + event["duration_ms"] / 1000
        return spent


def peak_rss_mb(root: int) -> int:
    """The largest peak RSS among a process and its descendants, in MB."""
    peaks = [0]
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            if _descends(pid, root):
                status = Path(f"/proc/{pid}/status").read_text()
                peaks += [int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM")]
        except OSError:
            continue
    return max(peaks)


def _descends(pid: int, root: int) -> bool:
    while pid > 1:
        if pid == root:
            return True
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return False


@contextmanager
def installation() -> Iterator[Installation]:
    """An installation in a folder of its own, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="fieldline-bench-") as folder:
        directory = Path(folder)
        directory.chmod(0o755)
        with Postgres(directory / "store") as store, Postgres(directory / "erp") as erp, Redis(directory / "redis") as redis:
            store.create_database("fieldline_bench")
            erp.create_database("erp")
            made = Installation(directory, store.database("fieldline_bench"), erp.database("erp"), redis)
            try:
                yield made
            finally:
                made.stop()
                made.engine.store.close()


def wait_for_run(made: Installation, run_id: int, limit_s: float = 900.0) -> dict[str, object]:
    """The run when it has ended."""
    from fieldline_core.pipeline.manage import list_runs

    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        row = list_runs(made.engine, id=run_id)[0]
        if row["state"] in ("succeeded", "failed", "cancelled"):
            return row
        time.sleep(0.1)
    raise SystemExit(f"run {run_id} did not end within {limit_s:g} s")


def execute(url: str, *statements: str) -> None:
    """Runs SQL in a database, each statement on its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())
