"""Workers that die while they write into charts, and many that write at once, lose nothing and do nothing twice."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Barrier

import pytest
from tests.crash_fhir import EpicSink, FhirSink, sends_and_receipts
from tests.crash_matrix import MakeSink, prepare_ground, run_matrix
from tests.fhir_server import Server, fhir_server
from tests.fhir_writing import chart, connected, fail, outcomes, slice_of, target_of

from fieldline_connectors.fhir import Fhir
from fieldline_connectors.http import OfProcess
from fieldline_core.errors import Unavailable
from fieldline_core.receipts import Outcome, Receipts
from fieldline_server.embedded import Postgres

pytestmark = pytest.mark.soak
WRITERS = 16
PATIENTS = [f"study-{number:03}" for number in range(1, 9)]


@pytest.mark.parametrize("sink", [FhirSink, EpicSink])
def test_a_crash_where_it_sends_or_hears_the_answer_changes_nothing(
    sink: MakeSink, postgres: Postgres, migrated_template: str, tmp_path: Path
) -> None:
    assert run_matrix(prepare_ground(postgres, migrated_template, tmp_path), sink, sends_and_receipts) == {}


@pytest.fixture(params=["medplum", "wso2", "epic", "oracle"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with fhir_server(request.param, patients=12) as server:
        yield server


def until_written(connector: Fhir, effect: str, value: float) -> tuple[int, Receipts]:
    """What becomes of a slice that is repeated until it has an answer, and how often it was sent."""
    rows = dict.fromkeys(PATIENTS, value)
    for fence in range(1, 200):
        with suppress(Unavailable):
            return fence, connector.write(slice_of(target_of(kind="quantity", resource="Observation"), rows, effect, fence))
    raise AssertionError(f"{effect} was never written")


def test_sixteen_writers_whose_answers_come_too_late_lose_and_double_nothing(server: Server) -> None:
    late = {"kind": "hold", "after_commit": True, "method": "POST", "path": "/fhir*", "times": 40, "rate": 0.2}
    fail(server, late, {"kind": "drop", "after_commit": True, "path": "/fhir*", "times": 40, "rate": 0.1})
    barrier, shared = Barrier(WRITERS), OfProcess()

    def run(number: int) -> tuple[int, Receipts]:
        settings = {"bundle_rows": (1, 3, 50)[number % 3], "timeout_s": 0.5}
        manners = {"max_concurrent": WRITERS, "requests_per_minute": 100_000}
        connector = stack.enter_context(connected(server, **settings, **manners))
        connector.share(shared)
        barrier.wait()
        # Each effect has two writers, as where a worker was thought dead and is not.
        return until_written(connector, f"effect {number // 2}", number // 2 + 0.5)

    with ExitStack() as stack, ThreadPoolExecutor(WRITERS) as threads:
        written = list(threads.map(run, range(WRITERS)))
    fail(server)
    assert sum(times for times, _ in written) >= WRITERS + 3, "some answers were lost"
    assert Counter(outcome for _, each in written for outcome in outcomes(each)) == {Outcome.WRITTEN: WRITERS * len(PATIENTS)}
    there = Counter(
        (each["subject"]["reference"].rpartition("/")[2], float(each["valueQuantity"]["value"]))
        for each in chart(server, "Observation") if each["status"] != "entered-in-error"
    )  # fmt: skip
    assert there == Counter((patient, effect + 0.5) for patient in PATIENTS for effect in range(WRITERS // 2))
