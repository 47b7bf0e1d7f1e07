"""The whole crash matrix into a Salesforce org: every point at every passing, by collections and by bulk jobs."""

from pathlib import Path

import pytest
from tests.crash_matrix import MakeSink, every_passing, prepare_ground, run_matrix
from tests.crash_salesforce import SalesforceBulkSink, SalesforceSink
from tests.storm_salesforce import BulkStormSink, StormSink, run_storm

from fieldline_server.embedded import Postgres

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("sink", [SalesforceSink, SalesforceBulkSink])
def test_a_crash_at_any_passing_of_any_point_changes_nothing(
    sink: MakeSink, postgres: Postgres, migrated_template: str, tmp_path: Path
) -> None:
    assert run_matrix(prepare_ground(postgres, migrated_template, tmp_path), sink, every_passing) == {}


@pytest.mark.parametrize("sink", [StormSink, BulkStormSink])
def test_two_thousand_leads_arrive_once_each_though_processes_die_in_a_storm(
    sink: MakeSink, postgres: Postgres, migrated_template: str, tmp_path: Path
) -> None:
    died, wrong = run_storm(prepare_ground(postgres, migrated_template, tmp_path), sink)
    print(len(died), "deaths:", *died)
    assert wrong == []
    assert "write.salesforce.send:after#1" in died
