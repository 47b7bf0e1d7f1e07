"""The whole crash matrix: every point at every passing, into both kinds of system."""

from pathlib import Path

import pytest
from tests.crash_matrix import (
    MakeSink,
    OdbcSink,
    PoisonedSink,
    WebhookSink,
    every_passing,
    prepare_ground,
    run_matrix,
    settings_aside,
)

from fieldline_server.embedded import Postgres

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("sink", [OdbcSink, WebhookSink])
def test_a_crash_at_any_passing_of_any_point_changes_nothing(
    sink: MakeSink, postgres: Postgres, migrated_template: str, tmp_path: Path
) -> None:
    assert run_matrix(prepare_ground(postgres, migrated_template, tmp_path), sink, every_passing) == {}


def test_a_crash_while_a_poisoned_chunk_is_halved_and_set_aside_changes_nothing(
    postgres: Postgres, migrated_template: str, tmp_path: Path
) -> None:
    assert run_matrix(prepare_ground(postgres, migrated_template, tmp_path), PoisonedSink, settings_aside) == {}
