"""Writes that would make their own records be decided on again for ever are found before they are published."""

from typing import Any

import pytest

from fieldline_connectors.salesforce import SalesforceQuery, SalesforceTarget
from fieldline_server.lint_systems import _restless


@pytest.mark.parametrize(
    ("target", "object", "paths"),
    [
        ({"check_record": True}, "Lead", ["writes[0].target.fields.At__c"]),
        ({"check_record": True}, "Contact", []),
        ({}, "Lead", []),
    ],
)
def test_the_moment_of_a_decision_is_not_written_into_a_record_that_is_compared_as_a_whole(
    target: dict[str, Any], object: str, paths: list[str]
) -> None:
    fields = {"Score__c": "score", "At__c": "decision.clock"}
    made = SalesforceTarget.model_validate({"object": "Lead", "fields": fields, **target})
    found = list(_restless("writes[0].target", made, SalesforceQuery(soql=f"SELECT Id FROM {object}")))
    assert [each.path for each in found] == paths
    assert all("LastModifiedDate" in each.message and "check_record" in each.message for each in found)
