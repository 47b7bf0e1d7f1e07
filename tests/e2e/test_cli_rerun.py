"""Past decisions made again by the real command line."""

from collections.abc import Iterator
from dataclasses import replace

import polars as pl
import pytest
from tests import models
from tests.api import settings_for
from tests.command import Command

from fieldline_core.evidence import seal, unseal
from fieldline_server.embedded import Postgres
from fieldline_server.wiring import open_engine

STORE = "store_of_the_reruns"
DOCUMENTS = """
connection: crm
connector: memory
settings: {store: crm}
---
mapping: leads
record: {size: number, age: number}
features: [{field: size}, {field: age}]
fields: [{name: points, formula: score}]
---
flow: leads
source: {connection: crm, query: {table: lead}}
mapping: leads
models: [linear]
"""


@pytest.fixture(scope="module")
def command(postgres: Postgres, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """The command line on a store of its own, where two records were decided on."""
    folder = tmp_path_factory.mktemp("reruns")
    command = Command(folder, {"FIELDLINE_DATABASE_URL": postgres.create_database(STORE, template=migrated_template)})
    models.save(models.linear((2.0, -1.0)), folder / "linear.onnx")
    (folder / "leads.yaml").write_text(DOCUMENTS)
    for arguments in (("models", "import", "linear.onnx"), ("apply", "leads.yaml")):
        done = command(*arguments)
        assert done.returncode == 0, done.stderr
    given = '{"id": "ada", "size": 3, "age": 1}\n{"id": "bob", "size": 0.1, "age": 2}\n'
    assert command("score", "leads", "--file", "-", given=given).returncode == 0
    yield command
    postgres.drop_database(STORE)


def change_a_feature(command: Command) -> None:
    """Changes a feature of `bob` in the evidence, as one can who holds the database and the keys."""
    engine = open_engine(settings_for(command.env["FIELDLINE_DATABASE_URL"], command.folder / "data"), "test")
    with engine.store.transaction("fraud") as tx:
        (row,) = tx.connection.execute(
            b"SELECT e.id, e.kind, e.body, k.wrapped FROM evidence e JOIN batch_key k ON k.evidence_id = e.id"
        ).fetchall()
        envelope = unseal(engine.keyring, row)
        feature = pl.when(pl.col("key") == "bob").then(0.2).otherwise(pl.col("feature.size")).alias("feature.size")
        sealed = seal(engine.keyring, "decisions", replace(envelope, frame=envelope.frame.with_columns(feature)))
        tx.connection.execute(b"UPDATE evidence SET body = %s WHERE id = %s", (sealed.body, row["id"]))
        tx.connection.execute(b"UPDATE batch_key SET wrapped = %s WHERE evidence_id = %s", (sealed.key, row["id"]))
    engine.store.close()


def test_decisions_that_come_out_equal_are_told_until_one_does_not(command: Command) -> None:
    equal = command("rerun", "--flow", "leads", "--last", "10")
    assert (equal.returncode, equal.stdout) == (0, "2 decisions made again: 2 equal, 0 different\n")
    assert command.json("rerun", "--key", "ada")["decisions"][0]["equal"] is True

    change_a_feature(command)

    changed = command("rerun", "--key", "bob")
    assert changed.returncode == 1
    assert changed.stdout.split("\n")[1].split()[4:] == ["features", "size", "0.2", "0.1"]
    assert command.json("rerun", "--flow", "leads", status=1)["different"] == 1
    assert command("rerun", "--key", "ada").returncode == 0
    assert len(command.json("audit", "list", "action:decision.rerun")["items"]) == 5


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], 2, "either --key or --flow"),
        (["--key", "ada", "--flow", "leads"], 2, "either --key or --flow"),
        (["--flow", "nobody"], 2, "there is no flow 'nobody'"),
        (["--key", "nobody"], 0, ""),
    ],
)
def test_what_to_make_again_is_a_record_or_a_flow(command: Command, arguments: list[str], status: int, words: str) -> None:
    done = command("rerun", *arguments)
    assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr
    assert words in done.stderr
