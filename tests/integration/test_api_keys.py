"""API keys on a real PostgreSQL: shown once, found by keyed hash, ended at once."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.api import settings_for

from fieldline_core.errors import Rejected
from fieldline_core.pipeline.engine import Engine
from fieldline_server import keys
from fieldline_server.keys import ApiKeys, Caller, NotRecognised, Scope, ensure_admin_key, list_keys, make_key, revoke_key
from fieldline_server.wiring import open_engine


@pytest.fixture
def engine(database_url: str, tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(settings_for(database_url, tmp_path), "test")
    yield engine
    engine.store.close()


def run(engine: Engine, sql: str) -> None:
    with engine.store.transaction("test") as tx:
        tx.connection.execute(sql.encode())


def test_a_key_is_recognised_with_just_its_scopes(engine: Engine) -> None:
    text, row = make_key(engine, "reports", ["read"], "ada")
    assert ApiKeys(engine).recognise(text) == Caller(row["id"], frozenset({"read"}))


def test_the_secret_is_kept_nowhere(engine: Engine) -> None:
    text, _ = make_key(engine, "reports", ["read"], "ada")
    secret = text.split("_")[2]
    with engine.store.transaction("test") as tx:
        kept = tx.connection.execute(b"SELECT k::text FROM api_key k UNION ALL SELECT a::text FROM audit_outbox a").fetchall()
    assert len(kept) == 2
    assert secret not in str(kept)
    assert secret[:20] not in str(list_keys(engine))


@pytest.mark.parametrize("text", ["", "fl_", "fl_a_b", "é" * 80, "a" * 80, "fl_" + "a" * 77, "x" * 1_000_000], ids=range(7))
def test_a_text_that_is_no_key_is_refused_before_the_database_is_asked(engine: Engine, text: str) -> None:
    engine.store.close()
    with pytest.raises(NotRecognised):
        ApiKeys(engine).recognise(text)


def test_a_mistyped_key_is_refused_before_the_database_is_asked(engine: Engine) -> None:
    text, _ = make_key(engine, "reports", ["read"], "ada")
    engine.store.close()
    for place in range(len(text)):
        mistyped = text[:place] + ("a" if text[place] != "a" else "b") + text[place + 1 :]
        with pytest.raises(NotRecognised):
            ApiKeys(engine).recognise(mistyped)


def test_another_secret_under_a_known_id_is_refused(engine: Engine) -> None:
    _, row = make_key(engine, "reports", ["read"], "ada")
    forged = keys._written(row["id"], bytes(32))
    with pytest.raises(NotRecognised):
        ApiKeys(engine).recognise(forged)


def test_a_revoked_key_and_an_expired_one_are_refused(engine: Engine) -> None:
    revoked, row = make_key(engine, "one", ["read"], "ada")
    expired, _ = make_key(engine, "two", ["read"], "ada", days=1)
    assert ApiKeys(engine).recognise(expired)
    assert revoke_key(engine, row["id"], "ada")
    assert not revoke_key(engine, row["id"], "ada")
    run(engine, "UPDATE api_key SET expires_at = now() WHERE label = 'two'")
    for text in (revoked, expired):
        with pytest.raises(NotRecognised):
            ApiKeys(engine).recognise(text)


def test_use_is_noted_at_most_once_a_minute(engine: Engine) -> None:
    text, _ = make_key(engine, "reports", ["read"], "ada")
    ApiKeys(engine).recognise(text)
    first = list_keys(engine)[0]["last_used_at"]
    ApiKeys(engine).recognise(text)
    assert list_keys(engine)[0]["last_used_at"] == first
    run(engine, "UPDATE api_key SET last_used_at = now() - interval '61 seconds'")
    ApiKeys(engine).recognise(text)
    assert list_keys(engine)[0]["last_used_at"] > first


def test_a_key_that_was_just_recognised_is_known_without_the_database(engine: Engine) -> None:
    text, _ = make_key(engine, "reports", ["read"], "ada")
    known = ApiKeys(engine)
    assert known.seen(text) is None
    caller = known.recognise(text)
    engine.store.close()
    assert known.seen(text) == caller


@pytest.mark.parametrize("scopes", [[], ["read", "everything"]])
def test_a_key_has_known_scopes_and_at_least_one(engine: Engine, scopes: list[str]) -> None:
    with pytest.raises(Rejected, match="at least one of the scopes"):
        make_key(engine, "reports", scopes, "ada")


def test_two_first_starts_make_one_administrator(engine: Engine) -> None:
    made: list[str | None] = []
    starts = [threading.Thread(target=lambda: made.append(ensure_admin_key(engine))) for _ in range(2)]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    (text,) = filter(None, made)
    assert ApiKeys(engine).recognise(text).scopes == set(Scope)
    assert ensure_admin_key(engine) is None
