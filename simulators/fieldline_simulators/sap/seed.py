"""What a new system has: the same number makes the same company."""

import csv
import random
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from fieldline_simulators.sap.business import ITEMS, ORDERS, PARTNERS, PLANNING, PRODUCTS, STOCK
from fieldline_simulators.sap.errors import Refused
from fieldline_simulators.sap.model import EntitySet, Row
from fieldline_simulators.sap.store import Store
from fieldline_simulators.sap.values import checked

MATERIAL = "RENTAL-BIKE"

_NAMES = ("Bergmann", "Lindqvist", "Moreau", "Kowalska", "Castelli", "O'Neill", "Nakamura", "Haddad", "Šimić", "van Dijk")
_FORMS = (("GmbH", "DE"), ("AB", "SE"), ("SA", "FR"), ("Sp. z o.o.", "PL"), ("S.p.A.", "IT"), ("Ltd", "IE"), ("B.V.", "NL"))
_TRADES = ("Cycling", "Logistics", "Mobility", "Sports", "Retail", "Tours")
_INDUSTRIES = ("0001", "0004", "0011", "TRAD", "")
_PRODUCTS = (
    (MATERIAL, "Rental bike, city", "18.4"), ("EBIKE-28", "E-bike 28 inch", "24.9"),
    ("CARGO-3W", "Cargo bike, three wheels", "38.2"),
    ("HELMET-M", "Helmet, medium", "0.31"), ("LOCK-U", "Lock, U-shaped", "1.2"), ("TYRE-28", "Tyre 28 inch", "0.65"),
    ("CHAIN-8", "Chain, 8 gears", "0.33"), ("BRAKE-D", "Disc brake", "0.41"), ("LIGHT-LED", "LED light", "0.09"),
    ("STATION-10", "Docking station for ten", "640"),
)  # fmt: skip
_MONTHS = ("Jan", "Feb", "March", "April", "May", "June", "July", "Aug", "Sept", "Oct", "Nov", "Dec")
_YEAR = 2025


def plant(store: Store, seed: int, *, partners: int, orders: int, hours: int, records: Path | None = None) -> None:
    """Fills an empty store; `records` is a CSV file with hours of the planning table, which are else invented."""
    chance = random.Random(seed)  # noqa: S311 (a company to look at)
    with store.atomic():
        for name, words, weight in _PRODUCTS:
            _put(store, PRODUCTS, Product=name, ProductDescription=words, ProductGroup=name.partition("-")[0][:9],
                 GrossWeight=Decimal(weight))  # fmt: skip
            for plant_name in ("1010", "1710"):
                quantity = Decimal(chance.randrange(0, 90_000)) / 100
                _put(store, STOCK, Material=name, Plant=plant_name, StorageLocation="101A", MaterialBaseUnit="PC",
                     MatlWrhsStkQtyInMatlBaseUnit=quantity)  # fmt: skip
        for number in range(partners):
            _partner(store, chance, number)
        for number in range(orders if partners else 0):
            _order(store, chance, number, partners)
        for row in _hours(chance, hours) if records is None else _recorded(records, hours):
            _put(store, PLANNING, **row)


def _put(store: Store, entity_set: EntitySet, **values: Any) -> None:
    store.put(entity_set, {each.name: each.initial for each in entity_set.properties} | _fitted(entity_set, values))


def _fitted(entity_set: EntitySet, values: Row) -> Row:
    return {name: checked(entity_set.by_name[name], value) for name, value in values.items()}


def _partner(store: Store, chance: random.Random, number: int) -> None:
    form, country = _FORMS[number % len(_FORMS)]
    name = f"{chance.choice(_NAMES)} {chance.choice(_TRADES)} {form}"
    _put(store, PARTNERS, BusinessPartner=str(10_100_001 + number).zfill(10), BusinessPartnerFullName=name, Country=country,
         Industry=chance.choice(_INDUSTRIES), BPExternalID=f"CRM-{number:05}", CreditLimit=Decimal(chance.randrange(1, 500)) * 1000,
         BusinessPartnerIsBlocked=chance.random() < 0.05,
         CreationDate=date(_YEAR, 1, 1) - timedelta(days=chance.randrange(3_000)))  # fmt: skip


def _order(store: Store, chance: random.Random, number: int, partners: int) -> None:
    order, total = str(number + 1).zfill(10), Decimal(0)
    for item in range(chance.randrange(1, 5)):
        quantity, price = chance.randrange(1, 40), Decimal(chance.randrange(500, 250_000)) / 100
        total += quantity * price
        _put(store, ITEMS, SalesOrder=order, SalesOrderItem=str(10 * (item + 1)), Material=chance.choice(_PRODUCTS)[0],
             RequestedQuantity=Decimal(quantity), RequestedQuantityUnit="PC", NetAmount=quantity * price,
             TransactionCurrency="EUR")  # fmt: skip
    _put(store, ORDERS, SalesOrder=order, SoldToParty=str(10_100_001 + chance.randrange(partners)).zfill(10),
         SalesOrderDate=date(_YEAR, 1, 1) + timedelta(days=chance.randrange(365)), TotalNetAmount=total, TransactionCurrency="EUR",
         CreationTime=time(chance.randrange(6, 20), chance.randrange(60)), PurchaseOrderByCustomer=f"PO {number:06}",
         OverallSDProcessStatus=chance.choice("AABBC"))  # fmt: skip


def _hours(chance: random.Random, count: int) -> list[Row]:
    found = []
    for number in range(count):
        moment = datetime(_YEAR, 1, 1) + timedelta(hours=number)  # noqa: DTZ001 (local time, as a planner sees it)
        warmth = Decimal(chance.randrange(1500, 8500)) / 10_000
        found.append({
            "Material": MATERIAL, "Day": moment.timetuple().tm_yday, "hr": moment.hour, "mnth": _MONTHS[moment.month - 1],
            "season": moment.month % 12 // 3 + 1, "holiday": (moment.month, moment.day) in ((1, 1), (12, 25)),
            "weekday": moment.isoweekday() % 7, "weathersit": chance.choice(("clear", "clear", "cloudy/misty", "light rain/snow")),
            "temp": warmth, "atemp": warmth, "hum": Decimal(chance.randrange(3000, 9500)) / 10_000,
            "windspeed": Decimal(chance.randrange(0, 5000)) / 10_000,
        })  # fmt: skip
    return found


def _recorded(file: Path, count: int) -> list[Row]:
    """The first hours of a file whose columns have the names of the properties."""
    with file.open(newline="") as lines:
        try:
            return [_fitted(PLANNING, _hour(line)) for line, _ in zip(csv.DictReader(lines), range(count), strict=False)]
        except (KeyError, ValueError, ArithmeticError, Refused) as error:
            raise ValueError(f"{file} does not hold hours of the planning table: {error}") from None


def _hour(line: dict[str, str]) -> Row:
    return {
        "Material": MATERIAL, "Day": int(line["day"]), "hr": int(line["hr"]), "mnth": line["mnth"], "season": int(line["season"]),
        "holiday": line["holiday"] == "1", "weekday": int(line["weekday"]), "weathersit": line["weathersit"],
        **{name: Decimal(line[name]) for name in ("temp", "atemp", "hum", "windspeed")},
    }  # fmt: skip
