"""The log over the API: read as other tools read it, and exported with its proofs for one record."""

import zipfile
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from tests.api import Served, problem

import fieldline_verify
from fieldline_core.ledger import VerifierKey, open_checkpoint
from fieldline_core.pipeline.sequence import seal_all


@pytest.fixture
def vkey(api: Served, client: httpx.Client) -> str:
    """The public key of the log."""
    return str(client.get("/v1/log/key", headers=api.key("audit")).json()["vkey"])


def test_the_decisions_on_a_record_are_exported_for_the_verifier(
    api: Served, client: httpx.Client, vkey: str, tmp_path: Path
) -> None:
    body = {"records": [{"key": "seen", "record": {"a": 3, "b": 1}}]}
    assert client.post("/v1/flows/triage/score", json=body, headers=api.key("score")).status_code == 200

    answer = client.get("/v1/evidence", params={"key": "seen"}, headers=api.key("audit"))

    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(BytesIO(answer.content)) as bundle:
        assert b"seen" in bundle.read("index.html")
    (tmp_path / "evidence.zip").write_bytes(answer.content)
    assert fieldline_verify.main([str(tmp_path / "evidence.zip"), "--key", vkey]) == 0
    (event,) = api.events("evidence.exported")
    assert "seen" not in str(event["detail"])
    assert event["position"] is not None


def test_nothing_is_exported_of_a_record_that_was_not_decided_on(api: Served, client: httpx.Client) -> None:
    answer = client.get("/v1/evidence", params={"key": "no"}, headers=api.key("audit"))
    assert "nothing was decided" in problem(answer, 409, "misconfigured")["detail"]


def test_tools_read_the_checkpoint_and_the_tiles(api: Served, client: httpx.Client, vkey: str) -> None:
    headers = api.key("audit")
    seal_all(api.engine)

    checkpoint = client.get("/v1/log/checkpoint", headers=headers)
    size = open_checkpoint(checkpoint.content, VerifierKey.parse(vkey)).checkpoint.size

    hashes = client.get(f"/v1/log/tile/0/000.p/{size}", headers=headers)
    entries = client.get(f"/v1/log/tile/entries/000.p/{size}", headers=headers)
    assert len(hashes.content) == 32 * size
    assert b"config.published" in entries.content


def test_a_checkpoint_that_no_witness_has_cosigned_is_not_shown_as_witnessed(api: Served, client: httpx.Client) -> None:
    seal_all(api.engine)
    answer = client.get("/v1/log/checkpoint", params={"witnessed": True}, headers=api.key("audit"))
    assert "no witness" in problem(answer, 404, "not_found")["detail"]
    with api.engine.store.transaction("cosigned") as tx:
        newest = tx.one("log.newest")
        assert newest is not None
        tx.run("witness.cosigned", name="w1", size=newest["size"], lines="\N{EM DASH} w1 AAAAAAAA\n")
    answer = client.get("/v1/log/checkpoint", params={"witnessed": True}, headers=api.key("audit"))
    assert answer.content == bytes(newest["note"]) + "\N{EM DASH} w1 AAAAAAAA\n".encode()


@pytest.mark.parametrize("path", ["0/001", "0/000.p/0", "9", "entries/x", "0/000.p/250", "../key"])
def test_what_is_no_tile_of_the_log_is_not_found(path: str, api: Served, client: httpx.Client) -> None:
    seal_all(api.engine)
    assert client.get(f"/v1/log/tile/{path}", headers=api.key("audit")).status_code in (404, 200 if path == "../key" else 404)
