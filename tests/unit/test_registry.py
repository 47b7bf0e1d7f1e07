"""Connectors are found by entry points."""

from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from fieldline_connectors import registry
from fieldline_connectors.memory import Memory
from fieldline_core.errors import Misconfigured


@pytest.fixture(autouse=True)
def _forgets_what_is_installed() -> Iterator[None]:
    yield
    registry._points.cache_clear()


def installed(monkeypatch: pytest.MonkeyPatch, *entries: tuple[str, str]) -> None:
    registry._points.cache_clear()
    points = EntryPoints(EntryPoint(name, value, registry.GROUP) for name, value in entries)
    monkeypatch.setattr(registry, "entry_points", lambda group: points.select(group=group))


def test_our_connectors_are_found() -> None:
    assert {"memory", "odbc", "webhook"} <= set(registry.connector_names())
    assert registry.connector_class("memory") is Memory


def test_a_mistyped_name_is_corrected() -> None:
    with pytest.raises(Misconfigured, match="did you mean webhook"):
        registry.connector_class("webhok")


def test_an_unknown_name_lists_what_is_installed() -> None:
    with pytest.raises(Misconfigured, match=r"installed are .*memory.*webhook"):
        registry.connector_class("zzz")


def test_all_connectors_are_loaded_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ("b", "fieldline_connectors.memory:Memory"), ("a", "fieldline_connectors.memory:Memory"))
    assert list(registry.connector_classes()) == ["a", "b"]


def test_a_connector_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ("broken", "no.such.module:Thing"), ("fine", "fieldline_connectors.memory:Memory"))
    assert registry.connector_class("fine") is Memory
    with pytest.raises(Misconfigured, match=r"'broken' .* cannot be loaded"):
        registry.connector_class("broken")


def test_two_packages_may_not_share_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ("same", "one:Thing"), ("same", "other:Thing"))
    with pytest.raises(Misconfigured, match="two packages offer"):
        registry.connector_class("same")
