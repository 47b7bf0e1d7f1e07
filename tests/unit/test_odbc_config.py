"""What an administrator may write about a database, and what is refused before anything connects."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fieldline_connectors.odbc import Odbc, OdbcConfig, OdbcQuery, OdbcTarget
from fieldline_connectors.odbc.connections import Connections, connection_text
from fieldline_core.secret import Secret


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dsn": "erp", "connection_string": "Driver=x"},
        {"connection_string": "Driver=x;PWD=hunter2"},
        {"connection_string": "Driver=x; password = hunter2"},
        {"dsn": "erp;PWD=hunter2"},
        {"dsn": "erp", "password": "hunter2"},
        {"dsn": "erp", "timezone": "Mars/Base"},
        {"dsn": "erp", "timezone": "UTC'; DROP"},
        {"dsn": "erp", "ledger_table": "a.b.c.d"},
        {"dsn": "erp", "unknown": 1},
        {"dsn": "erp", "host": "hana.example"},
        {"dsn": "erp", "encrypt": False},
        {"preset": "sap-hana"},
        {"preset": "sap-hana", "host": "h", "dsn": "erp"},
        {"preset": "sap-hana", "host": "h", "dialect": "oracle"},
        {"preset": "sap-hana", "host": "h;PWD=x"},
        {"preset": "sap-hana", "host": "h", "driver": "x;ENCRYPT=FALSE"},
        {"preset": "sap-hana", "host": "h", "trust_store": "/a;b"},
        {"preset": "sap-hana", "host": "h", "database": "A;B"},
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OdbcConfig(**settings)


def test_the_password_is_never_shown() -> None:
    config = OdbcConfig(dsn="erp", password=Secret("hunter2"))
    assert "hunter2" not in f"{config!r} {config.model_dump_json()} {vars(Odbc(config))}"


def test_signs_in_a_password_do_not_end_it() -> None:
    config = OdbcConfig(dsn="erp", user="ann", password=Secret("a;b}c=d"))
    assert connection_text(config, {"OPTION": "2"}) == "DSN=erp;OPTION=2;UID=ann;PWD={a;b}}c=d}"


def test_sap_hana_is_reached_encrypted_with_a_certificate_that_is_checked() -> None:
    config = OdbcConfig(preset="sap-hana", host="hana.example", user="FL", password=Secret("a;b"))
    assert connection_text(config, {}) == (
        "Driver=/usr/sap/hdbclient/libodbcHDB.so;ServerNode=hana.example:30015;RECONNECT=FALSE;"
        "ENCRYPT=TRUE;sslValidateCertificate=TRUE;UID=FL;PWD={a;b}"
    )
    assert Connections(config).dialect.name == "hana"
    tenant = OdbcConfig(preset="sap-hana", host="h", port=30013, database="HXE", driver="HDBODBC", trust_store=Path("/ca.pem"))
    assert tenant.address.endswith(";DATABASENAME=HXE;ENCRYPT=TRUE;sslValidateCertificate=TRUE;sslTrustStore=/ca.pem")
    assert OdbcConfig(preset="sap-hana", host="h", encrypt=False).address.endswith(";ENCRYPT=FALSE")


def test_one_column_is_a_key() -> None:
    assert OdbcQuery(table="t", key="id").key == ("id",)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "query", [{}, {"table": "t", "sql": "SELECT 1"}, {"table": "t\x00x"}, {"table": "t" * 200}, {"table": ""}, {"table": "a..b"}]
)
def test_a_query_reads_one_named_thing(query: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OdbcQuery(key=("id",), **query)


@pytest.mark.parametrize(
    "target",
    [
        {"fields": {}},
        {"fields": {"id": "x"}},
        {"fields": {"score": "s"}, "written_at": "at"},
        {"fields": {"score": "s"}, "operation": "insert", "effect_key": "score"},
        {"fields": {"score": "s"}, "operation": "delete"},
    ],
)
def test_a_target_writes_each_column_once(target: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OdbcTarget(table="t", key=("id",), **target)
