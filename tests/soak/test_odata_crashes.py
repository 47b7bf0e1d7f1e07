"""Workers that die while they write to an OData service, or send IDocs, leave nothing undone and nothing done twice."""

from pathlib import Path

import pytest
from tests.crash_fhir import sends_and_receipts
from tests.crash_idoc import BlindIdocSink, IdocSink, sends_and_polls
from tests.crash_matrix import MakeSink, prepare_ground, run_matrix
from tests.crash_odata import OdataSink, OdataV4Sink

from fieldline_server.embedded import Postgres

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("sink", [OdataSink, OdataV4Sink])
def test_a_crash_where_it_sends_or_hears_the_answer_changes_nothing(
    sink: MakeSink, postgres: Postgres, migrated_template: str, tmp_path: Path
) -> None:
    assert run_matrix(prepare_ground(postgres, migrated_template, tmp_path), sink, sends_and_receipts) == {}


@pytest.mark.parametrize("sink", [IdocSink, BlindIdocSink])
def test_a_crash_around_the_sending_of_idocs_loses_none_and_doubles_one_only_where_that_is_declared(
    sink: MakeSink, postgres: Postgres, migrated_template: str, tmp_path: Path
) -> None:
    assert run_matrix(prepare_ground(postgres, migrated_template, tmp_path), sink, sends_and_polls) == {}
