"""The supervisor's backoff, as a table."""

import pytest

from fieldline_server.supervisor import restart_delay_s


@pytest.mark.parametrize(("failures", "delay_s"), [(0, 0.0), (1, 1.0), (2, 2.0), (4, 8.0), (5, 16.0), (6, 30.0), (10_000, 30.0)])
def test_each_short_life_doubles_the_wait_up_to_a_limit(failures: int, delay_s: float) -> None:
    assert restart_delay_s(failures) == delay_s
