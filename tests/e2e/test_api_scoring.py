"""Records scored while the caller waits: joined with what waits already, each key decided once a batch."""

import threading
from typing import Any

import httpx
import pytest
from tests.api import Served, Template, problem

from fieldline_core.errors import Misconfigured, Unavailable
from fieldline_core.flow import Flow
from fieldline_core.pipeline.manage import current_release
from fieldline_inference.registry import ModelVersion
from fieldline_server import scoring
from fieldline_server.apply import release_flow
from fieldline_server.metrics import Metrics
from fieldline_server.scoring import Scorer

SOUND = {"a": 3, "b": 1}


@pytest.fixture
def scorer(api: Served) -> Scorer:
    """A scorer that was not started: what is asked waits."""
    return Scorer(api.engine, api.engine.parts.registry, Metrics())  # type: ignore[attr-defined]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The keys of each batch that is scored."""
    seen: list[list[str]] = []

    def answer(engine: Any, release: Any, records: Any, callers: Any) -> Any:
        seen.append([key for key, _ in records])
        return real(engine, release, records, callers)

    real = scoring.answer
    monkeypatch.setattr(scoring, "answer", answer)
    return seen


def asked(*records: tuple[str, Any]) -> dict[str, Any]:
    return {"records": [{"key": key, "record": record} for key, record in records]}


def test_each_record_is_answered_in_order_and_one_that_is_held_does_not_stop_the_others(api: Served, client: httpx.Client) -> None:
    body = asked(("k1", SOUND), ("k2", {"a": "none"}), ("k3", {"a": "1.5", "b": 0}))
    items = client.post("/v1/flows/triage/score", json=body, headers=api.key("score")).json()["items"]
    assert [(item["key"], item["fields"], item["outputs"]) for item in items] == [
        ("k1", {"points": 5.0}, {"score": 5.0}), ("k2", None, None), ("k3", {"points": 3.0}, {"score": 3.0}),
    ]  # fmt: skip
    assert "field 'a' is not a number" in items[1]["held"]


def test_an_answer_refers_to_a_decision_that_is_stored_with_its_source(api: Served, client: httpx.Client) -> None:
    key = api.key()
    (item,) = client.post("/v1/flows/triage/score", json=asked(("k1", SOUND)), headers=key).json()["items"]
    (decision,) = client.get("/v1/decisions", params={"q": "record:k1"}, headers=key).json()["items"]
    assert item["decision"] == {"release": decision["release"], "clock": decision["clock"]}
    assert (decision["source"], decision["fields"]) == ({"a": "3", "b": "1"}, item["fields"])


def test_who_asked_is_recorded(api: Served, client: httpx.Client) -> None:
    client.post("/v1/flows/triage/score", json=asked(("k1", SOUND), ("k2", SOUND)), headers=api.key("score"))
    (event,) = api.events("score.requested")
    assert (event["actor"][:4], event["detail"]["flow"], event["detail"]["count"]) == ("key:", "triage", 2)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (asked(("k", SOUND), ("k", SOUND)), 422, "rejected"),
        (asked(), 422, "invalid"),
        (asked(*((f"k{n}", SOUND) for n in range(257))), 422, "invalid"),
        (asked(("", SOUND)), 422, "invalid"),
        (asked(("k" * 1025, SOUND)), 422, "invalid"),
    ],
)
def test_a_request_is_bounded(body: dict[str, Any], status: int, code: str, api: Served, client: httpx.Client) -> None:
    problem(client.post("/v1/flows/triage/score", json=body, headers=api.key("score")), status, code)


def test_a_paused_flow_answers_nobody(api: Served, client: httpx.Client) -> None:
    key = api.key()
    client.post("/v1/flows/triage/pause", json={"reason": "stocktaking"}, headers=key)
    said = problem(client.post("/v1/flows/triage/score", json=asked(("k", SOUND)), headers=key), 409, "misconfigured")
    assert "stocktaking" in said["detail"]


def test_a_caller_who_has_waited_long_enough_is_let_go_and_not_scored(
    api: Served, client: httpx.Client, monkeypatch: pytest.MonkeyPatch, batches: list[list[str]]
) -> None:
    held, free = threading.Event(), threading.Event()

    def wait(*_: Any) -> None:
        held.set()
        assert free.wait(30)

    monkeypatch.setattr(api.app.state.backend.scorer, "_check_device", wait)
    key = api.key("score")
    first = threading.Thread(target=lambda: client.post("/v1/flows/triage/score", json=asked(("k1", SOUND)), headers=key))
    first.start()
    assert held.wait(30)
    late = client.post("/v1/flows/triage/score?timeout_s=0.01", json=asked(("k2", SOUND)), headers=key)
    free.set()
    first.join()
    problem(late, 503, "unavailable")
    assert client.post("/v1/flows/triage/score", json=asked(("k3", SOUND)), headers=key).status_code == 200
    assert batches == [["k1"], ["k3"]]


