"""Nonsense that is sent to the simulated org: it is always answered, and never as if the org had failed."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.salesforce_calls import DATA, Calls, calls

pytestmark = pytest.mark.soak

_NAMES = """attributes type Lead Id id LastName records Owner OwnerId AnnualRevenue Email fields ids body Fieldline_Tier__c
Fieldline_Scored_At__c IsConverted method url referenceId object operation query state"""
NAMES = st.sampled_from(_NAMES.split())
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | NAMES | st.text(max_size=8)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12)
TARGETS = st.sampled_from(
    [
        ("PATCH", path)
        for path in ("sobjects/Lead/Fieldline_Key__c/x", "composite/sobjects", "composite/sobjects/Lead/Fieldline_Key__c")
    ]
    + [("POST", f"composite{path}") for path in ("", "/batch", "/tree/Lead", "/sobjects", "/sobjects/Lead")]
    + [("POST", path) for path in ("sobjects/Lead", "jobs/ingest", "jobs/query", "chatter/feed-elements")]
)
LISTS = {"composite": "compositeRequest", "composite/batch": "batchRequests"}
_WORDS = r"""SELECT FROM WHERE Lead Id Name Owner.Name COUNT COUNT() ( ) , = != < LIKE IN NOT AND OR 'x' 5 null TODAY ORDER BY GROUP
LAST_N_DAYS:9999 LIMIT HAVING INCLUDES Tasks 2026-01-01 2026-13-01T00:00:00Z CreatedDate ConvertedDate NEXT_N_YEARS:9999 OwnerId - \
CALENDAR_YEAR(CreatedDate) FIELDS(ALL) AVG(Name)"""
WORDS = _WORDS.split()
many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def org() -> Iterator[Calls]:
    with calls(leads=6) as made:
        yield made


@many
@given(target=TARGETS, value=VALUES)
def test_any_body_is_answered(org: Calls, target: tuple[str, str], value: Any) -> None:
    method, path = target
    for body in (value, {LISTS.get(path, "records"): value if isinstance(value, list) else [value]}):
        assert org(method, path, body).status_code < 500


@many
@given(st.lists(st.sampled_from(WORDS), max_size=12), st.booleans())
def test_any_query_is_answered(org: Calls, words: list[str], begun: bool) -> None:
    soql = ("SELECT Id FROM Lead WHERE " if begun else "") + " ".join(words)
    assert org.http.get(f"{DATA}/query", params={"q": soql}).status_code in (200, 400)
