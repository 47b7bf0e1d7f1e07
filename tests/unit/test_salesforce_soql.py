"""SOQL is taken apart where it can be, and refused in words where it cannot."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_connectors.salesforce.soql import parsed, quoted


def test_fields_lists_and_the_condition_are_found() -> None:
    text = """select Id, Account.Industry , (SELECT Amount FROM Opportunities WHERE StageName = 'Won, (really)' LIMIT 5)
              from Contact where Name = 'O\\'Hara FROM (x' AND (A__c = 1 OR B__c IN ('x', 'y'))"""
    found = parsed(text)
    assert found.object == "Contact"
    assert found.fields == ("Id", "Account.Industry")
    assert [(child.name, child.fields, child.tail) for child in found.children] == [
        ("Opportunities", ("Amount",), "WHERE StageName = 'Won, (really)' LIMIT 5")
    ]
    assert found.where == "Name = 'O\\'Hara FROM (x' AND (A__c = 1 OR B__c IN ('x', 'y'))"


def test_conditions_are_joined_in_brackets() -> None:
    found = parsed("SELECT Id FROM Lead WHERE A = 1 OR B = 2")
    assert found.text(["Id"], ["Id > 'x'"], "Id") == "SELECT Id FROM Lead WHERE (A = 1 OR B = 2) AND (Id > 'x') ORDER BY Id"
    assert parsed("SELECT Id FROM Lead").text(["COUNT()"]) == "SELECT COUNT() FROM Lead"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SELECT Id FROM Lead ORDER BY Name", "ORDER"),
        ("SELECT Id FROM Lead WHERE A = 1 LIMIT 10", "LIMIT"),
        ("SELECT COUNT(Id) FROM Lead GROUP BY Status", "GROUP"),
        ("SELECT toLabel(Status) FROM Lead", "neither"),
        ("SELECT Id FROM Lead l", "alias"),
        ("SELECT Id FROM Lead, Account", "alias"),
        ("SELECT Id", "SELECT fields FROM object"),
        ("", "SELECT fields FROM object"),
        ("SELECT Id FROM Lead WHERE Name = 'x", "not closed"),
        ("SELECT Id FROM Lead WHERE (A = 1", "brackets"),
        ("SELECT Id FROM Lead WHERE A = 1)", "brackets"),
        ("SELECT (SELECT Id, (SELECT Id FROM C) FROM Cs) FROM Lead", "no further subquery"),
        ("SELECT Id FROM Lead ORDER BY Id FOR UPDATE", "ORDER"),
    ],
)
def test_what_cannot_be_read_in_pages_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parsed(text)


@given(st.text())
def test_a_quoted_text_stays_one_text(value: str) -> None:
    found = parsed(f"SELECT Id FROM Lead WHERE Name = {quoted(value)} AND A = 1")
    assert found.where.endswith("AND A = 1")


@given(st.text(alphabet="SELECTFROMWHEREIdLead ()',='\\", max_size=80))
def test_any_text_is_understood_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert parsed(f"SELECT Id FROM Lead {text}").object == "Lead"
