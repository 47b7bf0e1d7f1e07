"""What a server declares, and whose changes it tells of."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.fhir_script import Asked, ScriptedServer, bundle, capabilities, serving
from tests.fhir_writing import target_of

from fieldline_connectors.fhir import Fhir, FhirConfig, FhirQuery, wire
from fieldline_connectors.fhir.notices import Notice, Told
from fieldline_connectors.fhir.told import records_of
from fieldline_connectors.fhir.topic import FhirTopic
from fieldline_core.errors import Misconfigured
from fieldline_core.secret import Secret

VIEW = {"resource": "Observation", "select": [{"column": [{"name": "id", "path": "getResourceKey()"}]}]}
NOTIFICATIONS = {"public_url": "https://us.example", "secrets": [Secret("a secret that is long enough")]}


class Stating:
    """A server whose statement can be changed, with one observation that a decision wrote."""

    def __init__(self) -> None:
        self.statement: Any = capabilities()
        self.status = 200

    def __call__(self, asked: Asked) -> tuple[Any, ...]:
        """The answer to a request."""
        if asked.path.endswith("/metadata"):
            return self.status, self.statement
        identifier = [{"system": "urn:fieldline:decision", "value": "x"}]
        subject = {"reference": "Patient/p1"}
        return 200, bundle({"resourceType": "Observation", "id": "7", "identifier": identifier, "subject": subject})


@contextmanager
def stating() -> Iterator[tuple[Stating, ScriptedServer, Fhir]]:
    script = Stating()
    with serving(script) as server:
        connector = Fhir(FhirConfig.model_validate(server.settings(notifications=NOTIFICATIONS)))
        server.clients.callback(connector.close)
        yield script, server, connector


def test_a_server_without_subscriptions_is_found_before_a_flow_is_published_and_believed_when_it_has_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with stating() as (script, server, connector):
        topic, query = FhirTopic(criteria="Observation?code=x"), FhirQuery(view=VIEW)
        (found,) = connector.check_topic(topic, query)
        assert (found.rule, found.path) == ("does-not-fit", "")
        assert "does not declare Subscriptions: read its changes on a schedule" in found.message
        with pytest.raises(Misconfigured, match="does not declare Subscriptions"):
            connector.subscribe(topic, "bmi", None)
        assert len(server.asked) == 1
        script.statement["rest"][0]["resource"].append({"type": "Subscription"})
        monkeypatch.setattr(wire, "_STATED_S", -1.0)
        assert list(connector.check_topic(topic, query)) == []
        # What it said before holds while it is away.
        script.status = 500
        assert list(connector.check_topic(topic, query)) == []


def test_a_page_in_place_of_a_statement_is_no_server() -> None:
    with stating() as (script, _, connector):
        script.statement = b"<html>Welcome</html>"
        with pytest.raises(Misconfigured, match="is no FHIR server: `base_url`"):
            connector.check()


def test_what_another_flow_wrote_is_a_change_and_what_the_flow_wrote_itself_is_none() -> None:
    with stating() as (_, _, connector):
        notice = Notice("event-notification", "s", 1, (Told(1, "t", "Observation/7"),))
        topic = FhirTopic(criteria="Observation", record="subject")
        for writes, key in (([], "p1"), ([target_of()], None), ([target_of(identifier_system="urn:other")], "p1")):
            assert records_of(connector._wire, topic.beside(writes), notice) == {"Observation/7": key}
