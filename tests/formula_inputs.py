"""Formulas of every kind to read: noise, soup, broken ones, and such as are too large."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from random import Random

import polars as pl

from fieldline_core.schema import FieldType
from fieldline_mappings.formula import FUNCTIONS, Checker, FormulaError, Program, Scope, Settings
from fieldline_mappings.formula.functions import AGGREGATES
from fieldline_mappings.formula.functions.models import Table
from fieldline_mappings.formula.syntax import MAX_LENGTH

SEEDS = [
    "Amount * Probability / 100", 'IF(ISBLANK(Industry), "none", LOWER(TRIM(Industry)))', "DAYS_SINCE(CreatedDate) / 365",
    'CASE(Stage, "Open", 1, "Won", 2, "Lost", 3, 0)', 'IFS(Amount < 0, "debt", Amount = 0, "even", "credit")',
    "LOG1P(MAX(Amount, 0))",
    'AND(Active, NOT(ISBLANK(Email)), CONTAINS(Email, "@"))', "Active && !Paid || Amount > 1000", "ROUND(Amount / 3, 2) - 0.01",
    'Name & " (" & TEXT(Amount) & ")"', "SUM(Orders.Amount, Orders.Paid && Orders.At > NOW() - 90)",
    "COUNT(Orders) / MAX(1, Probability)",
    "LATEST(Orders.State, Orders.At)", "AVG(Orders.Amount) - STDDEV(Orders.Amount)", "MIN(Orders.At) < CreatedDate",
    "(Born - DATE(1970, 1, 1)) / 365.25",
    "YEAR(TODAY()) - YEAR(Born)", "ADDMONTHS(Born, 12 * 18) <= TODAY()", "MOD(Born - DATE(1900, 1, 7), 7)",
    'DATEVALUE("2024-02-29") + 1',
    'DATETIMEVALUE("2024-02-29 17:30:00") - 0.5', "HOUR(TIMEVALUE(CreatedDate)) * 60", 'VALUE(SUBSTITUTE(Phone, "-", ""))',
    "LEFT(Name, FIND(' ', Name) - 1)",
    'IFERROR(VALUE(Phone), -1)', "BLANKVALUE(Amount, 0) ^ 2", 'REGEX(Phone, "[0-9]{3}-[0-9]{4}")', 'Name LIKE "A%"',
    'LIKE(Name, "A%\\\\_")',
    'LOOKUP("risk", Industry, 0.5)', "BUCKET(Amount, 10, 100, 1000)", "CLIP(Amount, -1e3, 1000)", "ZSCORE(Amount, 120.5, 33.25)",
    "HASH_BUCKET(Email, 1024)",
    'JSONVALUE(Notes, "score")', "-Amount + -(-Probability)", "/* a comment */ Amount /* another */ + 1", "`Amount`*1",
    "NULL = Amount", "$System.OriginDateTime + 1",
    'INCLUDES(Notes, "a;b") <> ISPICKVAL(Stage, "Open")', 'LPAD(TEXT(Amount), 12, "0") & RPAD("", 3) & CHR(65) & BR()',
    "1 + 2 * 3 ^ 2 / 4 - .5",
]  # fmt: skip
WORDS = [
    *FUNCTIONS, *AGGREGATES, "Amount", "Probability", "Name", "Industry", "Stage", "Active", "Born", "CreatedDate", "Orders",
    "Orders.Amount", "Missing", "(", ")", ",",
    "(", ")", ",", "+", "-", "*", "/", "^", "&", "=", "==", "<>", "!=", "<", ">", "<=", ">=", "&&", "||", "!", "NOT", "TRUE",
    "null", "0", "1", "2.5", ".5", "1e9",
    '"a"', "'b'", '""', '"', "'", "`", "`Name`", "/*", "*/", "$", "$System.OriginDateTime", "[0]", "%", ";", "{", "“", "\\", "\n",
    "é", "\0", "\ud800", "😀",
]  # fmt: skip
CHILD = {"Amount": FieldType.NUMBER, "Paid": FieldType.BOOLEAN, "At": FieldType.DATETIME, "State": FieldType.TEXT}
SCOPE = Scope.of({
    "Amount": FieldType.NUMBER, "Probability": FieldType.INTEGER, "Name": FieldType.TEXT, "Industry": FieldType.TEXT,
    "Stage": FieldType.TEXT,
    "Email": FieldType.TEXT, "Phone": FieldType.TEXT, "Notes": FieldType.TEXT, "Active": FieldType.BOOLEAN,
    "Paid": FieldType.BOOLEAN,
    "Born": FieldType.DATE, "CreatedDate": FieldType.DATETIME, "Orders": CHILD,
})  # fmt: skip
RISK = Table("risk", ("Banking", "Mining"), (0.2, 0.7))
FRAME = pl.DataFrame({
    "Amount": [12.5, None, -1e300], "Probability": [50, None, 0], "Name": ["Ann Lee", "", None],
    "Industry": ["Banking", "x", None],
    "Stage": ["Open", "a", None], "Email": ["a@b.c", "", None], "Phone": ["555-1234", "abc", None],
    "Notes": ['{"score": 5}', "", None],
    "Active": ["true", "maybe", None], "Paid": [True, False, None], "Born": ["2000-02-29", "abc", None],
    "CreatedDate": ["2024-03-01T10:00:00Z", "", None],
    "Orders": ['[{"Amount": 5, "Paid": true, "At": "2024-01-01"}]', "abc", None],
})  # fmt: skip
"""Three records: a plain one, one that can hardly be read, and an empty one."""


def inputs(random: Random, count: int) -> Iterator[str]:
    """So many texts, most of them no formulas; one in five hundred is as large as it may be."""
    kinds: list[Callable[[Random], str]] = [_noise, _letters, _soup, _tree, _edited, _edited]
    for number in range(count):
        yield random.choice(_LARGE)(random)[:MAX_LENGTH] if number % 500 == 0 else random.choice(kinds)(random)


def read(text: str) -> tuple[Checker, int] | None:
    """The checked formula, or None where it was refused in words."""
    checker = Checker(SCOPE, {"risk": (RISK.key_type, RISK.value_type)})
    try:
        return checker, checker.check(text)
    except FormulaError as error:
        if not (error.message and 0 <= error.start <= error.end <= len(text)):
            raise
        return None


def compiled(checker: Checker, root: int) -> tuple[Program, dict[str, pl.Expr]]:
    """The program of a formula, and the expressions for its value and its error."""
    program = Program(checker.parts, FRAME.schema, Settings(tables={"risk": RISK}))
    term = program.context("the formula").settled(program.term(root))
    return program, {"value": term.value} | ({} if term.error is None else {"error": term.error})


def evaluate(checker: Checker, root: int) -> pl.DataFrame:
    """What the formula gives for the three records."""
    program, wanted = compiled(checker, root)
    return program.evaluate(program.read(FRAME, datetime(2024, 3, 1, tzinfo=UTC)), wanted)


def _noise(random: Random) -> str:
    return random.randbytes(random.randrange(40)).decode(random.choice(["latin-1", "utf-8"]), "replace")


def _letters(random: Random) -> str:
    return "".join(chr(random.choice([random.randrange(128), random.randrange(0x110000)])) for _ in range(random.randrange(20)))


def _soup(random: Random) -> str:
    return random.choice(["", " "]).join(random.choices(WORDS, k=random.randrange(1, 14)))


def _tree(random: Random, depth: int = 0) -> str:
    if depth == 3 or random.random() < 0.4:
        return random.choice(["Amount", "Name", "Active", "Born", "CreatedDate", "1", '"a"', "NULL", "Orders.Amount"])
    args = ", ".join(_tree(random, depth + 1) for _ in range(random.randrange(4)))
    if random.random() < 0.5:
        return f"{random.choice(WORDS[: len(FUNCTIONS)])}({args})"
    return f"({_tree(random, depth + 1)} {random.choice('+-*/=<&')} {args})"


def _edited(random: Random) -> str:
    text = random.choice(SEEDS)
    for _ in range(random.randrange(4)):
        place, cut = random.randrange(len(text) + 1), random.choice([0, 0, 1, 2, 8])
        put = random.choice(["", random.choice(WORDS), random.choice(SEEDS), text[: random.randrange(len(text) + 1)]])
        text = text[:place] + put + text[place + cut :]
    return text[:MAX_LENGTH]


def _nested(opened: str, inside: str, closed: str) -> Callable[[Random], str]:
    def make(random: Random) -> str:
        most = MAX_LENGTH // (len(opened) + len(closed)) if random.random() < 0.5 else 60
        count = random.randrange(1, most)
        return opened * count + inside + closed * random.choice([count, count, count - 1, 0])

    return make


def _chain(link: str, sign: str) -> Callable[[Random], str]:
    most = MAX_LENGTH // (len(link) + len(sign))
    return lambda random: sign.join(link.replace("#", str(n % 7)) for n in range(random.randrange(1, most)))


def _cases(random: Random) -> str:
    return f"CASE(Amount, {''.join(f'{n}, {n}, ' for n in range(random.randrange(1, 400)))}0)"


_LARGE: list[Callable[[Random], str]] = [
    *(_nested(*parts) for parts in [
        ("(", "1", ")"), ("ABS(", "Amount", ")"), ("IF(Active,", "1", ",2)"), ("IF(", "Active", ",Paid,Active)"),
        ("IFERROR(1/", "Amount", ",0)"), ("CASE(", "1", ",1,2,3)"),
        ("-", "Amount", ""), ("!", "Active", ""), ("BLANKVALUE(", "Amount", ",Amount)"), ("(1=", "Amount", ")"), ("/*", "", ""),
        ("\"'", "", ""), ("9", "1", ""),
        ("a", "1", ""), ("[", "1", "]"), ("CEILING(", "Amount*1", ")"), ("MOD(", "Amount", ",7)"), ("ROUND(Amount,", "1", ")"),
    ]),
    *(_chain(*parts) for parts in [
        ("Amount", "+"), ("a", "+"), ("Amount", " / "), ("Amount", "^"), ("TEXT(Amount)", " & "), ("Name", "&"),
        ("Amount>#", "&&"), ("Name='#'", "||"),
        ("SUM(Orders.Amount)", "-"), ("IFERROR(1/Amount,#)", "*"), ("1", " "), ("1", ","), ("Active", "="),
        ("LEN(LPAD(Name,#))", "+"),
    ]),
    _cases,
]  # fmt: skip
