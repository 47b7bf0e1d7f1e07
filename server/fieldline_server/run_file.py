"""How a command finds the installation that it works on: by its settings, else by what `fieldline up` noted beside its data."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr, ValidationError

from fieldline_core.errors import Misconfigured
from fieldline_core.settings import Settings
from fieldline_server import watchdog

PORT_FILE = "api.port"
"""In the data directory, the port that the API listens on, while it does."""
NOTHING_RUNS = "nothing runs here: start it with 'fieldline up', or set FIELDLINE_DATABASE_URL"


@dataclass(frozen=True, slots=True)
class RunFile:
    """`run.json` in the data directory: where the servers and the API of a running installation are."""

    path: Path

    @classmethod
    def of(cls, settings: Settings) -> "RunFile":
        """The run file of an installation."""
        return cls(settings.data_directory / "run.json")

    def write(self, settings: Settings, api_url: str) -> None:
        """Notes what runs, for this user only, and the process that it ends with."""
        born = process.born if (process := watchdog.process(os.getpid())) else 0
        noted = {"pid": os.getpid(), "born": born, "api_url": api_url, "database_url": settings.database_url.get_secret_value(),
                 "broker_url": settings.broker_url.get_secret_value()}  # fmt: skip
        draft = self.path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(noted))
        draft.replace(self.path)

    def read(self) -> dict[str, Any]:
        """What was noted; nothing where the process that noted it is gone, however it ended."""
        try:
            noted: dict[str, Any] = json.loads(self.path.read_text())
            found = watchdog.process(noted["pid"])
            return noted if found and found.born == noted["born"] else {}
        except (OSError, ValueError, KeyError):
            return {}

    def remove(self) -> None:
        """Forgets what ran."""
        self.path.unlink(missing_ok=True)


def load_settings() -> Settings:
    """The settings of this process; raises Misconfigured, naming the setting, where one cannot be used."""
    try:
        return Settings()
    except ValidationError as refused:
        error = refused.errors(include_input=False, include_url=False)[0]
        name = ".".join(str(part) for part in error["loc"])
        raise Misconfigured(f"the setting {name} (FIELDLINE_{name.upper()}) cannot be used: {error['msg']}") from None
    except yaml.YAMLError:
        raise Misconfigured(
            f"{Path.cwd() / 'fieldline.yaml'} is read as the settings of Fieldline and is not one YAML document of settings: "
            "give a file of flows another name, or work from another folder"
        ) from None


def found_settings() -> Settings:
    """The settings, with the addresses of what runs here where they do not say them; raises Misconfigured where nothing does."""
    settings = load_settings()
    noted = RunFile.of(settings).read()
    urls: dict[str, Any] = {
        name: SecretStr(noted[name]) for name in ("database_url", "broker_url") if name in noted and not getattr(settings, name)
    }
    if not settings.database_url and "database_url" not in urls:
        raise Misconfigured(NOTHING_RUNS)
    return settings.model_copy(update=urls)
