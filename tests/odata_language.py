"""What the test service understands of OData: metadata, conditions, orders, and values in V2 and V4."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

_TOKEN = re.compile(r"\s*(?:(\()|(\))|((?:datetimeoffset|datetime|guid|time)?'(?:[^']|'')*')|([^\s()]+))")
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001
BARE = "a bare number: "
"""What stands before a text that JSON is to show as a number, with all its digits."""
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: bool(a == b), "gt": lambda a, b: bool(a > b), "ge": lambda a, b: bool(a >= b),
}  # fmt: skip


@dataclass
class Kind:
    """One entity set: types of its properties (as in V4), its key, lists of child rows, and what it refuses."""

    types: dict[str, str]
    keys: tuple[str, ...] = ("ID",)
    lists: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    refusal: Callable[[dict[str, Any]], str] = lambda row: ""
    flags: dict[str, str] = field(default_factory=dict)
    alternate: str = ""


def key_of(kind: Kind, row: dict[str, Any]) -> str:
    """The key of a row, whether it came in an address or in a body."""
    return "|".join(_unquoted(str(row[name])) for name in kind.keys)


def _unquoted(text: str) -> str:
    return text[text.index("'") + 1 : -1].replace("''", "'") if text.endswith("'") and "'" in text[:-1] else text


def metadata(version: int, kinds: dict[str, Kind]) -> str:
    """The service's own description."""
    edm = "http://schemas.microsoft.com/ado/2008/09/edm" if version == 2 else "http://docs.oasis-open.org/odata/ns/edm"
    types, sets, ends = [], [], []
    for name, kind in kinds.items():
        keys = "".join(f'<PropertyRef Name="{each}"/>' for each in kind.keys)
        properties = "".join(_property(version, each, edm_type) for each, edm_type in kind.types.items())
        for each, (target, _, _) in kind.lists.items():
            if version == 4:
                properties += f'<NavigationProperty Name="{each}" Type="Collection(shop.{target}Type)"/>'
                continue
            properties += f'<NavigationProperty Name="{each}" Relationship="shop.{each}" FromRole="a" ToRole="b"/>'
            ends.append(f'<Association Name="{each}"><End Role="a" Type="shop.{name}Type" Multiplicity="1"/>'
                        f'<End Role="b" Type="shop.{target}Type" Multiplicity="*"/></Association>')  # fmt: skip
        types.append(f'<EntityType Name="{name}Type"><Key>{keys}</Key>{properties}</EntityType>')
        flags = " ".join(f'sap:{flag}="{value}"' for flag, value in kind.flags.items())
        sets.append(f'<EntitySet Name="{name}" EntityType="shop.{name}Type" {flags}/>')
    return (
        f'<edmx:Edmx Version="{"1.0" if version == 2 else "4.0"}" xmlns:edmx="urn:x"'
        ' xmlns:sap="http://www.sap.com/Protocols/SAPData">'
        f'<edmx:DataServices><Schema Namespace="shop" xmlns="{edm}">{"".join([*types, *ends])}'
        f'<EntityContainer Name="box">{"".join(sets)}</EntityContainer></Schema></edmx:DataServices></edmx:Edmx>'
    )


def _property(version: int, name: str, edm_type: str) -> str:
    edm_type, _, facets = edm_type.partition(" ")
    if version == 2:
        facets += ' sap:display-format="Date"' if edm_type == "Date" else ""
        edm_type = {"Date": "DateTime", "TimeOfDay": "Time"}.get(edm_type, edm_type)
    return f'<Property Name="{name}" Type="Edm.{edm_type}" {facets}/>'


def condition(text: str, kind: Kind) -> Callable[[dict[str, Any]], bool]:
    """Whether a row fulfils a `$filter` of comparisons, `and`, `or` and parentheses."""
    tokens = [next(part for part in found if part) for found in _TOKEN.findall(text)]

    def either() -> Callable[[dict[str, Any]], bool]:
        tests = [both()]
        while tokens and tokens[0] == "or":
            tokens.pop(0)
            tests.append(both())
        return lambda row: any(test(row) for test in tests)

    def both() -> Callable[[dict[str, Any]], bool]:
        tests = [one()]
        while tokens and tokens[0] == "and":
            tokens.pop(0)
            tests.append(one())
        return lambda row: all(test(row) for test in tests)

    def one() -> Callable[[dict[str, Any]], bool]:
        if tokens[0] == "(":
            tokens.pop(0)
            inner = either()
            tokens.pop(0)
            return inner
        name, operator, literal = tokens.pop(0), tokens.pop(0), tokens.pop(0)
        value = comparable(kind.types[name], _unquoted(literal) if literal.endswith("'") else literal.rstrip("MLdf"))
        return lambda row: row[name] is not None and _OPERATORS[operator](comparable(kind.types[name], row[name]), value)

    return either()


def comparable(edm_type: str, value: Any) -> Any:
    """A value in a form that can be compared."""
    match edm_type.partition(" ")[0]:
        case "Decimal" | "Int64" | "Int32" | "Double":
            return Decimal(str(value))
        case "DateTimeOffset":
            return datetime.fromisoformat(str(value).rstrip("Z"))
    return str(value)


def order(rows: list[dict[str, Any]], wanted: str | None, kind: Kind) -> list[dict[str, Any]]:
    """The rows in the order of `$orderby`, or of their key."""
    names = (wanted or ",".join(kind.keys)).removesuffix(" desc").split(",")
    backwards = bool(wanted) and str(wanted).endswith(" desc")
    return sorted(rows, key=lambda row: [comparable(kind.types[name], row[name]) for name in names], reverse=backwards)


def rendered(version: int, edm_type: str, value: Any) -> Any:
    """A value as the version writes it; V4 writes decimals as bare numbers unless it is asked, and this one is never."""
    kind = edm_type.partition(" ")[0]
    if value is None:
        return None
    if version == 4:
        return f"{BARE}{value}" if kind == "Decimal" else int(value) if kind == "Int64" else value
    match kind:
        case "Date" | "DateTime":
            return f"/Date({_ms(value)})/"
        case "DateTimeOffset":
            return f"/Date({_ms(value)}+0000)/"
        case "TimeOfDay":
            return f"PT{value[:2]}H{value[3:5]}M{value[6:8]}S"
        case "Decimal" | "Double" | "Int64":
            return str(value)
    return value


def _ms(text: str) -> int:
    return (datetime.fromisoformat(str(text).rstrip("Z")) - _EPOCH) // timedelta(milliseconds=1)


def parsed(version: int, kind: Kind, document: dict[str, Any]) -> dict[str, Any]:
    """A body as a row; a number where V2 wants a text is refused."""
    return {name: _parsed(version, kind.types[name].partition(" ")[0], value) for name, value in document.items()}


def _parsed(version: int, kind: str, value: Any) -> Any:
    if value is None:
        return None
    if kind in ("Decimal", "Int64") and not isinstance(value, str):
        raise ValueError(f"{kind} is written as a text, and exact")
    if version == 2 and (found := re.fullmatch(r"/Date\((-?\d+)([+-]\d+)?\)/", str(value))):
        moment = _EPOCH + timedelta(milliseconds=int(found[1]))
        return moment.date().isoformat() if kind == "Date" else f"{moment.isoformat()}Z"
    if version == 2 and kind == "Double":
        return float(value) if isinstance(value, str) else 1 / 0
    return value
