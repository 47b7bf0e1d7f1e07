"""CASE and BUCKET of constants are looked up in a table: they answer as comparisons one after the other would."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_formula_text import answer, answers

TEXTS = st.sampled_from(["", "a", "b", "A", "ä"])
NUMBERS = st.sampled_from([0.0, -1.0, 0.3, 1e15 + 1, 123456789012345680.0])
OTHERWISE = st.sampled_from(["7", "n", "NULL", "1 / n"])


def listed(keys: list[str]) -> str:
    """Each key with its place."""
    return ", ".join(f"{key}, {place}" for place, key in enumerate(keys))


def reasoned(values: list[Any]) -> list[Any]:
    """Values, and the reasons of those that have none."""
    return [str(value) if isinstance(value, Exception) else value for value in values]


@given(st.lists(TEXTS, min_size=1, max_size=4), st.lists(st.none() | TEXTS, min_size=1, max_size=3), OTHERWISE)
def test_a_case_of_texts_gives_what_comparing_one_by_one_gives(keys: list[str], given: list[str | None], otherwise: str) -> None:
    rows = [{"s": value, "n": place} for place, value in enumerate(given)]
    tests = ", ".join(f'IF(s = "{key}", {place}' for place, key in enumerate(keys))
    table = answers("CASE(s, {}, {})".format(listed([f'"{key}"' for key in keys]), otherwise), rows)
    assert reasoned(table) == reasoned(answers(f"{tests}, {otherwise}{')' * len(keys)}", rows))


@given(st.lists(NUMBERS, min_size=1, max_size=4), st.lists(st.none() | NUMBERS, min_size=1, max_size=3))
def test_a_case_of_computed_numbers_gives_what_comparing_one_by_one_gives(keys: list[float], given: list[float | None]) -> None:
    rows = [{"n": value} for value in given]
    texts = [f"{key:.1f}" for key in keys]
    tests = ", ".join(f"IF(n * 3 = {key} * 3, {place}" for place, key in enumerate(texts))
    table = answers("CASE(n * 3, {}, -1)".format(listed([f"{3 * float(key):.1f}" for key in texts])), rows)
    assert reasoned(table) == reasoned(answers(f"{tests}, -1{')' * len(keys)}", rows))


@pytest.mark.parametrize(
    ("formula", "given", "value"),
    [
        ('CASE(s, "a", 1, "a", 2, 3)', {"s": "a"}, 1),
        ('CASE(s, "", 1, 3)', {}, 1),
        ("CASE(n, 0.3, 1, 2)", {"n": 0.1 + 0.2}, 2),
        ("CASE(n + 0.2, 0.3, 1, 2)", {"n": 0.1}, 1),
        ("CASE(n, 5, TRUE, FALSE)", {}, False),
        ('CASE(n, 5, "five", s)', {"n": 5}, "five"),
        ("BUCKET(n, 20, 10)", {"n": 10}, 1),
        ("BUCKET(n, 10, 20)", {}, None),
        ("BUCKET(n, 10, NULL)", {"n": 20}, None),
        ("BUCKET(n + 0.2, 0.3)", {"n": 0.1}, 1),
    ],
)
def test_what_is_looked_up(formula: str, given: dict[str, Any], value: Any) -> None:
    assert answer(formula, **given) == value
