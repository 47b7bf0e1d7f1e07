"""Structured logs that let only known keys through, so that a record's values never reach one."""

import logging
import sys
import time
import traceback
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

KEYS = frozenset({
    "actor", "applied", "attempt", "chunk", "code", "connection", "connector", "count", "digest", "due_s", "duration_ms",
    "effect", "error", "event", "exit_code", "fence", "flow", "held", "kind", "lease_s", "level", "location", "method",
    "model", "name", "path", "pid", "port", "queue", "queues", "reason", "release", "route", "rows", "rows_per_s", "run",
    "signal", "site", "slots", "stage", "state", "status", "target", "timestamp", "url", "version", "wait_s", "worker",
    "write",
})  # fmt: skip


def configure_logs(level: str = "info") -> None:
    """Sets up JSON lines on standard error for this process, also for libraries that use `logging`."""
    shared: list[Processor] = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)]
    structlog.configure(
        processors=[*shared, _describe_exception, _only_known_keys, structlog.processors.JSONRenderer(sort_keys=True)],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=_StandardError,
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Bridge()], force=True)


def log(name: str = "fieldline") -> Any:
    """A logger; `log().info("chunk_scored", chunk=7, rows=10000)`."""
    return structlog.get_logger(name=name)


def milliseconds_since(began: float) -> float:
    """Milliseconds since a reading of `time.perf_counter`, as logs give them."""
    return round((time.perf_counter() - began) * 1000, 1)


def _only_known_keys(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    return {key: value for key, value in event.items() if key in KEYS}


def _describe_exception(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Type, code and place of an exception; its arguments and locals may hold a record and stay out."""
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        event["error"] = type(error).__name__
        event["code"] = getattr(error, "code", None) or getattr(error, "sqlstate", None)
        event["location"] = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-3:]]
    return event


class _StandardError:
    """Writes to what standard error is at that moment."""

    def __init__(self, *_: Any) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = self.log = self.msg

    def msg(self, message: str) -> None:
        # One write for each line: processes that share a log do not cut into each other's.
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()


class _Bridge(logging.Handler):
    """Passes on what libraries log, without their arguments."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        place = f"{record.module}:{record.lineno}"
        log().log(record.levelno, "library", name=record.name, location=place, exc_info=error)
