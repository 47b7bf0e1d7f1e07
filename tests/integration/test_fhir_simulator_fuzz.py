"""Whatever the simulated FHIR server is sent, it answers."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fhir_server import Server, fhir_server

from fieldline_simulators.fhir import TOPICS

pytestmark = pytest.mark.soak

NAMES = st.sampled_from(["coding", "code", "value", "system", "reference", "start", "end", "text", "identifier", "extension"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=6,
)
TYPES = ["Observation", "RiskAssessment", "Subscription", "Patient"]
ELEMENTS = (
    "id meta name code subject identifier valueQuantity effectiveDateTime effectivePeriod status channel criteria _criteria note "
    "extension prediction"
)
PARAMETERS = "code date value-quantity subject _has:Observation:patient:code name:exact _id _sort _count _include".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with fhir_server() as made:
        yield made


@given(st.sampled_from(TYPES), st.dictionaries(st.sampled_from(ELEMENTS.split()), JSON, max_size=4))
def test_no_content_makes_the_server_stumble(server: Server, type: str, content: dict[str, Any]) -> None:
    required = {"code": {}, "status": "active", "subject": {}, "reason": "x", "channel": {}, "criteria": f"{TOPICS}Patient"}
    full = {**required, **content, "resourceType": type}
    assert server.create(full).status_code < 500
    for name, value in (("code", "x"), ("date", "2026"), ("patient", "x"), ("_sort", "date"), ("identifier", "x|y")):
        assert server.fhir.get("/Observation", params={name: value}).status_code < 500
    assert server.root.get("/_sim/chart").status_code == 200


@given(st.sampled_from(PARAMETERS), st.text(max_size=8))
def test_no_query_makes_the_server_stumble(server: Server, name: str, value: str) -> None:
    for type in ("Observation", "Patient"):
        assert server.fhir.get(f"/{type}", params={name: value}).status_code < 500


@given(JSON | st.dictionaries(st.sampled_from(["resourceType", "type", "entry"]), JSON))
def test_no_bundle_makes_the_server_stumble(server: Server, bundle: Any) -> None:
    entry = {"request": {"method": "POST", "url": "Observation"}, "resource": bundle, "fullUrl": "urn:x"}
    for sent in (bundle, {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}):
        assert server.fhir.post("", json=sent).status_code < 500
