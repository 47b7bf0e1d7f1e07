"""A process that dies while it writes to Salesforce leaves nothing undone and nothing done twice."""

from pathlib import Path

import pytest
from tests.crash_matrix import MakeSink, prepare_ground, run_matrix
from tests.crash_salesforce import SalesforceBulkSink, SalesforceSink, own_sites

from fieldline_server.embedded import Postgres

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("sink", [SalesforceSink, SalesforceBulkSink])
def test_a_crash_while_an_org_is_written_to_changes_nothing(
    sink: MakeSink, postgres: Postgres, migrated_template: str, tmp_path: Path
) -> None:
    assert run_matrix(prepare_ground(postgres, migrated_template, tmp_path), sink, own_sites) == {}
