"""Which texts a formula can give, where it chooses among fixed ones: what a pick list is compared with."""

import pytest

from fieldline_mappings.checked import check, texts_of
from fieldline_mappings.document import MappingDocument


@pytest.mark.parametrize(
    ("formula", "texts"),
    [
        ('"A"', {"A"}),
        ('IF(a > 1, "A", IF(a > 0, "B", NULL))', {"A", "B"}),
        ('CASE(t, "x", "A", "y", "B", "C")', {"A", "B", "C"}),
        ('BLANKVALUE(IF(a > 1, "A", NULL), "B")', {"A", "B"}),
        ("t", None),
        ('IF(a > 1, "A", t)', None),
        ('IF(a > 1, "A" & t, "B")', None),
        ('CASE(t, "x", "A", t)', None),
        ("UPPER(t)", None),
    ],
)
def test_fixed_texts_are_known_and_others_are_not(formula: str, texts: set[str] | None) -> None:
    document = MappingDocument.model_validate(
        {"mapping": "m", "record": {"a": "number", "t": "text"}, "features": [{"name": "f", "formula": formula}],
         "fields": [{"name": "score", "formula": "score"}]}
    )  # fmt: skip
    checked = check(document, None)
    assert texts_of(checked, checked.features[0]) == texts
