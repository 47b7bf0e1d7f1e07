"""Manners toward a server: requests in a minute and at once, over all workers, and the pauses that it asks for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_connectors.http import IN_TURN, UNTHROTTLED, OfProcess, Throttle, ThrottledConfig, guarded_client
from fieldline_core.errors import Paced, StoreUnavailable, Unavailable

LASTS_S = 30.0


class Clock:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.25
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Moves on."""
        self.slept.append(seconds)
        self.now += seconds


def workers(count: int, clock: Clock, **settings: int) -> list[Throttle]:
    """So many workers of one connection."""
    shared = OfProcess()
    made = [
        Throttle(ThrottledConfig(**settings, total_timeout_s=LASTS_S), "https://ehr/fhir", lambda: clock.now, clock.sleep)
        for _ in range(count)
    ]
    for each in made:
        each.shared = shared
    return made


@contextmanager
def client(throttle: Throttle, answer: Callable[[httpx.Request], httpx.Response]) -> Iterator[httpx.Client]:
    """A client behind a throttle."""
    with httpx.Client(transport=throttle.around(httpx.MockTransport(answer))) as made:
        yield made


def entered(throttle: Throttle) -> str:
    """The name of a request that may go out; empty where it may not, and there is a time to come back."""
    try:
        return throttle.enter("ehr", LASTS_S)
    except Paced as error:
        return "" if error.retry_after and not error.sent else "without a time"


Step = tuple[str, int, float]
STEPS = st.lists(st.tuples(st.sampled_from(["enter", "leave", "die", "wait"]), st.integers(0, 2), st.floats(0, 40)), max_size=60)


@given(STEPS)
def test_no_minute_has_more_requests_and_no_moment_more_at_once_than_the_settings_allow(steps: list[Step]) -> None:
    clock = Clock()
    throttles = workers(3, clock, requests_per_minute=5, max_concurrent=2)
    began: list[float] = []
    under_way: dict[str, float] = {}
    for what, which, seconds in steps:
        under_way = {name: at for name, at in under_way.items() if clock.now < at + LASTS_S}
        if what == "wait":
            clock.now += seconds
        elif what == "leave" and under_way:
            throttles[which].leave(name := min(under_way))
            del under_way[name]
        elif what == "enter":
            before = clock.now
            name = entered(throttles[which])
            assert clock.now - before <= 4, "a worker is not held for long"
            began += [clock.now] if name else []
            under_way = {each: at for each, at in under_way.items() if clock.now < at + LASTS_S} | (
                {name: clock.now} if name else {}
            )
            assert len(under_way) <= 2
    assert all(len([at for at in began if start <= at <= start + 60]) <= 5 for start in began)


def test_a_worker_that_died_keeps_its_place_no_longer_than_its_request_may_last() -> None:
    clock = Clock()
    dead, alive = workers(2, clock, max_concurrent=1)
    dead.enter("ehr", LASTS_S)
    with pytest.raises(Unavailable, match="1 requests are under way, as many as `max_concurrent` allows") as caught:
        alive.enter("ehr", LASTS_S)
    assert caught.value.retry_after == 5
    clock.now += LASTS_S + 10
    alive.enter("ehr", LASTS_S)


def test_what_was_sent_a_minute_ago_counts_no_more() -> None:
    clock = Clock()
    one, other = workers(2, clock, requests_per_minute=2)
    for each in (one, other):
        each.leave(each.enter("ehr", LASTS_S))
    with pytest.raises(Unavailable, match="2 requests were sent in the last minute") as caught:
        one.enter("ehr", LASTS_S)
    assert 60 <= (caught.value.retry_after or 0) <= 61
    clock.now += caught.value.retry_after or 0
    one.enter("ehr", LASTS_S)


