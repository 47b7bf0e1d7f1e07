"""What the reference says of formulas is what the program does: every function's example, and which operator binds tighter."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import pairwise, product
from typing import Any

import polars as pl
import pytest

from fieldline_mappings.formula import FUNCTIONS, Checker, Program, Scope, Settings, Table
from fieldline_mappings.formula.syntax import parse
from fieldline_mappings.formula.tree import Call
from fieldline_mappings.reference import PRECEDENCE

RISK = Table("risk", ("Banking", "Retail"), (0.2, 0.1))
CLOCK = datetime(2026, 1, 1, 12, tzinfo=UTC)


def answer(formula: str) -> Any:
    """What the formula gives, without any field."""
    checker = Checker(Scope(), {"risk": (RISK.key_type, RISK.value_type)})
    root = checker.check(formula)
    frame = pl.DataFrame({"row": [1]})
    program = Program(checker.parts, frame.schema, Settings(tables={"risk": RISK}))
    term = program.context(formula).settled(program.term(root))
    return program.evaluate(program.read(frame, CLOCK), {"value": term.value})["value"][0]


def words(value: Any) -> str:
    """A value as the reference writes it."""
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return f"{Decimal(f'{value:.15g}').normalize():f}"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%SZ}"
        case date():
            return value.isoformat()
        case time():
            return value.isoformat("milliseconds")
    return str(value)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_example_gives_what_the_reference_says(name: str) -> None:
    assert words(answer(FUNCTIONS[name].example)) == FUNCTIONS[name].gives


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_says_in_one_sentence_what_it_gives(name: str) -> None:
    about = FUNCTIONS[name].about
    assert about.endswith(".")
    assert about[0].isupper() or about[0].isdigit() or about.startswith("e ")


@pytest.mark.parametrize(("looser", "tighter"), [pair for one, two in pairwise(PRECEDENCE) for pair in product(one, two)])
def test_operators_bind_as_the_reference_orders_them(looser: str, tighter: str) -> None:
    for formula, inner in ((f"a {looser} b {tighter} c", 1), (f"a {tighter} b {looser} c", 0)):
        tree = parse(formula)
        assert isinstance(tree, Call)
        assert isinstance(tree.args[inner], Call), formula
        assert not isinstance(tree.args[1 - inner], Call), formula


@pytest.mark.parametrize("sign", [sign for signs in PRECEDENCE for sign in signs])
def test_a_chain_is_taken_from_left_to_right(sign: str) -> None:
    tree = parse(f"a {sign} b {sign} c")
    assert isinstance(tree, Call)
    assert isinstance(tree.args[0], Call)
