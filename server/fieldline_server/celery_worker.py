"""The Celery worker's module: `celery -A fieldline_server.celery_worker worker`; everything heavy is imported after the fork."""

import os
import sys
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from celery.signals import worker_process_init

from fieldline_core.logs import configure_logs
from fieldline_core.settings import Settings
from fieldline_server.broker import TASKS, make_app

if TYPE_CHECKING:
    from fieldline_core.pipeline.engine import Engine

settings = Settings()
configure_logs(settings.log_level)
app = make_app(settings.broker_url.get_secret_value())


@worker_process_init.connect
def begin(**_: Any) -> None:
    """A child imports what every task needs before the first one comes; where its parent had used Polars, it would hang on each."""
    if heavy := {"polars", "onnxruntime"} & set(sys.modules):
        raise RuntimeError(f"{', '.join(sorted(heavy))} was imported before the worker forked")
    import_module("fieldline_server.wiring")


@cache
def engine() -> "Engine":
    """The engine of this process, made at its first task."""
    from fieldline_server.wiring import open_engine

    return open_engine(settings, os.environ.get("FIELDLINE_WORKER", ""), connections=3)


@app.task(name=TASKS["read"])
def read(run_id: int) -> None:
    """Reads a run on."""
    from fieldline_core.pipeline.read import read

    read(engine(), run_id)


@app.task(name=TASKS["score"])
def score(chunk_id: int) -> None:
    """Scores a chunk."""
    from fieldline_core.pipeline.score import score

    score(engine(), chunk_id)


@app.task(name=TASKS["write"])
def write(effect_id: int) -> None:
    """Writes a slice."""
    from fieldline_core.pipeline.write import write

    write(engine(), effect_id)