@pytest.mark.parametrize(
    ("status", "headers", "wait_s"),
    [(503, {"retry-after": "7"}, 7), (429, {"ratelimit": '"requests";r=0;t=59'}, 59), (429, {"retry-after": "99999"}, 3600)],
)
def test_where_a_server_asks_one_worker_to_wait_all_do(status: int, headers: dict[str, str], wait_s: float) -> None:
    clock = Clock()
    one, other = workers(2, clock)
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(status if len(asked) == 1 else 200, headers=headers)

    with client(one, answer) as first, client(other, answer) as second:
        first.get("https://ehr/one")
        with pytest.raises(Unavailable, match="ehr: the server has asked this connection to wait") as caught:
            second.get("https://ehr/two")
        assert caught.value.retry_after == pytest.approx(wait_s)
        clock.now += wait_s - 1
        second.get("https://ehr/three")
    assert asked == ["/one", "/three"], "the last second is waited for"
    assert sum(clock.slept) <= 2


def test_an_answer_that_fails_or_is_not_read_makes_room_when_it_is_closed() -> None:
    (throttle,) = workers(1, Clock(), max_concurrent=1)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/broken":
            raise Unavailable("gone", sent=True)
        return httpx.Response(200, stream=httpx.ByteStream(b"x" * 10))

    with client(throttle, answer) as http:
        for _ in range(2):
            with pytest.raises(Unavailable, match="gone"):
                http.get("https://ehr/broken")
            with http.stream("GET", "https://ehr/left") as response:
                assert response.status_code == 200
                http.get("https://ehr/token", extensions=UNTHROTTLED)


def test_a_store_that_is_away_keeps_a_request_from_going_out_and_no_answer_from_being_known() -> None:
    (throttle,) = workers(1, Clock())
    away = StoreUnavailable("away")

    class Away(OfProcess):
        def update(self, name: str, change: object) -> bytes | None:
            raise away

    def answer(request: httpx.Request) -> httpx.Response:
        throttle.shared = Away()
        return httpx.Response(503, headers={"retry-after": "7"}, content=b"said")

    with client(throttle, answer) as http:
        assert http.get("https://ehr/one").content == b"said"
        with pytest.raises(StoreUnavailable):
            http.get("https://ehr/two")


def test_what_another_version_kept_is_forgotten() -> None:
    (throttle,) = workers(1, Clock())
    throttle.shared.update("throttle", lambda kept: b'{"sent": 3}')
    assert throttle.enter("ehr", LASTS_S)


def test_a_request_behind_others_of_its_write_waits_for_its_turn() -> None:
    clock = Clock()
    (throttle,) = workers(1, clock, requests_per_minute=2)
    with client(throttle, lambda request: httpx.Response(200)) as http:
        for _ in range(6):
            http.get("https://ehr/", extensions=IN_TURN)
        with pytest.raises(Paced):
            http.get("https://ehr/")
    assert 120 <= sum(clock.slept) <= 130


def test_a_long_download_keeps_its_place_while_it_arrives_and_loses_it_soon_where_its_worker_died() -> None:
    clock = Clock()
    one, other = workers(2, clock, max_concurrent=1)

    def chunks() -> Iterator[bytes]:
        for _ in range(30):
            clock.now += 100
            yield b"x"

    long = {"total_timeout_s": 3_600}
    with (
        client(one, lambda request: httpx.Response(200, stream=Chunks(chunks()))) as http,
        http.stream("GET", "https://ehr/file", extensions=long) as response,
    ):
        arriving = response.iter_raw()
        for _ in range(30):
            assert next(arriving)
            assert not entered(other)
        clock.now += 131
        assert entered(other)


class Chunks(httpx.SyncByteStream):
    """An answer that arrives piece by piece."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces


def test_a_host_that_only_keeps_files_for_the_server_has_nobody_else_wait() -> None:
    clock = Clock()
    (throttle,) = workers(1, clock)
    busy = httpx.Response(503, headers={"retry-after": "600"})
    with client(throttle, lambda request: busy if request.url.host == "files" else httpx.Response(200)) as http:
        assert http.get("https://files/export.ndjson").status_code == 503
        assert http.get("https://ehr:443/Patient").status_code == 200
    assert not clock.slept


@pytest.mark.parametrize(("at_once", "connections"), [(1, 20), (8, 20), (100, 101)])
def test_a_process_has_a_connection_for_each_request_that_may_go_out_at_once(at_once: int, connections: int) -> None:
    (throttle,) = workers(1, Clock(), max_concurrent=at_once)
    with guarded_client(ThrottledConfig(), connections=throttle.connections) as http:
        assert http._transport._pool._max_connections == connections  # type: ignore[attr-defined]
