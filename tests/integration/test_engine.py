"""A flow from end to end, on a real store, step by step."""


from tests.engines import Bench, answers, decisions_on, documents, put

from fieldline_core.pipeline.manage import list_runs, request_run


def test_every_record_is_scored_and_written(bench: Bench) -> None:
    put("all", {f"k{i:04}": (float(i), 1.0) for i in range(1050)})
    bench.apply(documents("all"))
    request_run(bench.engine, "all", "test")

    bench.drain()

    assert answers("all") == {f"k{i:04}": 2.0 * i - 1.0 for i in range(1050)}
    run = list_runs(bench.engine)[0]
    assert (run["state"], run["rows_read"], run["scored"], run["written"]) == ("succeeded", 1050, 1050, 1050)


def test_a_blank_field_holds_its_row_and_the_others_go_on(bench: Bench) -> None:
    put("blank", {"good": (1.0, 2.0), "bad": (None, 2.0), "also good": (3.0, 3.0)})
    bench.apply(documents("blank"))
    request_run(bench.engine, "blank", "test")

    bench.drain()

    assert answers("blank") == {"good": 0.0, "also good": 3.0}
    letters = bench.all("SELECT stage, reason FROM dead_letter")
    assert [(letter["stage"], "a" in letter["reason"]) for letter in letters] == [("map", True)]


def test_a_decision_is_found_by_its_key_with_everything_it_rests_on(bench: Bench) -> None:
    put("found", {"x": (2.0, 1.0)})
    bench.apply(documents("found"))
    request_run(bench.engine, "found", "test")
    bench.drain()

    (decision,) = decisions_on(bench.engine, "x")

    assert decision["source"] == {"a": 2.0, "b": 1.0}
    assert decision["features"] == {"a": 2.0, "b": 1.0}
    assert decision["outputs"] == {"score": 3.0}
    assert decision["fields"] == {"score": 3.0}
    assert decision["writes"][0]["outcome"] == "written"
    assert decisions_on(bench.engine, "y") == []


def test_an_unchanged_record_is_not_written_again_but_a_changed_one_is(bench: Bench) -> None:
    put("again", {"same": (1.0, 1.0), "other": (1.0, 1.0)})
    bench.apply(documents("again"))
    request_run(bench.engine, "again", "test")
    bench.drain()
    put("again", {"other": (5.0, 1.0)})

    request_run(bench.engine, "again", "test")
    bench.drain()

    run = list_runs(bench.engine)[0]
    assert (run["scored"], run["skipped"]) == (1, 1)
    assert answers("again") == {"same": 1.0, "other": 9.0}
