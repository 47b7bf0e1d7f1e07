"""An engine with published flows and the API over it, for tests of the API."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr

from fieldline_core.pipeline.engine import Engine
from fieldline_core.search import search_events
from fieldline_core.settings import Settings
from fieldline_core.store import Row
from fieldline_inference.registry import Registry
from fieldline_server.api import create_app, serving
from fieldline_server.apply import apply
from fieldline_server.embedded import Postgres
from fieldline_server.keys import Scope, make_key
from fieldline_server.wiring import Wiring, open_engine
from fieldline_simulators import webhook_signing
from tests import models

_numbers = count(1)
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
DOCUMENTS = """
connection: senders
connector: webhook
settings:
  inbound: {{scheme: standard, secrets: [{{secret: "file:{secret}"}}]}}
---
connection: desk
connector: memory
settings: {{store: "{store}"}}
---
mapping: triage
features: [{{field: a}}, {{field: b}}]
fields: [{{name: points, formula: score}}]
---
flow: triage
trigger: {{webhook: senders, key: id}}
mapping: triage
models: [triage]
writes: [{{name: answer, connection: desk, target: {{table: answers, fields: {{points: points}}}}}}]
---
flow: nightly
source: {{connection: desk, query: {{table: records}}}}
mapping: triage
models: [triage]
"""


@dataclass(frozen=True)
class Served:
    """An engine with two published flows, `triage` (by webhook) and `nightly` (by hand), and its application."""

    engine: Engine
    app: FastAPI

    def key(self, *scopes: str) -> dict[str, str]:
        """The headers of a new key with these scopes (all of them without any)."""
        text, _ = make_key(self.engine, "test", scopes or list(Scope), "test")
        return {"authorization": f"Bearer {text}"}

    def events(self, event: str | None = None) -> list[Row]:
        """Audit events, newest first."""
        return list(search_events(self.engine, f"action:{event}" if event else "", 500).items)


def settings_for(database_url: str, folder: Path, **more: Any) -> Settings:
    """Settings of one process on that database."""
    return Settings(database_url=SecretStr(database_url), data_directory=folder, api_port=0, **more)


@dataclass(frozen=True)
class Template:
    """A database in which two flows are published, to be copied for each test, and the files that it needs."""

    postgres: Postgres
    name: str
    folder: Path

    @contextmanager
    def copy(self) -> Iterator[str]:
        """The URL of a database of its own."""
        name = f"{self.name}_{next(_numbers)}"
        yield self.postgres.create_database(name, template=self.name)
        self.postgres.drop_database(name)

    @property
    def key_file(self) -> Path:
        """The wrapping key of every copy."""
        return self.folder / "wrapping.key"


def make_template(postgres: Postgres, migrated: str, folder: Path) -> Template:
    """A template from a migrated one; the model is inspected this once."""
    template = Template(postgres, f"api_{next(_numbers)}", folder)
    engine = open_engine(settings_for(postgres.create_database(template.name, template=migrated), folder), "test")
    assert isinstance(engine.parts, Wiring)
    publish(engine, engine.parts.registry, folder)
    engine.store.close()
    return template


@contextmanager
def served(template: Template, folder: Path, **more: Any) -> Iterator[Served]:
    """An engine on a copy of the template and its application, in this process."""
    with template.copy() as database_url:
        settings = settings_for(database_url, folder, key_file=template.key_file, **more)
        engine = open_engine(settings, "test", connections=16)
        assert isinstance(engine.parts, Wiring)
        yield Served(engine, create_app(engine, engine.parts.registry))
        engine.store.close()


def publish(engine: Engine, registry: Registry, folder: Path) -> None:
    """A model, two connections, a mapping and two flows."""
    registry.import_model(models.save(models.linear((2.0, -1.0)), folder / "triage.onnx"), "triage", "test")
    secret = folder / "webhook.secret"
    secret.write_text(SECRET)
    done = apply(engine, registry, {"test.yaml": DOCUMENTS.format(secret=secret, store=folder.name)}, "test")
    assert not done.findings, done.findings


@contextmanager
def client_of(served: Served) -> Iterator[httpx.Client]:
    """A client of the application, which is served by uvicorn on a free port of the loopback as `fieldline api` serves it."""
    with serving.listening("127.0.0.1", 0) as listener:
        server = uvicorn.Server(serving.config(served.app))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30, trust_env=False) as client:
            yield client
        server.should_exit = True
        thread.join()


def signed(message_id: str, record: Any, secret: str = SECRET, at_s: float | None = None) -> dict[str, Any]:
    """What to post: the body of a record and the headers that sign it."""
    body = record if isinstance(record, bytes) else json.dumps(record).encode()
    headers = webhook_signing.standard(secret, message_id, int(time.time() if at_s is None else at_s), body)
    return {"content": body, "headers": headers}


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem that a response is; fails where it is another one."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), response.text
    said: dict[str, Any] = response.json()
    assert (said["status"], said["code"], said["type"]) == (status, code, f"urn:fieldline:problem:{code}")
    return said