def test_requests_that_wait_are_scored_together(api: Served, scorer: Scorer, batches: list[list[str]]) -> None:
    release = current_release(api.engine, "triage")
    answers = [scorer.ask(release, [(f"k{n}", {"a": n, "b": 0})], "test") for n in range(5)]
    scorer.start()
    assert [answer.result(30)[0].fields for answer in answers] == [{"points": 2.0 * n} for n in range(5)]
    assert batches == [["k0", "k1", "k2", "k3", "k4"]]
    scorer.stop()


def test_a_key_that_is_asked_again_is_scored_in_the_next_batch(api: Served, scorer: Scorer, batches: list[list[str]]) -> None:
    release = current_release(api.engine, "triage")
    answers = [scorer.ask(release, [(key, {"a": n, "b": 0})], "test") for n, key in enumerate(["x", "y", "x", "y", "z"])]
    scorer.start()
    assert [answer.result(30)[0].fields for answer in answers] == [{"points": 2.0 * n} for n in range(5)]
    assert batches == [["x", "y"], ["x", "y", "z"]]
    scorer.stop()


def test_releases_are_not_mixed(api: Served, scorer: Scorer, batches: list[list[str]]) -> None:
    triage, nightly = current_release(api.engine, "triage"), current_release(api.engine, "nightly")
    answers = [scorer.ask(release, [(f"k{n}", SOUND)], "test") for n, release in enumerate([triage, nightly, triage])]
    scorer.start()
    assert [answer.result(30)[0].release for answer in answers] == [triage.digest, nightly.digest, triage.digest]
    assert batches == [["k0", "k2"], ["k1"]]
    scorer.stop()


def test_more_than_may_wait_are_refused_at_once(api: Served, scorer: Scorer) -> None:
    release = current_release(api.engine, "triage")
    for n in range(scoring.MOST_WAITING // 256):
        scorer.ask(release, [(f"{n}-{row}", SOUND) for row in range(256)], "test")
    with pytest.raises(Unavailable, match="wait to be scored already"):
        scorer.ask(release, [("k", SOUND)], "test")


def test_who_waits_when_the_process_ends_is_told_to_ask_again(api: Served, scorer: Scorer) -> None:
    waiting = scorer.ask(current_release(api.engine, "triage"), [("k", SOUND)], "test")
    scorer.stop()
    with pytest.raises(Unavailable, match="ask again"):
        waiting.result(0)


def test_a_request_that_meets_a_bug_does_not_take_down_those_it_was_joined_with(
    api: Served, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(engine: Any, release: Any, records: Any, callers: Any) -> Any:
        if any(key == "bad" for key, _ in records):
            raise ZeroDivisionError
        return real(engine, release, records, callers)

    real = scoring.answer
    monkeypatch.setattr(scoring, "answer", answer)
    release = current_release(api.engine, "triage")
    good, bad = scorer.ask(release, [("k", SOUND)], "test"), scorer.ask(release, [("bad", SOUND)], "test")
    scorer.start()
    assert good.result(30)[0].fields == {"points": 5.0}
    with pytest.raises(ZeroDivisionError):
        bad.result(30)
    scorer.stop()


def test_a_model_that_runs_on_a_gpu_only_is_refused_to_a_waiting_caller(api: Served, scorer: Scorer, template: Template) -> None:
    registry = api.engine.parts.registry  # type: ignore[attr-defined]
    version: ModelVersion = registry.import_model(template.folder / "triage.onnx", "triage", "test", "cuda", False)
    assert version.device == "cuda"
    with api.engine.store.transaction("test") as tx:
        row = tx.one("flows.document", kind="flow", name="triage")
        assert row is not None
        release_flow(tx, registry, Flow.model_validate(row["body"]), "test")
    scorer.start()
    waiting = scorer.ask(current_release(api.engine, "triage"), [("k", SOUND)], "test")
    with pytest.raises(Misconfigured, match="runs on a GPU only"):
        waiting.result(30)
    scorer.stop()
