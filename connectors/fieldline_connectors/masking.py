"""What other systems say of a refusal, without the values that we sent them: those name people, and errors are read by many."""

import re
from collections.abc import Collection, Iterable

MASK = "…"
_PART = re.compile(r"[^\W_]+")
_SEVERAL = re.compile(rf"{MASK}(?:[\s,.;:/-]*{MASK})+")
_MOST_VALUES = 10_000
_LEAST_WORD = 4


def without(text: str, values: Iterable[str], kept: Collection[str] = ()) -> str:
    """The text without these values and their parts, in whatever case; words in `kept` (in lower case) are no parts.

    A part is a word of at least four letters, and anything shorter that is no plain small word: a number, a short name.
    """
    known = list(dict.fromkeys(value.strip() for value in values if len(value.strip()) > 1))[:_MOST_VALUES]
    lowered = text.lower()
    for value in sorted((each for each in known if each.lower() in lowered), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", MASK, text, flags=re.IGNORECASE)
    parts = {part.lower() for value in known for part in _PART.findall(value) if _tells(part)} - set(kept)
    return joined(_PART.sub(lambda found: MASK if found[0].lower() in parts else found[0], text))


def telling(values: Iterable[str]) -> frozenset[str]:
    """The words (in lower case) of very many values that are not to be seen in a text."""
    stripped = {value.strip() for value in values}
    return frozenset(part.lower() for value in stripped for part in words_of(value) if _tells(part) or part == value)


def words_of(text: str) -> list[str]:
    """The words of a text, as they are compared."""
    return _PART.findall(text)


def joined(text: str) -> str:
    """The text in one line, with one mask where several follow each other."""
    return _SEVERAL.sub(MASK, " ".join(text.split()))


def _tells(part: str) -> bool:
    return len(part) >= _LEAST_WORD or (len(part) > 1 and not part.islower())
