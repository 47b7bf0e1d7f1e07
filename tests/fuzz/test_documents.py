"""Long fuzzing of what people and strangers write: no crash, only findings and refusals."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fieldline_connectors.bounded import bounded_json
from fieldline_connectors.webhook import Webhook, WebhookConfig
from fieldline_core.errors import Rejected
from fieldline_core.ports import HookRequest
from fieldline_core.validation import validate
from fieldline_core.yaml_source import parse
from fieldline_mappings import MappingDocument, lint_mapping
from fieldline_server.lint import KINDS

EXAMPLES = [path.read_text() for path in (Path(__file__).resolve().parents[2] / "examples").glob("*/flow.yaml")]
LONG = settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
SOME = settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
EDITS = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 20), st.text(max_size=12)), min_size=1, max_size=4)


def edited(text: str, edits: list[tuple[int, int, str]]) -> str:
    for place, cut, put in edits:
        place %= len(text)
        text = text[:place] + put + text[place + cut :]
    return text


def check_document(text: str) -> None:
    sources, _ = parse(text, "fuzz.yaml")
    for source in sources:
        for kind in KINDS.values():
            document, findings = validate(kind, source)
            assert document is not None or findings
            if isinstance(document, MappingDocument):
                assert isinstance(lint_mapping(document), list)


def check_message(body: bytes, headers: dict[str, str]) -> None:
    hook = Webhook(WebhookConfig.model_validate({"inbound": {"scheme": "standard", "secrets": [{"secret": "env:FUZZ_SECRET"}]}}))
    with pytest.raises(Rejected):
        hook.receive(HookRequest(headers, body, datetime.now(UTC)))


def check_json(body: bytes) -> None:
    with suppress(Rejected):
        assert isinstance(bounded_json(body), dict)


DOCUMENTS = given(st.sampled_from(EXAMPLES), EDITS)
HEADERS = st.dictionaries(
    st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature", "content-encoding"]), st.text(max_size=60)
)


@SOME
@DOCUMENTS
def test_an_edited_document_gives_findings_and_no_crash(text: str, edits: list[tuple[int, int, str]]) -> None:
    check_document(edited(text, edits))


@SOME
@given(st.binary(max_size=300))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    check_json(body)


@pytest.mark.fuzz
@LONG
@DOCUMENTS
def test_many_edited_documents_give_findings_and_no_crash(text: str, edits: list[tuple[int, int, str]]) -> None:
    check_document(edited(text, edits))


@pytest.mark.fuzz
@LONG
@given(st.binary(max_size=2000))
def test_many_bodies_are_read_or_refused(body: bytes) -> None:
    check_json(body)


@pytest.mark.fuzz
@LONG
@given(st.binary(max_size=300), HEADERS)
def test_no_unsigned_message_is_ever_accepted(body: bytes, headers: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUZZ_SECRET", "whsec_" + "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=")
        check_message(body, headers)
