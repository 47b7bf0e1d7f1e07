"""Commands that run Fieldline's processes: up, api, relay, worker, migrate."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from fieldline_server.cli.app import app
from fieldline_server.cli.session import AsJson, check_migrated
from fieldline_server.cli.show import note, show_done

if TYPE_CHECKING:
    from fieldline_core.settings import Settings

Slots = Annotated[int, typer.Option("--concurrency", "-c", min=1, max=256, help="Chunks and slices worked on at the same time.")]


@app.command()
def up(
    workers: Annotated[int, typer.Option("--workers", min=1, max=256, help="Worker processes.")] = 2,
) -> None:
    """Starts everything here: embedded PostgreSQL and Redis unless their URLs are set, API, relay and workers; ends with Ctrl-C."""
    from fieldline_server.run_file import load_settings
    from fieldline_server.up import installation

    settings = load_settings()
    _log(settings)
    with installation(settings, workers=workers) as running:
        typer.echo(f"API      {running.api_url}")
        typer.echo(f"logs     {running.settings.data_directory / 'logs'}")
        if running.admin_key:
            typer.echo(f"key      {running.admin_key}")
            note("this is the first administrator's key; it is not shown again")
        note("Fieldline is up; Ctrl-C ends it")
        running.wait()


@app.command()
def api() -> None:
    """Runs the API."""
    settings = _found()
    from fieldline_server.api import serve

    serve(settings)


@app.command()
def relay() -> None:
    """Runs the relay, which announces due work; of several only one is active."""
    settings = _found(broker=True)
    from fieldline_server.relay import run_relay

    run_relay(settings)


@app.command()
def worker(
    queues: Annotated[str, typer.Option("--queues", "-q", help="What it works on: cpu, gpu, write.")] = "cpu,write",
    slots: Slots = 2,
) -> None:
    """Runs a worker, and replaces its Celery process when that dies or goes deaf."""
    chosen = tuple(name.strip() for name in queues.split(",") if name.strip())
    if not chosen or set(chosen) - {"cpu", "gpu", "write"}:
        raise typer.BadParameter("--queues takes cpu, gpu and write, with commas between them")
    settings = _found(broker=True)
    from fieldline_server.worker import Worker

    Worker(settings, chosen, slots).run()


@app.command("migrate")
def migrate_store(as_json: AsJson = False) -> None:
    """Brings the database to this version; the earlier version may still run meanwhile."""
    import psycopg

    from fieldline_core.errors import Unavailable
    from fieldline_core.store import migrate
    from fieldline_server.run_file import found_settings

    try:
        applied = migrate(found_settings().database_url.get_secret_value())
    except psycopg.OperationalError as error:
        raise Unavailable(f"Fieldline's database does not answer ({type(error).__name__})") from None
    show_done({"applied": applied}, "\n".join(f"applied {name}" for name in applied) or "nothing to do", as_json=as_json)


def _found(*, broker: bool = False) -> "Settings":
    """The settings for a process, also in the environment of what it starts; raises where it could not work with them."""
    from fieldline_core.errors import Misconfigured
    from fieldline_server.run_file import found_settings

    settings = found_settings()
    if broker and not settings.broker_url:
        raise Misconfigured("no broker is set: give FIELDLINE_BROKER_URL, or use 'fieldline up', which starts one")
    check_migrated(settings)
    os.environ["FIELDLINE_DATABASE_URL"] = settings.database_url.get_secret_value()
    os.environ["FIELDLINE_BROKER_URL"] = settings.broker_url.get_secret_value()
    _log(settings)
    return settings


def _log(settings: "Settings") -> None:
    from fieldline_core.logs import configure_logs

    configure_logs(settings.log_level)
