"""What commands work with: the engine of the installation that was found, and who is acting."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fieldline_core.pipeline.engine import Engine
    from fieldline_core.settings import Settings
    from fieldline_inference.registry import Registry

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Most entries to show.")]
Why = Annotated[str, typer.Option("--why", help="The reason, kept in the audit trail.")]


def actor() -> str:
    """Who acts, as the audit trail names them."""
    try:
        return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"cli:{os.getuid()}"


@contextmanager
def engine(settings: "Settings | None" = None) -> Iterator["Engine"]:
    """The engine of the installation that runs here; raises one of the three errors where there is none that can be used."""
    from fieldline_server.run_file import found_settings

    settings = settings or found_settings()
    check_migrated(settings)
    # Last, for it imports everything: what is wrong is said at once.
    from fieldline_server.wiring import open_engine

    opened = open_engine(settings, connections=2)
    try:
        yield opened
    finally:
        opened.close()


def registry(engine: "Engine") -> "Registry":
    """The models of an engine."""
    from fieldline_inference.registry import Registry

    return Registry(engine.store)


def check_migrated(settings: "Settings") -> None:
    """Returns where the database answers and has had every migration."""
    import psycopg

    from fieldline_core.errors import Misconfigured, Unavailable
    from fieldline_core.store import missing

    try:
        behind = missing(settings.database_url.get_secret_value())
    except psycopg.OperationalError as error:
        raise Unavailable(f"Fieldline's database does not answer ({type(error).__name__}): see 'fieldline doctor'") from None
    except psycopg.ProgrammingError:
        raise Misconfigured(
            "the database's address cannot be read: FIELDLINE_DATABASE_URL is postgresql://user@host/name"
        ) from None
    if behind:
        raise Misconfigured(f"the database lacks the migration {behind[0]}: run 'fieldline migrate'")
