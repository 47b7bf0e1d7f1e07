"""One token for all threads and workers of a connection, kept until shortly before its end, replaced once where it is refused."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import httpx
import pytest

from fieldline_connectors.http import OfProcess, Token, TokenAuth, Tokens, token_of
from fieldline_core.errors import Misconfigured, Unavailable


class Office:
    """Gives out tokens, counted, that last an hour by its own clock."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.given = 0

    def sign_in(self, secret: str) -> Token:
        """The next token."""
        self.given += 1
        return Token(f"{secret}-{self.given}", self.now + 3_540)


def connections(office: Office, count: int, settings: str = "s", shared: OfProcess | None = None) -> list[Tokens[Token]]:
    """The same connection in so many processes."""
    kept = shared or OfProcess()
    made = [Tokens(Token, settings, lambda: ("t",), office.sign_in, lambda: office.now) for _ in range(count)]
    for each in made:
        each.shared = kept
    return made


def at_once(count: int, ask: Callable[[int], str]) -> set[str]:
    """What so many threads get that ask at the same moment."""
    barrier = Barrier(count)

    def run(number: int) -> str:
        barrier.wait()
        return ask(number)

    with ThreadPoolExecutor(count) as threads:
        return set(threads.map(run, range(count)))


def test_all_threads_and_processes_have_one_token_and_replace_it_once() -> None:
    office = Office()
    made = connections(office, 4)
    assert at_once(16, lambda number: made[number % 4].current().access) == {"t-1"}
    refused = made[0].current()
    assert at_once(16, lambda number: made[number % 4].instead_of(refused).access) == {"t-2"}
    office.now += 3_539
    assert made[1].current().access == "t-2"
    office.now += 2
    assert at_once(16, lambda number: made[number % 4].current().access) == {"t-3"}
    assert office.given == 3


def test_a_token_of_other_settings_or_of_another_version_is_not_used() -> None:
    office, shared = Office(), OfProcess()
    assert connections(office, 1, "one", shared)[0].current().access == "t-1"
    (other,) = connections(office, 1, "two", shared)
    assert other.current().access == "t-2"
    shared.update("token", lambda kept: (kept or b"").replace(b'"access"', b'"old"'))
    assert connections(office, 1, "two", shared)[0].current().access == "t-3"


def test_a_request_is_sent_once_more_with_another_token_and_then_refused() -> None:
    office = Office()
    (tokens,) = connections(office, 1)
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return httpx.Response(200 if seen[-1].endswith("-2") and len(seen) < 3 else 401)

    with httpx.Client(transport=httpx.MockTransport(answer), auth=TokenAuth(tokens)) as client:
        assert client.get("https://ehr/").status_code == 200
        assert client.get("https://ehr/").status_code == 401
    assert seen == ["Bearer t-1", "Bearer t-2", "Bearer t-2", "Bearer t-3"]


def test_a_login_that_broke_off_has_sent_nothing_of_what_it_was_for() -> None:
    def breaks_off(secret: str) -> Token:
        raise Unavailable("login did not answer in time", 7.0, sent=True)

    tokens = Tokens(Token, "s", lambda: ("t",), breaks_off)
    for ask in (tokens.current, lambda: tokens.instead_of(Token("old", 0.0))):
        with pytest.raises(Unavailable, match="did not answer") as caught:
            ask()
        assert (caught.value.sent, caught.value.retry_after) == (False, 7.0)


@pytest.mark.parametrize(
    ("told", "lasts_s"), [(3600, 3540), ("3600", 3540), (20, 5), (1, 1), (None, 240), (True, 240), ("soon", 240), (10**12, 86340)]
)
def test_a_token_is_kept_until_shortly_before_its_end(told: object, lasts_s: float) -> None:
    response = httpx.Response(200, json={"access_token": "a", "expires_in": told}, request=httpx.Request("POST", "https://login"))
    assert token_of(response, "x", "y", lambda: 0.0) == Token("a", lasts_s)
    assert "'a'" not in repr(token_of(response, "x", "y"))


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (401, {"error": "invalid_client", "error_description": "s3cret"}, Misconfigured, r"check the id \[invalid_client\]"),
        (404, {}, Misconfigured, r"check the address \[404\]"), (200, {"access_token": ""}, Unavailable, "check the address"),
        (200, {"access_token": "ä"}, Unavailable, "check the address"), (503, {}, Unavailable, "503"),
    ],
)  # fmt: skip
def test_where_there_is_no_token_it_is_said_what_to_look_at(status: int, body: object, error: type[Exception], words: str) -> None:
    response = httpx.Response(status, json=body, request=httpx.Request("POST", "https://login"))
    with pytest.raises(error, match=words) as caught:
        token_of(response, "the id", "the address")
    assert "s3cret" not in str(caught.value)
