"""Nonsense is refused by the simulated SAP system: no request is its own fault (500), and none leaves half a change."""

import base64
from collections.abc import Iterator

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldline_simulators import sap

V2, V4 = sap.V2_ROOT, sap.V4_ROOT
NAMES = [
    "A_BusinessPartner",
    "A_SalesOrder",
    "A_SalesOrderItem",
    "Z_MaterialPlanningHour",
    "Z_IDocStatus",
    "$batch",
    "$metadata",
    "No",
]
PREDICATES = [
    "", "()", "('0010100001')", "('x''y')", "(", "(1)", "(Material='a',Day=1,hr=2)", "(Material='RENTAL-BIKE',Day=1,hr=3)",
    "(hr=1)",
    "(BPExternalID='CRM-00001')", "(BusinessPartner=null)", "(guid'0')", "('a','b')", "(SalesOrder='1',SalesOrder='1')", "('%ff')",
]  # fmt: skip
TAILS = [
    "",
    "/$count",
    "/$value",
    "/to_Item",
    "/to_Item('1')",
    "/Country",
    "/Country/$value",
    "/$links/to_Item",
    "//",
    "/to_SalesOrder/$count",
]
WORDS = [
    "eq", "ne", "gt", "and", "or", "not", "(", ")", ",", "in", "add", "div", "mod", "-", "1", "0", "1.5M", "1e999", "'a'", "'",
    "null", "true",
    "datetime'2024-01-01T00:00:00'", "datetime'2024-13-01'", "2024-02-30", "2024-02-29T00:00:00Z", "25:00", "guid'x'",
    "Country", "CreditLimit",
    "BusinessPartnerIsBlocked", "CreationDate", "LastChangeDateTime", "to_SalesOrder", "to_SoldToParty/Country", "Day", "hr",
    "temp", "Material",
    "substringof(", "contains(", "startswith(", "year(", "length(", "round(", "concat(", "any(", "Content", "desc", "\u00e9",
    "%", "x'0'",
]  # fmt: skip
OPTIONS = [
    "$filter", "$orderby", "$select", "$expand", "$top", "$skip", "$skiptoken", "$count", "$inlinecount", "$format", "$search",
    "$deltatoken",
    "!deltatoken", "$apply", "sap-client", "plain",
]  # fmt: skip
EXPANSIONS = [
    "to_Item",
    "to_Item/to_Product",
    "to_Item($select=Material)",
    "to_Item($filter=",
    "to_Item(($top=1))",
    "*",
    "a/b/c/d/e/f/g",
    "D1",
    "D99",
    "-1",
]

sentences = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
values = st.one_of(sentences, st.sampled_from(EXPANSIONS), st.integers().map(str), st.text(max_size=8))
queries = st.lists(st.tuples(st.sampled_from(OPTIONS), values), max_size=4).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
)
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(allow_nan=False), st.sampled_from(WORDS), st.text(max_size=9)
)
keys = st.sampled_from(
    ["Country", "CreditLimit", "to_Item", "SalesOrder", "Material", "requests", "id", "method", "url", "body", "CreationDate"]
)
documents = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)
parts = st.lists(
    st.sampled_from([
        "--b", "--b--", "--c", "--c--", "", "Content-Type: application/http", "Content-Type: multipart/mixed; boundary=c",
        "Content-ID: 1",
        "GET A_Product HTTP/1.1", "PATCH $1 HTTP/1.1", "MERGE A_BusinessPartner('0010100001') HTTP/1.1",
        "POST $batch HTTP/1.1", "If-Match: *",
        "Content-Type: application/json", '{"Country": "DE"}', "GET", "{", "\x00", "GET A_Product?$filter=( HTTP/1.1",
    ]), max_size=16,
).map("\r\n".join)  # fmt: skip
bodies = st.one_of(documents.map(orjson.dumps), parts.map(str.encode), st.binary(max_size=40))
kinds = st.sampled_from([
    "application/json", "multipart/mixed; boundary=b", "multipart/mixed", 'multipart/mixed; boundary="', "text/plain",
    "application/xml", "",
])  # fmt: skip


@pytest.fixture(scope="module")
def system() -> Iterator[sap.System]:
    made = sap.open_system(sap.Options(partners=3, orders=3, hours=8))
    yield made
    made.close()


@settings(max_examples=120, deadline=None)
@given(
    method=st.sampled_from(["GET", "GET", "HEAD", "POST", "PATCH", "PUT", "MERGE", "DELETE", "BREW"]),
    root=st.sampled_from([V2, V4, "/sap/bc/idoc_xml/", "/sap/x/"]),
    path=st.tuples(st.sampled_from(NAMES), st.sampled_from(PREDICATES), st.sampled_from(TAILS)).map("".join), query=queries,
    kind=kinds, body=bodies, accept=st.sampled_from(["application/json", "application/xml", "text/html", ""]),
    prefer=st.sampled_from(["", "odata.maxpagesize=2,odata.track-changes", "odata.continue-on-error", "return=minimal", ";=,"]),
    match=st.sampled_from([None, "*", '"x"', ""]),
)  # fmt: skip
def test_nonsense_gets_a_refusal_and_never_a_500(
    system: sap.System,
    method: str,
    root: str,
    path: str,
    query: str,
    kind: str,
    body: bytes,
    accept: str,
    prefer: str,
    match: str | None,
) -> None:
    login = "Basic " + base64.b64encode(f"{sap.USER}:{sap.PASSWORD}".encode()).decode()
    token, cookies = system.sessions.fetch({})
    headers = {
        "authorization": login, "x-csrf-token": token, "content-type": kind, "accept": accept, "prefer": prefer,
        "cookie": "; ".join(cookie.partition(";")[0] for cookie in cookies), **({} if match is None else {"if-match": match}),
    }  # fmt: skip
    answer = system.answer(method, f"{root}{path}?{query}", headers, body, "http://localhost")
    assert answer.status < 500, answer.body
    if answer.status >= 400 and accept == "application/json" and "json" in answer.headers["Content-Type"]:
        assert orjson.loads(answer.body)["error"]["code"]
    assert system.store._pending is None


@settings(max_examples=50, deadline=None)
@given(
    method=st.sampled_from(["GET", "PUT", "PATCH", "DELETE", "POST"]),
    path=st.sampled_from(["/_sim/status", "/_sim/faults", "/_sim/idocs/1", "/_sim/records/A_Product", "/_sim/", "/x", "/%ff"]),
    query=queries,
    body=bodies | st.lists(st.dictionaries(st.sampled_from(["kind", "nth", "rate", "path"]), leaves), max_size=2).map(orjson.dumps),
)  # fmt: skip
def test_its_own_orders_refuse_nonsense_too(system: sap.System, method: str, path: str, query: str, body: bytes) -> None:
    from fieldline_simulators.sap.admin import answer

    assert answer(system, method, f"{path}?{query}", body).status < 500
    system.faults.set([])
