"""A flow that the relay cannot go on with pauses, with the reason, so that it keeps no other flow waiting."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from pydantic import ValidationError

from fieldline_core.errors import FieldlineError, Unavailable
from fieldline_core.events import record
from fieldline_core.findings import path_text
from fieldline_core.logs import log
from fieldline_core.pipeline.engine import Engine

_FIX = "apply the flow again, then resume it"


@contextmanager
def suspend_when_broken(engine: Engine, flow_id: int, what: str) -> Iterator[None]:
    """Pauses the flow where the block fails; what its own database or the time cures is raised."""
    try:
        yield
    except (Unavailable, psycopg.Error):
        raise
    except Exception as error:
        log().error("flow_suspended", flow=flow_id, exc_info=error)
        _pause(engine, flow_id, f"{what}: {_words(error)}")


def _pause(engine: Engine, flow_id: int, reason: str) -> None:
    with engine.store.transaction("suspend") as tx:
        flow = tx.one("relay.suspend", flow=flow_id, reason=reason)
        if flow is not None:
            record(tx, "flow.paused", "engine", {"flow": flow["name"], "reason": reason})


def _words(error: Exception) -> str:
    """What a person reads; the text of an unexpected exception may hold anything and stays out."""
    if isinstance(error, FieldlineError):
        return str(error)
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return f"its documents no longer fit each other ({path_text(first['loc'])}: {first['msg']}); {_FIX}"
    return f"an unexpected {type(error).__name__}, whose place is in the relay's log; {_FIX}"
