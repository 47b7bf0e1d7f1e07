"""The integration specification of a flow: complete, the same in every format, and without secrets and records."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fieldline_connectors.odbc import Odbc
from fieldline_connectors.webhook import Webhook
from fieldline_core.flow import Connection, Flow, ModelPin, Release
from fieldline_core.settings import Settings
from fieldline_core.signature import Signature, Tensor
from fieldline_mappings import MappingDocument, compile_mapping
from fieldline_server.specification import Running, Specification, specify
from fieldline_server.specification_pages import FORMATS, sections

SIGNATURE = Signature(
    inputs=(Tensor(name="x", dtype="float32", shape=(None, 4)),), outputs=(Tensor(name="p", dtype="float32", shape=(None, 1)),)
)
MAPPING = MappingDocument.model_validate(
    {
        "mapping": "leads",
        "timezone": "Europe/Berlin",
        "record": {"Created": "date", "Industry": "text", "Orders": {"Amount": "number"}},
        "tables": {"sectors": {"SECRET-SECTOR": 1, "Energy": 2}},
        "features": [
            {"name": "age", "formula": "DAYS_SINCE(Created)", "label": "Age | <b>days</b>", "clip": [0, 90], "if_blank": 0},
            {"name": "orders", "formula": "COUNT(Orders, Amount > 3)", "check": {"at_most": 99}},
            {"field": "Source", "type": "text", "categories": ["Web", "Fair"], "if_unknown": "other"},
        ],
        "fields": [{"name": "score", "formula": "ROUND(p * 100)"}, {"name": "sector", "formula": 'LOOKUP("sectors", Industry)'}],
        "tests": [{"name": "golden", "record": {"Industry": "JANE DOE"}}],
    }
)
FLOW = Flow.model_validate(
    {
        "flow": "leads",
        "trigger": {"webhook": "hooks", "key": "data.id"},
        "source": {"connection": "crm", "query": {"table": "sales.lead", "key": "id"}},
        "lookups": [{"name": "Orders", "connection": "crm", "query": {"table": "orders", "key": "lead_id"}, "by": "Number"}],
        "mapping": "leads",
        "models": ["churn"],
        "writes": [
            {"name": "answer", "connection": "crm", "target": {"table": "lead", "key": "id", "fields": {"Score": "score"}}},
            {"name": "tell", "connection": "hooks", "target": {"fields": {"rating": "score", "sector": "sector"}}},
        ],
        "guards": {"max_changed_per_hour": 5000},
    }
)
CONNECTIONS: dict[str, tuple[Any, dict[str, Any]]] = {
    "crm": (Odbc, {"dsn": "crm", "user": "fieldline", "password": {"secret": "env:CRM_PASSWORD"}}),
    "hooks": (
        Webhook,
        {
            "inbound": {"scheme": "github", "secrets": [{"secret": "store:first"}, {"secret": "store:second"}]},
            "url": "https://hidden.example/answers",
            "signing_secrets": [{"secret": "file:/run/secrets/signing"}],
        },
    ),
}


@pytest.fixture(scope="module")
def spec() -> Specification:
    pin = ModelPin("churn", 3, "sha256:abc", "cpu")
    known = {
        name: (
            Connection(connection=name, connector=kind.name, settings=settings),
            kind.Config.model_validate(settings),
            "About it.",
        )
        for name, (kind, settings) in CONNECTIONS.items()
    }
    running = Running(
        Release(1, 1, "f" * 64, FLOW, "a" * 64, (pin,)), compile_mapping(MAPPING, SIGNATURE), SIGNATURE, known,
        {"answer": None, "tell": "none"}.get, Settings(data_directory=Path("/nowhere")),
    )  # fmt: skip
    return specify(running, datetime(2026, 1, 2, tzinfo=UTC))


def test_each_field_that_is_read_says_who_needs_it(spec: Specification) -> None:
    assert {each.field: (each.type, each.features, each.fields) for each in spec.fields_read} == {
        "Created": ("date", ["age"], ["score"]),
        "Industry": ("text", [], ["sector"]),
        "Orders.Amount": ("number", ["orders"], ["score"]),
        "Source": ("text", ["Source"], ["score"]),
    }


def test_systems_have_their_roles_and_how_they_are_entered(spec: Specification) -> None:
    crm, hooks = spec.systems
    assert crm.roles == ["records are read", "rows of Orders are read", "step answer is written"]
    assert hooks.roles == ["sends signed messages", "step tell is written"]
    assert [(each.setting, each.way, each.kept_in) for each in crm.access] == [("password", "", "environment variable")]
    assert [(each.setting, each.way, each.kept_in) for each in hooks.access] == [
        ("inbound.secrets", "github", "Fieldline's store, encrypted"), ("signing_secrets", "", "file"),
    ]  # fmt: skip


def test_features_fill_inputs_and_fields_go_to_targets(spec: Specification) -> None:
    assert spec.inputs[0].columns == ["age", "orders", "Source=Web", "Source=Fair"]
    assert {each.name: each.goes_to for each in spec.fields_written} == {
        "score": ["answer.Score", "tell.rating"],
        "sector": ["tell.sector"],
    }
    assert [(each.name, each.entity, each.dedupe) for each in spec.writes] == [("answer", "lead", None), ("tell", "", "none")]
    assert (spec.source and spec.source.entity, spec.lookups[0].entity, spec.lookups[0].by) == ("sales.lead", "orders", "Number")


def test_the_rules_of_features_are_told_in_words(spec: Specification) -> None:
    age, orders, source = spec.features
    assert (age.if_blank, age.clip, orders.check) == ("it is taken as 0", "between 0 and 90", "at most 99")
    assert (source.encoding, source.if_unknown) == ("onehot", "it counts as none of them")


def test_a_table_is_named_by_its_digest(spec: Specification) -> None:
    assert [(each.name, each.rows, len(each.digest)) for each in spec.tables] == [("sectors", 2, 64)]


@pytest.mark.parametrize("form", FORMATS)
def test_no_format_holds_a_secret_an_address_a_row_of_a_table_or_a_record(spec: Specification, form: str) -> None:
    text = FORMATS[form](spec)
    for hidden in ("CRM_PASSWORD", "store:first", "/run/secrets", "hidden.example", "SECRET-SECTOR", "JANE DOE"):
        assert hidden not in text


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_says_the_same(spec: Specification, form: str) -> None:
    text = FORMATS[form](spec)
    said = ["DAYS_SINCE(Created)", "ROUND(p * 100)", "data.id", "Europe/Berlin", "f" * 64, "a" * 64, "sha256:abc", "lead_id"]
    assert [words for words in said if words not in text] == []


def test_json_is_the_structure_itself(spec: Specification) -> None:
    assert Specification.model_validate_json(FORMATS["json"](spec)) == spec


def test_a_label_means_nothing_to_html_and_markdown(spec: Specification) -> None:
    assert "Age | &lt;b&gt;days&lt;/b&gt;" in FORMATS["html"](spec)
    assert r"Age \| \<b\>days\</b\>" in FORMATS["markdown"](spec)


def test_every_row_of_the_markdown_has_the_cells_of_its_table(spec: Specification) -> None:
    lines = FORMATS["markdown"](spec).splitlines()
    widths = [line.replace(r"\|", "").count("|") for line in lines if line.startswith("|")]
    expected = [len(each.columns) + 1 for each in sections(spec) if each.rows for _ in range(len(each.rows) + 2)]
    assert widths == expected


def test_backticks_in_a_formula_stay_within_its_code(spec: Specification) -> None:
    field = spec.fields_written[0].model_copy(update={"formula": 'IF(x, "`", "a|b")'})
    text = FORMATS["markdown"](spec.model_copy(update={"fields_written": [field]}))
    assert r'`` IF(x, "`", "a\|b") ``' in text
