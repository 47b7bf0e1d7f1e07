"""A connector without a contract test fails the run."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from fieldline_connectors.registry import connector_class, connector_names
from fieldline_connectors.testing import ConnectorContract


@pytest.mark.parametrize("name", connector_names())
def test_the_connector_has_a_contract_test(name: str) -> None:
    assert connector_class(name) in set(_tested()), f"write a subclass of ConnectorContract for {name} in tests/contract"


@pytest.mark.parametrize("name", connector_names())
def test_the_connector_is_registered_under_its_name(name: str) -> None:
    assert connector_class(name).name == name


def _tested() -> Iterator[type]:
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        if path != Path(__file__):
            found = vars(_module(path)).values()
            yield from (entry.connector_class for entry in found if _is_contract_test(entry))


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"contract_of_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _is_contract_test(entry: object) -> bool:
    return isinstance(entry, type) and issubclass(entry, ConnectorContract) and entry.__name__.startswith("Test")
