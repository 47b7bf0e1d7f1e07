"""The page on the simulated SAP system names all that it can do."""

import re
from pathlib import Path

from fieldline_simulators.sap import MODEL, admin
from fieldline_simulators.sap.command import parser
from fieldline_simulators.sap.faults import CALL_KINDS, RECORD_KINDS

PAGE = (Path(__file__).resolve().parents[2] / "docs/how-to/simulate-sap.md").read_text()


def test_every_set_and_every_kind_of_fault_is_described() -> None:
    names = CALL_KINDS | RECORD_KINDS | MODEL.by_set.keys()
    assert {name for name in names if f"`{name}`" not in PAGE} == set()


def test_every_option_and_every_route_is_described() -> None:
    options = [option for action in parser()._actions for option in action.option_strings if option not in ("-h", "--help")]
    routes = set(re.findall(r"/_sim/[a-z]+", admin.__doc__ or ""))
    assert [each for each in (*options, *routes) if each not in PAGE] == []
