"""The simulated org's query language."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from tests.salesforce_calls import DATA, Calls, calls

from fieldline_simulators.salesforce.soql_dates import days_of


@pytest.fixture(scope="module")
def org() -> Iterator[Calls]:
    with calls(leads=0) as made:
        account = made.create("Account", Name="Acme", Industry="Energy")
        made.create("Opportunity", Name="Big", AccountId=account, StageName="Closed Won", CloseDate="2026-01-31", Amount=500)
        made.create("Opportunity", Name="Small", AccountId=account, StageName="Prospecting", CloseDate="2026-03-31", Amount=5)
        made.create(LastName="O'Neil", Company="A", Industry="Energy", AnnualRevenue=100, Interests__c="Robots;Sensors")
        made.create(LastName="Bell", Company="A", Industry="Retail", AnnualRevenue=300, Interests__c="Service")
        made.create(LastName="Cole", Company="B", Industry="Energy")
        made.create("Task", Subject="Call", WhoId=made.query("SELECT Id FROM Lead WHERE LastName = 'Cole'")[0]["Id"])
        yield made


NAMES = [
    ("LastName = 'bell'", ["Bell"]),
    (r"LastName = 'O\'Neil'", ["O'Neil"]),
    ("LastName != 'Bell'", ["O'Neil", "Cole"]),
    ("AnnualRevenue != 100", ["Bell", "Cole"]),
    ("AnnualRevenue > 100", ["Bell"]),
    ("AnnualRevenue >= 1e2", ["O'Neil", "Bell"]),
    ("AnnualRevenue < 101.5", ["O'Neil"]),
    ("AnnualRevenue <= 100", ["O'Neil"]),
    ("AnnualRevenue = null", ["Cole"]),
    ("AnnualRevenue <> NULL", ["O'Neil", "Bell"]),
    ("LastName LIKE '%E%l'", ["O'Neil", "Bell"]),
    ("LastName LIKE '_ole'", ["Cole"]),
    ("Industry IN ('Energy', 'Finance')", ["O'Neil", "Cole"]),
    ("Industry NOT IN ('Energy')", ["Bell"]),
    ("Interests__c INCLUDES ('Robots;Sensors', 'Service')", ["O'Neil", "Bell"]),
    ("Interests__c EXCLUDES ('Robots')", ["Bell", "Cole"]),
    ("(Company = 'A' AND Industry = 'Retail') OR LastName = 'Cole'", ["Bell", "Cole"]),
    ("NOT (Company = 'A' AND Industry = 'Retail')", ["O'Neil", "Cole"]),
    ("IsConverted = false AND CreatedDate = TODAY", ["O'Neil", "Bell", "Cole"]),
    ("CreatedDate < LAST_N_DAYS:1", []),
    ("CreatedDate >= 2020-01-01T00:00:00Z", ["O'Neil", "Bell", "Cole"]),
    ("Owner.Username LIKE 'integration@%'", ["O'Neil", "Bell", "Cole"]),
    ("Id IN (SELECT WhoId FROM Task WHERE Subject = 'Call')", ["Cole"]),
    ("Id NOT IN (SELECT WhoId FROM Task)", ["O'Neil", "Bell"]),
    ("CALENDAR_YEAR(CreatedDate) < 2000", []),
]


@pytest.mark.parametrize(("where", "names"), NAMES)
def test_a_condition_finds_what_it_says(org: Calls, where: str, names: list[str]) -> None:
    assert [row["LastName"] for row in org.query(f"SELECT LastName FROM Lead WHERE {where} ORDER BY Id")] == names


def test_an_order_puts_nothing_first_unless_told(org: Calls) -> None:
    def by(order: str) -> list[str]:
        return [row["LastName"] for row in org.query(f"SELECT LastName FROM Lead ORDER BY {order}")]

    assert by("AnnualRevenue") == ["Cole", "O'Neil", "Bell"]
    assert by("AnnualRevenue DESC NULLS LAST") == ["Bell", "O'Neil", "Cole"]
    assert by("Company DESC, LastName ASC LIMIT 2 OFFSET 1") == ["Bell", "O'Neil"]


def test_parents_and_children_come_nested(org: Calls) -> None:
    soql = "SELECT Name, (SELECT Name, Account.Owner.Name FROM Opportunities WHERE Amount > 1 ORDER BY Amount LIMIT 1) FROM Account"
    found = org.query(soql)[0]["Opportunities"]
    assert (found["totalSize"], found["done"], found["records"][0]["Name"]) == (1, True, "Small")
    assert found["records"][0]["Account"]["Owner"]["Name"] == "Integration User"
    assert org.query("SELECT Id, (SELECT Id FROM Contacts) FROM Account")[0]["Contacts"] is None
    assert org.query("SELECT Who.Name, Who.Type, What.Name FROM Task") == [
        {"Who": {"attributes": org_attributes(org), "Name": "Cole", "Type": "Lead"}, "What": None}
    ]


def org_attributes(org: Calls) -> dict[str, str]:
    record_id = org.query("SELECT Id FROM Lead WHERE LastName = 'Cole'")[0]["Id"]
    return {"type": "Lead", "url": f"{DATA}/sobjects/Lead/{record_id}"}


def test_rows_are_counted_and_grouped(org: Calls) -> None:
    assert org.http.get(f"{DATA}/query", params={"q": "SELECT COUNT() FROM Lead"}).json() == {
        "totalSize": 3,
        "done": True,
        "records": [],
    }
    soql = "SELECT Industry, COUNT(Id) n, SUM(AnnualRevenue), MAX(LastName) FROM Lead GROUP BY Industry"
    soql += " HAVING COUNT(Id) > 0 ORDER BY COUNT(Id)"
    assert org.query(soql) == [
        {"Industry": "Retail", "n": 1, "expr0": 300, "expr1": "Bell"},
        {"Industry": "Energy", "n": 2, "expr0": 100, "expr1": "O'Neil"},
    ]
    assert org.query("SELECT AVG(Amount), COUNT_DISTINCT(StageName) FROM Opportunity") == [{"expr0": 252.5, "expr1": 2}]
    assert org.query("SELECT Account.Name, COUNT(Id) FROM Opportunity GROUP BY Account.Name") == [{"Name": "Acme", "expr0": 2}]


def test_all_fields_need_a_small_limit(org: Calls) -> None:
    assert "Fieldline_Score__c" in org.query("SELECT FIELDS(ALL) FROM Lead LIMIT 1")[0]
    assert "Fieldline_Score__c" not in org.query("SELECT FIELDS(STANDARD) FROM Lead LIMIT 1")[0]
    assert org.refused("SELECT FIELDS(ALL) FROM Lead")[1] == "The SOQL FIELDS function must have a LIMIT of at most 200"


ADVICE = (
    " If you are attempting to use a custom field, be sure to append the '__c' after the custom field name. "
    "Please reference your WSDL or the describe call for the appropriate names."
)
REFUSED = [
    ("SELECT Nope__c FROM Lead", "INVALID_FIELD", "No such column 'Nope__c' on entity 'Lead'." + ADVICE),
    ("SELECT Id FROM Lead WHERE LastName = 5", "INVALID_FIELD", "must be of type string and should be enclosed in quotes"),
    (
        "SELECT Id FROM Lead WHERE AnnualRevenue = '5'",
        "INVALID_FIELD",
        "must be of type double and should not be enclosed in quotes",
    ),
    ("SELECT Id FROM Lead WHERE CreatedDate > 2026-01-01", "INVALID_FIELD", "must be of type dateTime"),
    ("SELECT Id FROM Nope", "INVALID_TYPE", "sObject type 'Nope' is not supported."),
    ("SELECT Id FROM Lead WHERE", "MALFORMED_QUERY", "unexpected token: '<EOF>'"),
    ("SELECT Id FROM Lead WHERE Id = 'a' AND Name = 'b' OR Name = 'c'", "MALFORMED_QUERY", "unexpected token: 'OR'"),
    ("SELECT Id, Name FROM Lead GROUP BY Id", "MALFORMED_QUERY", "Field must be grouped or aggregated: Name"),
    ("SELECT Id FROM Lead WHERE Name = SOMEDAY", "MALFORMED_QUERY", "unexpected token: 'SOMEDAY'"),
    ("SELECT Nope.Name FROM Lead", "INVALID_FIELD", "Didn't understand relationship 'Nope' in field path."),
    (
        "SELECT Id, (SELECT Id FROM Nope) FROM Lead",
        "INVALID_TYPE",
        "Didn't understand relationship 'Nope' in FROM part of query call.",
    ),
    (
        "SELECT Id FROM Lead WHERE Name LIKE 'x' LIMIT 5 OFFSET 2001",
        "NUMBER_OUTSIDE_VALID_RANGE",
        "Maximum SOQL offset allowed is 2000",
    ),
    ("SELECT Id FROM Lead ALL ROWS", "MALFORMED_QUERY", "ALL ROWS not allowed in this context"),
    ("SELECT Id FROM Lead WHERE CreatedDate > 2026-13-01T00:00:00Z", "MALFORMED_QUERY", "Invalid datetime: 2026-13-01T00:00:00Z"),
    ("SELECT Id FROM Lead WHERE ConvertedDate = 2026-02-30", "MALFORMED_QUERY", "Invalid date: 2026-02-30"),
    ("SELECT Id FROM Lead WHERE CreatedDate = NEXT_N_YEARS:9999", "MALFORMED_QUERY", "unexpected token: 'NEXT_N_YEARS:9999'"),
    ("SELECT Id # FROM Lead", "MALFORMED_QUERY", "unexpected token: '#'"),
    ("(" * 2000, "MALFORMED_QUERY", "expecting 'SELECT', found '('"),
    ("SELECT Id FROM Lead WHERE " + "(" * 2000, "MALFORMED_QUERY", "the condition is nested too deeply"),
]


@pytest.mark.parametrize(("soql", "code", "words"), REFUSED)
def test_what_cannot_be_asked_is_refused_in_salesforces_words(org: Calls, soql: str, code: str, words: str) -> None:
    found, message = org.refused(soql)
    assert (found, words in message) == (code, True), message


def test_an_error_points_at_the_place(org: Calls) -> None:
    answer = org.http.get(f"{DATA}/query", params={"q": "SELECT Id, Nope FROM Lead"}).json()
    assert answer[0]["message"].splitlines()[1:4] == ["SELECT Id, Nope FROM Lead", "           ^", "ERROR at Row:1:Column:12"]


def test_columns_are_described_for_the_command_line_of_salesforce(org: Calls) -> None:
    found = org.http.get(f"{DATA}/query", params={"q": "SELECT Id, Owner.Name FROM Lead", "columns": "true"}).json()
    assert (found["entityName"], found["keyPrefix"], found["idSelected"]) == ("Lead", "00Q", True)
    assert [(each["columnName"], len(each["joinColumns"])) for each in found["columnMetadata"]] == [("Id", 0), ("Owner", 1)]


DAYS = [
    ("TODAY", "2026-05-13", "2026-05-14"),
    ("YESTERDAY", "2026-05-12", "2026-05-13"),
    ("LAST_N_DAYS:30", "2026-04-13", "2026-05-14"),
    ("NEXT_N_DAYS:2", "2026-05-14", "2026-05-16"),
    ("N_DAYS_AGO:3", "2026-05-10", "2026-05-11"),
    ("THIS_WEEK", "2026-05-10", "2026-05-17"),
    ("LAST_MONTH", "2026-04-01", "2026-05-01"),
    ("LAST_N_MONTHS:5", "2025-12-01", "2026-05-01"),
    ("NEXT_QUARTER", "2026-07-01", "2026-10-01"),
    ("N_QUARTERS_AGO:1", "2026-01-01", "2026-04-01"),
    ("THIS_FISCAL_YEAR", "2026-01-01", "2027-01-01"),
    ("LAST_90_DAYS", "2026-02-12", "2026-05-14"),
]


@pytest.mark.parametrize(("literal", "first", "behind"), DAYS)
def test_a_date_literal_means_these_days(literal: str, first: str, behind: str) -> None:
    assert days_of(literal, date(2026, 5, 13)) == (date.fromisoformat(first), date.fromisoformat(behind))


def test_deleted_records_are_found_by_query_all_only(org: Calls) -> None:
    gone = org.create(LastName="Gone")
    assert org("DELETE", f"sobjects/Lead/{gone}").status_code == 204
    assert org.query("SELECT Id FROM Lead WHERE LastName = 'Gone'") == []
    assert org.query("SELECT Id, IsDeleted FROM Lead WHERE LastName = 'Gone'", everything=True) == [{"Id": gone, "IsDeleted": True}]
    now = datetime.now(UTC)
    span = {"start": (now - timedelta(hours=1)).isoformat(), "end": (now + timedelta(hours=1)).isoformat()}
    found = org.http.get(f"{DATA}/sobjects/Lead/deleted/", params=span).json()
    assert [each["id"] for each in found["deletedRecords"]] == [gone]
    assert gone not in org.http.get(f"{DATA}/sobjects/Lead/updated/", params=span).json()["ids"]
