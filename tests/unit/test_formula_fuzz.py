"""Whatever is written as a formula is read, or refused in words."""

from random import Random

from tests.formula_inputs import evaluate, inputs, read


def test_twenty_thousand_inputs_are_formulas_or_refused_and_nothing_else() -> None:
    formulas = 0
    for text in inputs(Random(1), 20_000):
        if found := read(text):
            formulas += 1
            if formulas % 10 == 0:
                assert evaluate(*found).height == 3
    assert formulas > 1000
