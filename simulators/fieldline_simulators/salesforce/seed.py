"""A sales department's records: the same for the same seed and day, and related so that a model can learn who buys.

Whether a lead converts depends on its industry, source, revenue and title, and on what was done with it (tasks) and by it
(web visits). Leads that are old enough have been decided; the others are open.
"""

import math
import random
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any

from fieldline_simulators.salesforce.objects import INDUSTRIES, SOURCES, STAGES
from fieldline_simulators.salesforce.org import Org, Rule
from fieldline_simulators.salesforce.schema import Row
from fieldline_simulators.salesforce.sessions import App
from fieldline_simulators.salesforce.values import timestamp

ADMINISTRATOR, INTEGRATION, RESTRICTED = "admin@simulator.example", "integration@simulator.example", "restricted@simulator.example"
CLIENT_ID, CLIENT_SECRET = "fieldline-simulator", "simulated-secret"
_REPS = ("Ava Lindt", "Ben Okafor", "Clara Moreau", "Deniz Arslan", "Emil Sandberg")

_FIRST = (
    "Anna Boris Chen Dora Elif Felix Grace Hugo Ines Jonas Kira Liam Mara Nils Olga Pedro Rosa Sven Tara Uma Viktor Wanda Yusuf Zoe"
)
_LAST = (
    "Abel Brandt Costa Diaz Evans Fischer Garcia Huber Ito Jensen Kim Lopez Meyer Novak Olsen Peters Rossi Silva Tan Vogel Weber"
)
_COMPANY = "Alpine Cobalt Delta Ember Falcon Granite Harbor Iris Juniper Keystone Lumen Meridian Nordic Orbit Pioneer Quartz Summit"
_TRADE = "Foods Systems Medical Capital Stores Builders Power Academy Robotics Logistics Textiles Optics"
_SUFFIX = "GmbH Ltd Inc SA AB Co"
_PLACES = (("Berlin", "BE", "Germany"), ("Lyon", "ARA", "France"), ("Leeds", "ENG", "United Kingdom"),
           ("Austin", "TX", "United States"),
           ("Porto", "13", "Portugal"), ("Malmo", "M", "Sweden"), ("Osaka", "27", "Japan"))  # fmt: skip
_INTERESTS = ("Robots", "Sensors", "Software", "Service")
_TITLES = {
    "CEO": 0.6,
    "Head of Operations": 0.5,
    "Plant Manager": 0.4,
    "Buyer": 0.1,
    "Engineer": -0.1,
    "Analyst": -0.3,
    "Student": -1.5,
}
_INDUSTRY = dict(zip(INDUSTRIES.split("|"), (0.5, 0.8, 0.3, 0.2, -0.5, -0.2, 0.0, -0.8), strict=True))
_SOURCE = dict(zip(SOURCES.split("|"), (0.2, 0.3, 1.1, -1.2, 0.4, -0.2), strict=True))


@dataclass(slots=True)
class _Garden:
    org: Org
    chance: random.Random
    midnight: datetime
    users: list[str] = field(default_factory=list)
    accounts: list[Row] = field(default_factory=list)

    def put(self, name: str, days_ago: float, values: dict[str, Any], owner: str = "") -> Row:
        """Plants one record as if it had been created some days ago."""
        table = self.org.tables[name]
        kind = table.kind
        at = timestamp(self.midnight - timedelta(days=days_ago))
        by = owner or (self.users[0] if self.users else None)
        row = kind.blank()
        row |= {"Id": self.org.next_id(kind.prefix), "CreatedDate": at, "LastModifiedDate": at, "SystemModstamp": at}
        row |= {"CreatedById": by, "LastModifiedById": by} | ({"OwnerId": by} if "OwnerId" in kind.fields else {}) | values
        for each in kind.formulas():
            row[each.name] = each.formula(row) if each.formula else None
        table.put(row)
        return row

    def word(self, words: str) -> str:
        """One of these words."""
        return self.chance.choice(words.split())

    def company(self) -> str:
        """A company's name."""
        return f"{self.word(_COMPANY)} {self.word(_TRADE)} {self.word(_SUFFIX)}"

    def maybe(self, share: float, value: Any) -> Any:
        """The value, or nothing for the rest."""
        return value if self.chance.random() < share else None

    def rep(self) -> str:
        """One of the sales people."""
        return self.chance.choice(self.users[3:])

    def when(self, day: float) -> str:
        """A date so many days ago."""
        return (self.midnight - timedelta(days=day)).date().isoformat()


