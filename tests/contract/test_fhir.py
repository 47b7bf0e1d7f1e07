"""The FHIR connector keeps the contract of a source, on a server that pages and searches by id."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.fhir_script import Asked, ScriptedServer, bundle, capabilities, serving

from fieldline_connectors.fhir import Fhir, FhirConfig, FhirQuery
from fieldline_connectors.testing import ConnectorContract
from fieldline_core.secret import Secret

VIEW = {"resource": "Patient", "select": [{"column": [
    {"name": "id", "path": "getResourceKey()"}, {"name": "born", "path": "birthDate", "type": "date"},
]}]}  # fmt: skip
PATIENTS = [{"resourceType": "Patient", "id": f"p{number}", "birthDate": f"19{50 + number}-01-02"} for number in range(7)]


def page_of_three(asked: Asked) -> tuple[int, Any]:
    """Three patients at a time, of all or of those whose ids are asked for."""
    if asked.path.endswith("/metadata"):
        return 200, capabilities()
    given = dict(asked.parameters)
    wanted = [each for each in PATIENTS if "_id" not in given or each["id"] in given["_id"].split(",")]
    start = int(given.get("from", 0))
    more = f"/fhir/Patient?from={start + 3}" if start + 3 < len(wanted) else None
    return 200, bundle(*wanted[start : start + 3], next=more)


class TestFhir(ConnectorContract):
    connector_class = Fhir

    @pytest.fixture
    def server(self) -> Iterator[ScriptedServer]:
        with serving(page_of_three) as server:
            yield server

    @pytest.fixture
    def connector(self, server: ScriptedServer) -> Iterator[Fhir]:
        login = {"flow": "bearer", "token": Secret("a token of some length")}
        connector = Fhir(FhirConfig.model_validate(server.settings(login=login)))
        yield connector
        connector.close()

    @pytest.fixture
    def unreachable(self) -> Iterator[Fhir]:
        settings = {"base_url": "http://127.0.0.1:9/fhir", "allow_private": [{"host": "127.0.0.1", "network": "127.0.0.0/8"}]}
        connector = Fhir(FhirConfig.model_validate(settings))
        yield connector
        connector.close()

    @pytest.fixture
    def query(self) -> FhirQuery:
        return FhirQuery.model_validate({"view": VIEW})
