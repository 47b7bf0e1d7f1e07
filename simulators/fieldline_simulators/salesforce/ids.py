"""Record ids: a prefix of the object, a counter, and for eighteen characters a checksum of the letters' case."""

from functools import lru_cache

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECKS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_INSTANCE = "5g0"


def make_id(prefix: str, number: int) -> str:
    """The id of the object's n-th record; ids sort as they were given out."""
    letters = ""
    for _ in range(9):
        number, rest = divmod(number, 62)
        letters = _DIGITS[rest] + letters
    return full_id(f"{prefix}{_INSTANCE}{letters}")


@lru_cache(maxsize=1 << 16)
def full_id(text: str) -> str:
    """An id of fifteen or eighteen characters as one of eighteen."""
    base = text[:15]
    return base + "".join(_CHECKS[sum(letter.isupper() << at for at, letter in enumerate(base[i : i + 5]))] for i in (0, 5, 10))


def is_id(text: object) -> bool:
    """Whether this has the form of an id."""
    return isinstance(text, str) and len(text) in (15, 18) and text.isascii() and text.isalnum()
