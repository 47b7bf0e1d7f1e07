"""What an HTTP answer means is decided once, by its status."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_connectors.http import answer, wait_asked
from fieldline_core.errors import FieldlineError, Misconfigured, Rejected, Unavailable

REQUEST = httpx.Request("POST", "https://erp.example/customers/Smith?token=hidden")


def response(status: int, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=named, text="Smith is refused", request=REQUEST)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 207, 304])
def test_a_good_answer_is_given_back(status: int) -> None:
    assert answer(response(status)).status_code == status


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (301, Misconfigured), (302, Misconfigured), (307, Misconfigured), (401, Misconfigured), (403, Misconfigured),
        (400, Rejected), (404, Rejected), (409, Rejected), (412, Rejected), (422, Rejected), (501, Rejected),
        (408, Unavailable), (425, Unavailable), (429, Unavailable), (500, Unavailable), (502, Unavailable), (503, Unavailable),
        (504, Unavailable), (520, Unavailable), (529, Unavailable), (599, Unavailable),
    ],
)  # fmt: skip
def test_every_other_status_is_one_of_three_errors(status: int, error: type[FieldlineError]) -> None:
    with pytest.raises(error) as caught:
        answer(response(status))
    assert type(caught.value) is error


@pytest.mark.parametrize(("status", "sent"), [(429, False), (425, False), (500, True), (502, True), (503, True), (504, True)])
def test_an_error_says_whether_the_request_may_have_taken_effect(status: int, sent: bool) -> None:
    with pytest.raises(Unavailable) as caught:
        answer(response(status))
    assert caught.value.sent is sent


def test_a_server_that_names_a_time_to_come_back_has_not_begun() -> None:
    with pytest.raises(Unavailable) as caught:
        answer(response(503, retry_after="30"))
    assert (caught.value.sent, caught.value.retry_after) == (False, 30.0)


@pytest.mark.parametrize("status", [301, 400, 401, 404, 429, 500, 503, 599])
def test_messages_hold_neither_path_nor_body(status: int) -> None:
    with pytest.raises(FieldlineError, match=f"erp.example answered {status}") as caught:
        answer(response(status))
    assert not any(word in str(caught.value) for word in ("Smith", "hidden", "customers"))


@pytest.mark.parametrize(
    ("asked", "wait_s"),
    [("0", 0.0), ("120", 120.0), (" 5 ", 5.0), ("99999999999999999999", 7 * 86400.0), ("", None), ("soon", None), ("-5", None),
     ("1.5", None), ("\u0663", None)],
)  # fmt: skip
def test_retry_after_in_seconds(asked: str, wait_s: float | None) -> None:
    raw = [(b"retry-after", asked.encode())]
    assert wait_asked(httpx.Response(429, headers=raw, request=REQUEST)) == wait_s


def test_retry_after_as_a_date() -> None:
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert 3500 < (wait_asked(response(429, retry_after=in_an_hour)) or 0) <= 3600
    assert wait_asked(response(429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT")) == 0.0


@given(st.binary(max_size=40))
def test_any_retry_after_is_a_wait_or_none(asked: bytes) -> None:
    wait_s = wait_asked(httpx.Response(503, headers=[(b"retry-after", asked)], request=REQUEST))
    assert wait_s is None or 0 <= wait_s <= 7 * 86400
