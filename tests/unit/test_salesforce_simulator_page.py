"""The page on the simulated org names all that it can do."""

import re
from pathlib import Path

import pytest

from fieldline_simulators.salesforce import rest_admin
from fieldline_simulators.salesforce.command import parser
from fieldline_simulators.salesforce.faults import CALL_KINDS, JOB_KINDS, RECORD_KINDS

PAGE = (Path(__file__).resolve().parents[2] / "docs/how-to/simulate-salesforce.md").read_text()


@pytest.mark.parametrize("kind", sorted(CALL_KINDS | RECORD_KINDS | JOB_KINDS))
def test_every_kind_of_fault_is_described(kind: str) -> None:
    assert f"`{kind}`" in PAGE


def test_every_option_is_described() -> None:
    options = [option for action in parser()._actions for option in action.option_strings if option not in ("-h", "--help")]
    assert [option for option in options if option not in PAGE] == []


def test_every_route_of_the_simulator_is_described() -> None:
    told = set(re.findall(r"/_sim/[a-z]+", (rest_admin.__doc__ or "")))
    assert {path for path in told if path not in PAGE} == {"/_sim/records"}
