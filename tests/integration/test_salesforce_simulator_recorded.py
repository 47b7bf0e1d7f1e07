"""Requests that seven real clients were seen to send, sent again to the simulated org."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.salesforce_calls import Calls, calls

from fieldline_simulators.salesforce import ApiError

BESIDE = Path(__file__).resolve().parents[3] / "shared/corpora/salesforce-requests"
RECORDED = Path(os.environ.get("SALESFORCE_REQUESTS", BESIDE))
FILES = sorted(path.name for path in RECORDED.glob("*.jsonl") if "pubsub" not in path.name)
# Bulk API 1 and CometD are not simulated: both are on their way out.
NOT_SIMULATED = ("/services/async/", "/cometd/")
SAID = ("accept", "authorization", "content-type", "sforce-call-options", "sforce-query-options")

pytestmark = pytest.mark.skipif(not FILES, reason=f"the recorded requests are not at {RECORDED}")


@pytest.fixture
def org() -> Iterator[Calls]:
    with calls(leads=12) as made:
        for field in (
            {"name": "Ext__c", "external_id": True, "id_lookup": True},
            {"name": "Lead_Score__c", "type": "double", "scale": 2},
        ):
            made("POST", "/_sim/fields", {"object": "Lead", **field})
        made("PUT", "/_sim/behaviour", {"password_login": True})
        yield made


def requests_of(name: str) -> list[dict[str, Any]]:
    """The requests of one client, without those to what is not simulated."""
    found = [json.loads(line) for line in (RECORDED / name).read_text().splitlines()]
    return [each for each in found if str(each.get("path", "")).startswith("/") and not each["path"].startswith(NOT_SIMULATED)]


@pytest.mark.parametrize("name", FILES)
def test_every_recorded_request_has_a_route_and_an_answer(org: Calls, name: str) -> None:
    missing = []
    for seen in requests_of(name):
        path = urlsplit(seen["path"]).path
        try:
            org.server.routes.find(seen["method"], path)
        except ApiError as error:
            missing.append(f"{seen['method']} {path}: {error}")
            continue
        headers = {key: value for key, value in seen["headers"].items() if key.lower() in SAID and key.lower() != "authorization"}
        if not path.startswith("/services/oauth2/token"):
            headers["authorization"] = f"Bearer {org.token}"
        answer = org.http.request(seen["method"], seen["path"], content=(seen.get("body") or "").encode(), headers=headers)
        if answer.status_code >= 500 and "/Soap/" not in path:
            missing.append(f"{seen['method']} {path}: {answer.status_code} {answer.text}")
    assert not missing
