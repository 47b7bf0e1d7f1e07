"""From errors by consequence to HTTP, once."""

import json

import pytest

from fieldline_connectors.bounded import TooLarge
from fieldline_connectors.webhook.schemes import Forged
from fieldline_core.errors import FieldlineError, Misconfigured, Rejected, Unavailable
from fieldline_core.pipeline.accept import Conflict
from fieldline_server.api.problems import Forbidden, NotFound, TooMany, problem_of
from fieldline_server.keys import NotRecognised


class Odd(Rejected):
    code = "odd"


class Away(Unavailable):
    code = "gone_fishing"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Rejected("no"), 422), (Odd("no"), 422), (TooLarge("no"), 413), (Forged("no"), 401), (Conflict("no"), 409),
        (Misconfigured("no"), 409), (Unavailable("no"), 503), (Away("no"), 503), (TooMany("no"), 429), (NotFound("no"), 404),
        (Forbidden("no"), 403), (NotRecognised(), 401),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, FieldlineError) else "",
)  # fmt: skip
def test_an_error_has_one_status_and_the_shape_of_a_problem(error: FieldlineError, status: int) -> None:
    answer = problem_of(error)
    said = json.loads(bytes(answer.body))
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert (said["status"], said["code"], said["detail"]) == (status, error.code, str(error))
    assert said["type"] == f"urn:fieldline:problem:{error.code}"


@pytest.mark.parametrize(("asked", "told"), [(None, "5"), (0.2, "1"), (61.5, "62")])
def test_who_may_come_again_is_told_when(asked: float | None, told: str) -> None:
    assert problem_of(Unavailable("no", retry_after=asked)).headers["retry-after"] == told


def test_who_is_not_recognised_is_told_how_to_be() -> None:
    assert problem_of(NotRecognised()).headers["www-authenticate"] == "Bearer"
