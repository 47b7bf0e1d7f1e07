"""What every connector promises: a documented configuration, a check that works, and silence about secrets."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from fieldline_connectors.testing.abilities import UNREACHABLE, ConnectorFixtures, needs, offers
from fieldline_core.ports import ConnectorConfig, Discovers, Document, Query, Target
from fieldline_core.secret import Secret


class SettingsContract(ConnectorFixtures):
    """The part of the contract that every connector keeps."""

    def test_it_is_made_from_its_configuration(self, connector: Any) -> None:
        assert isinstance(connector, self.connector_class)
        assert issubclass(self.connector_class.Config, ConnectorConfig)
        assert isinstance(connector.config, self.connector_class.Config)
        assert self.connector_class.name

    def test_every_setting_is_described(self) -> None:
        documents: list[tuple[str, str, type[Document]]] = [
            ("check", "Config", ConnectorConfig), ("read", "Query", Query), ("write", "Target", Target),
        ]  # fmt: skip
        for verb, name, kind in documents:
            if offers(self.connector_class, verb):
                model = getattr(self.connector_class, name)
                assert issubclass(model, kind)
                assert not list(_undescribed(model)), "settings without a description, or open to unknown ones"

    def test_check_passes(self, connector: Any) -> None:
        assert connector.check() is None

    def test_it_says_who_cannot_be_reached(self, unreachable: Any) -> None:
        if unreachable is None:
            pytest.skip("always reachable")
        with pytest.raises(UNREACHABLE) as caught:
            unreachable.check()
        assert str(caught.value)
        _assert_silent(str(caught.value), unreachable.config)

    def test_secrets_are_never_shown(self, connector: Any) -> None:
        for shown in (repr(connector), str(vars(connector)), repr(connector.config), connector.config.model_dump_json()):
            _assert_silent(shown, connector.config)

    def test_it_can_be_closed_twice(self, connector: Any) -> None:
        connector.close()
        connector.close()

    def test_what_it_discovers_is_labelled(self, connector: Any) -> None:
        catalog = needs(connector, Discovers).discover()
        assert catalog.entities
        for entity in catalog.entities:
            assert entity.label, f"{entity.name} has no label"
            assert entity.fields, f"{entity.name} has no fields"
            assert all(field.label for field in entity.fields)
            assert len({field.name for field in entity.fields}) == len(entity.fields)


def _undescribed(model: type[BaseModel]) -> Iterator[str]:
    schema = model.model_json_schema()
    for part in (schema, *schema.get("$defs", {}).values()):
        if "properties" not in part:
            continue
        if part.get("additionalProperties") is not False:
            yield f"{part.get('title')} is open"
        yield from (f"{part.get('title')}.{name}" for name, entry in part["properties"].items() if not _described(entry))


def _described(entry: dict[str, Any]) -> bool:
    return bool(entry.get("description")) or entry.get("x-secret", False)


def _assert_silent(shown: str, config: Document) -> None:
    assert not any(secret.reveal() in shown for secret in _secrets(config)), "a secret is shown"


def _secrets(value: Any) -> Iterator[Secret]:
    match value:
        case Secret():
            yield value
        case BaseModel():
            for name in type(value).model_fields:
                yield from _secrets(getattr(value, name))
        case list() | tuple() | set() | frozenset():
            for part in value:
                yield from _secrets(part)
        case dict():
            for part in value.values():
                yield from _secrets(part)