def plant(org: Org) -> None:
    """Fills a new org."""
    midnight = datetime.combine(org.now().date(), time(), org.now().tzinfo)
    garden = _Garden(org, random.Random(org.options.seed), midnight)  # noqa: S311
    with org.lock:
        _people(garden)
        for _ in range((org.options.leads + 5) // 6):
            _account(garden)
        for _ in range(org.options.leads):
            _lead(garden)
        org.rules = [
            Rule("Lead", "AnnualRevenue < 0", "Annual Revenue cannot be negative.", "AnnualRevenue"),
            Rule(
                "Lead",
                "Fieldline_Score__c < 0 OR Fieldline_Score__c > 100",
                "A score lies between 0 and 100.",
                "Fieldline_Score__c",
            ),
            Rule("Opportunity", "Amount < 0", "Amount cannot be negative.", "Amount"),
        ]
        org.apps[CLIENT_ID] = App(CLIENT_ID, CLIENT_SECRET, run_as=INTEGRATION)
        org.save(records=[(row["Id"], name, row) for name, table in org.tables.items() for row in table.rows.values()])


def _people(garden: _Garden) -> None:
    org = garden.org
    org.tables["Organization"].put({
        **dict.fromkeys(org.tables["Organization"].kind.fields), "Id": org.org_id, "IsDeleted": False,
        "Name": "Fieldline Simulator", "InstanceName": "SIM1", "IsSandbox": False, "OrganizationType": "Enterprise Edition",
        "DefaultLocaleSidKey": "en_US", "TimeZoneSidKey": "Europe/Berlin",
    })  # fmt: skip
    known = [(ADMINISTRATOR, "System Administrator"), (INTEGRATION, "Integration User"), (RESTRICTED, "Restricted User")]
    reps = [(f"{name.split()[0].lower()}@simulator.example", name) for name in _REPS]
    for username, name in known + reps:
        first, last = name.split()
        values = {"Username": username, "FirstName": first, "LastName": last, "Alias": first[:8].lower(), "Email": username}
        garden.users.append(garden.put("User", 700, values)["Id"])
    rights = org.actor(garden.users[2]).access
    rights.set("Lead.Fieldline_Reason__c", "hidden")
    rights.set("Lead.Fieldline_Tier__c", "read")
    rights.set("Lead.AnnualRevenue", "read")


def _account(garden: _Garden) -> None:
    chance, owner, age = garden.chance, garden.rep(), garden.chance.uniform(30, 600)
    industry, revenue = chance.choice(list(_INDUSTRY)), round(math.exp(chance.gauss(15.5, 1.2)), -3)
    place = chance.choice(_PLACES)
    account = garden.put("Account", age, {
        "Name": garden.company(), "Type": chance.choice(("Prospect", "Customer", "Customer", "Partner")), "Industry": industry,
        "AnnualRevenue": garden.maybe(0.9, revenue), "NumberOfEmployees": garden.maybe(0.85, max(3, int(revenue / 140_000))),
        "BillingCity": place[0], "BillingCountry": place[2], "AccountNumber": f"A-{len(garden.accounts) + 10000}",
    }, owner)  # fmt: skip
    garden.accounts.append(account)
    for _ in range(chance.randint(1, 3)):
        _contact(garden, account, owner, age)
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        _opportunity(garden, account, owner, min(age, chance.uniform(1, 300)), revenue)


def _contact(garden: _Garden, account: Row, owner: str, age: float) -> None:
    first, last = garden.word(_FIRST), garden.word(_LAST)
    values = {"AccountId": account["Id"], "FirstName": first, "LastName": last, "Title": garden.chance.choice(list(_TITLES)),
              "Email": garden.maybe(0.9, f"{first}.{last}@{_domain(account['Name'])}".lower())}  # fmt: skip
    garden.put("Contact", age, values, owner)


def _domain(company: str) -> str:
    return "".join(company.lower().split()[:2]) + ".example"


def _opportunity(garden: _Garden, account: Row, owner: str, age: float, revenue: float) -> None:
    chance = garden.chance
    closed = age > 90
    won = chance.random() < 1 / (1 + math.exp(-_INDUSTRY[account["Industry"]] + 0.2))
    stage = ("Closed Won" if won else "Closed Lost") if closed else chance.choice(STAGES.split("|")[:5])
    made = garden.put("Opportunity", age, {
        "AccountId": account["Id"],
        "Name": f"{account['Name'].split()[0]} - {chance.choice(('Line 1', 'Retrofit', 'Service', 'Pilot'))}",
        "StageName": stage, "Amount": round(revenue * chance.uniform(0.002, 0.02), 2), "CloseDate": garden.when(age - 90),
        "LeadSource": chance.choice(list(_SOURCE)), "Type": "New Customer",
    }, owner)  # fmt: skip
    for _ in range(chance.choice((0, 0, 1, 2))):
        _task(garden, {"WhatId": made["Id"]}, owner, age)


def _lead(garden: _Garden) -> None:
    chance, owner, age = garden.chance, garden.rep(), garden.chance.uniform(0, 240)
    industry, source, title = chance.choice(list(_INDUSTRY)), chance.choice(list(_SOURCE)), chance.choice(list(_TITLES))
    revenue = math.exp(chance.gauss(15, 1.3))
    tasks, visits = min(5, int(chance.expovariate(0.9))), min(4, int(chance.expovariate(1.3)))
    prices = [chance.random() < 0.3 for _ in range(visits)]
    inclined = _INDUSTRY[industry] + _SOURCE[source] + _TITLES[title] + 0.35 * (math.log(revenue) - 15)
    inclined += 0.4 * tasks + 0.25 * visits + 0.9 * any(prices) - 1.6
    converts = chance.random() < 1 / (1 + math.exp(-1.6 * inclined))
    decided = age > 90 and chance.random() < 0.6
    status = ("Closed - Converted" if converts else "Closed - Not Converted") if decided else None
    first, last, company, place = garden.word(_FIRST), garden.word(_LAST), garden.company(), chance.choice(_PLACES)
    lead = garden.put("Lead", age, {
        "FirstName": first, "LastName": last, "Company": company, "Title": garden.maybe(0.95, title), "LeadSource": source,
        "Industry": garden.maybe(0.94, industry), "AnnualRevenue": garden.maybe(0.85, round(revenue, -3)),
        "NumberOfEmployees": garden.maybe(0.8, max(1, int(revenue / 120_000 * chance.uniform(0.6, 1.6)))),
        "Email": garden.maybe(0.95, f"{first}.{last}@{_domain(company)}".lower()),
        "City": place[0], "State": place[1], "Country": place[2],
        "Phone": garden.maybe(0.7, f"+1 555 {chance.randint(0, 9999):04}"), "HasOptedOutOfEmail": chance.random() < 0.06,
        "Status": status or ("Working - Contacted" if tasks else "Open - Not Contacted"),
        "Interests__c": garden.maybe(0.4, ";".join(sorted(chance.sample(_INTERESTS, chance.randint(1, 2))))),
        "Legacy_Key__c": f"L-{chance.randint(1, garden.org.options.leads * 4)}",
        **(_converted(garden, age) if decided and converts else {}),
    }, owner)  # fmt: skip
    for _ in range(tasks):
        _task(garden, {"WhoId": lead["Id"]}, owner, age)
    for saw_prices in prices:
        _visit(garden, lead["Id"], age, saw_prices)


def _converted(garden: _Garden, age: float) -> dict[str, Any]:
    account = garden.chance.choice(garden.accounts)
    return {"IsConverted": True, "ConvertedDate": garden.when(age - 60), "ConvertedAccountId": account["Id"]}


def _task(garden: _Garden, of: dict[str, str], owner: str, age: float) -> None:
    chance, kind = garden.chance, garden.chance.choice(("Call", "Email", "Task"))
    day = chance.uniform(0, age)
    values = {"Subject": f"{kind}: {chance.choice(('first contact', 'demo', 'offer', 'follow up'))}", "TaskSubtype": kind,
              "Status": "Completed" if chance.random() < 0.8 else "Not Started", "Priority": "Normal",
              "ActivityDate": garden.when(day)}  # fmt: skip
    garden.put("Task", day, values | of, owner)


def _visit(garden: _Garden, lead_id: str, age: float, saw_prices: bool) -> None:
    chance, day = garden.chance, garden.chance.uniform(0, age)
    at = timestamp(garden.midnight - timedelta(days=day))
    values = {"Name": "Web visit", "Lead__c": lead_id, "Pages__c": float(chance.randint(1, 20)), "Visited_At__c": at,
              "Seconds__c": float(chance.randint(5, 900)), "Saw_Prices__c": saw_prices}  # fmt: skip
    garden.put("Web_Visit__c", day, values)
