"""`fieldline doctor`: what may be wrong with an installation, each with its fix; it changes nothing."""

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import psycopg

from fieldline_core.errors import FieldlineError
from fieldline_core.pipeline.invariants import RULES, check_invariants
from fieldline_core.settings import Settings
from fieldline_core.store import Store, missing
from fieldline_server.run_file import NOTHING_RUNS, RunFile, found_settings
from fieldline_server.wiring import key_provider

State: TypeAlias = Literal["ok", "note", "problem"]
_OLDEST_DATABASE = 160_000
_LOG_LATE_S = 60
_WITNESS_LATE_S = 3600
_FEED_LATE_S = 300
_QUEUES = ("cpu", "write")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; a note is worth knowing, a problem has to be mended."""

    name: str
    state: State
    words: str

    def to_json(self) -> dict[str, str]:
        """The check as JSON."""
        return asdict(self)


def examine(settings: Settings) -> list[Check]:
    """All checks of this machine and, where Fieldline runs here, of its servers and its work."""
    found = [*_python(), *_onnxruntime()]
    try:
        settings = found_settings()
    except FieldlineError:
        return [*found, *_odbc(needed=False), Check("installation", "note", NOTHING_RUNS)]
    if not RunFile.of(settings).read():
        found.append(
            Check("installation", "note", f"no 'fieldline up' runs in {settings.data_directory}; its processes run elsewhere")
        )
    database = list(_database(settings))
    found += database
    if any(check.state == "problem" for check in database):
        return [*found, *_odbc(needed=False), *_broker(settings)]
    with closing(Store(settings.database_url.get_secret_value(), connections=1)) as store:
        needed = any(row["body"]["connector"] == "odbc" for row in _all(store, "flows.documents", kind="connection"))
        found += [*_odbc(needed=needed), *_wrapping_key(settings), *_broker(settings)]
        found += _witness_file(settings)
        for look in (_log, _witnesses, _workers, _invariants, _paused, _feeds, _targets, _dead_letters):
            found += look(store)
    return found


def _python() -> Iterator[Check]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    old = sys.version_info < (3, 11)
    yield Check("python", "problem" if old else "ok", f"{version}{': 3.11 or newer is needed' if old else ''}")


def _odbc(*, needed: bool) -> Iterator[Check]:
    from fieldline_connectors.odbc.errors import APT_LINE, odbc

    try:
        drivers = sorted(odbc().drivers())
    except FieldlineError as error:
        yield Check("odbc", "problem" if needed else "note", str(error))
        return
    if drivers:
        yield Check("odbc", "ok", f"drivers: {', '.join(drivers)}")
    else:
        yield Check("odbc", "problem" if needed else "note", f"the driver manager is here, but no driver: {APT_LINE}")


def _onnxruntime() -> Iterator[Check]:
    from fieldline_inference.runtime import check_runtime

    # After ours, which turns its reports to its maker off.
    import onnxruntime  # isort: skip

    problems = check_runtime()
    yield from (Check("onnxruntime", "problem", words) for words in problems)
    if not problems:
        yield Check("onnxruntime", "ok", f"{onnxruntime.__version__}, {', '.join(onnxruntime.get_available_providers())}")


def _database(settings: Settings) -> Iterator[Check]:
    url = settings.database_url.get_secret_value()
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            version = connection.info.server_version
        behind = missing(url)
    except psycopg.Error as error:
        yield Check(
            "database", "problem", f"it does not answer ({type(error).__name__}): is it up, and is FIELDLINE_DATABASE_URL right?"
        )
        return
    old = version < _OLDEST_DATABASE
    yield Check("database", "problem" if old else "ok", f"PostgreSQL {version // 10_000}{': 16 or newer is needed' if old else ''}")
    if behind:
        yield Check("migrations", "problem", f"{', '.join(behind)} was not applied: run 'fieldline migrate'")
    else:
        yield Check("migrations", "ok", "all applied")


def _log(store: Store) -> Iterator[Check]:
    waiting = _all(store, "log.waiting")[0]
    newest = _all(store, "log.newest")
    if waiting["oldest_s"] > _LOG_LATE_S:
        words = f"{waiting['n']:,} events have not been sealed for up to {waiting['oldest_s']:,.0f} s: is the relay running?"
        yield Check("log", "problem", words)
    else:
        yield Check("log", "ok", f"{newest[0]['size'] if newest else 0:,} entries sealed, {waiting['n']:,} waiting")


def _witness_file(settings: Settings) -> Iterator[Check]:
    from fieldline_server.witnesses import read_witnesses

    try:
        read_witnesses(settings)
    except FieldlineError as error:
        yield Check("witnesses", "problem", str(error))


def _witnesses(store: Store) -> Iterator[Check]:
    for witness in _all(store, "witness.listing"):
        name, late = witness["name"], witness["lag_s"] > _WITNESS_LATE_S
        has = f"{name} has the checkpoint of {witness['size']:,} entries" if witness["seen_at"] else f"{name} has none yet"
        if witness["forked"]:
            yield Check("witnesses", "problem", f"{witness['problem']}: stop, keep the database as it is, and find out why")
        elif late or witness["problem"]:
            why = witness["problem"] or "is the relay running?"
            words = f"{has}; there have been newer ones for {witness['lag_s']:,.0f} s: {why}"
            yield Check("witnesses", "problem" if late else "note", words)
        else:
            yield Check("witnesses", "ok", f"{has}, of {witness['seen_at']:%Y-%m-%d %H:%M} UTC")


def _wrapping_key(settings: Settings) -> Iterator[Check]:
    """The key is asked for, and never made here: a doctor that makes one would hide that the right one is lost."""
    kept = settings.key_file or settings.data_directory / "wrapping.key"
    if settings.key_provider == "file" and not kept.exists():
        yield Check("wrapping key", "problem", f"{kept} is not there: without it no stored record can be read; restore it")
        return
    try:
        key_provider(settings).key()
    except (FieldlineError, OSError) as error:
        yield Check("wrapping key", "problem", str(error))
        return
    yield Check("wrapping key", "ok", f"from {settings.key_provider}; keep a copy apart from the database's backup")


def _broker(settings: Settings) -> Iterator[Check]:
    url = settings.broker_url.get_secret_value()
    if not url:
        yield Check("broker", "problem", "none is set: give FIELDLINE_BROKER_URL")
    elif url.startswith(("redis://", "rediss://")):
        yield from _redis(url)
    else:
        yield from _other_broker(url)


def _redis(url: str) -> Iterator[Check]:
    import redis
    from redis.exceptions import RedisError, ResponseError

    with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=3) as client:
        try:
            answer: Any = client.ping() and client.config_get("maxmemory-policy")
            policy = answer.get("maxmemory-policy", "")
        except ResponseError:
            policy = ""
        except RedisError as error:
            yield Check(
                "broker", "problem", f"Redis does not answer ({type(error).__name__}): work waits until the relay finds it again"
            )
            return
    if policy not in ("", "noeviction"):
        yield Check(
            "broker", "problem", f"Redis evicts keys ({policy}): set maxmemory-policy noeviction, or hints are lost silently"
        )
    else:
        yield Check("broker", "ok", f"Redis answers{', ' + policy if policy else '; its eviction policy may not be asked for'}")


def _other_broker(url: str) -> Iterator[Check]:
    from kombu import Connection

    try:
        with Connection(url, connect_timeout=3) as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
            kind = connection.transport.driver_type
    except Exception as error:
        # kombu raises the errors of whichever library the URL names.
        yield Check(
            "broker", "problem", f"it does not answer ({type(error).__name__}): is it up, and is FIELDLINE_BROKER_URL right?"
        )
        return
    yield Check("broker", "ok", f"{kind} answers")


def _workers(store: Store) -> Iterator[Check]:
    slots = {row["queue"]: row["slots"] for row in _all(store, "relay.slots")}
    for queue in _QUEUES:
        if queue not in slots:
            yield Check("workers", "problem", f"none works on the queue {queue}: start 'fieldline worker --queues {queue}'")
    if slots:
        yield Check("workers", "ok", ", ".join(f"{queue}: {count} slots" for queue, count in sorted(slots.items())))


def _invariants(store: Store) -> Iterator[Check]:
    violations = check_invariants(store)
    for violation in violations:
        yield Check(
            "invariants", "problem", f"{RULES[violation.rule]} This does not hold {violation.count} times ({violation.rule})."
        )
    if not violations:
        yield Check("invariants", "ok", f"all {len(RULES)} hold")


def _paused(store: Store) -> Iterator[Check]:
    for flow in _all(store, "flows.listing"):
        if flow["paused_at"]:
            # What a person has stopped is meant; what stopped itself waits for one.
            state: State = "problem" if flow["paused_by"] == "engine" else "note"
            words = (
                f"{flow['name']} is paused by {flow['paused_by']}: {flow['paused_reason']}; 'fieldline flows resume {flow['name']}'"
            )
            yield Check("flows", state, words)
    for tenant in _all(store, "flows.writes_paused"):
        if tenant["paused_at"]:
            yield Check(
                "flows",
                "note",
                f"all write-backs are paused by {tenant['paused_by']}: {tenant['reason']}; 'fieldline writes resume'",
            )


def _feeds(store: Store) -> Iterator[Check]:
    for feed in _all(store, "feeds.failing"):
        late = feed["seconds"] > _FEED_LATE_S
        words = f"{feed['flow']} cannot listen to changes for {feed['seconds']:,.0f} s: {feed['last_error']}"
        yield Check("feeds", "problem" if late else "note", words)


def _targets(store: Store) -> Iterator[Check]:
    for target in _all(store, "flows.targets"):
        if target["breaker"] != "closed":
            name = target["name"]
            yield Check(
                "targets",
                "problem",
                f"{name} takes no writes: {target['reason']}; mend that, then 'fieldline targets retry {name}'",
            )


def _dead_letters(store: Store) -> Iterator[Check]:
    for flow in _all(store, "flows.listing"):
        if flow["dead_letters"]:
            words = f"{flow['dead_letters']} rows of {flow['name']} are set aside: see 'fieldline dead-letters causes'"
            yield Check("dead letters", "note", words)


def _all(store: Store, query: str, **values: Any) -> list[dict[str, Any]]:
    with store.transaction("doctor") as tx:
        return tx.all(query, **values)
