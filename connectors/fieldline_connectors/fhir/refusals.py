"""Why a server refused a write, in one sentence that holds nothing of a person.

Codes and expressions speak of the form of a resource. Free words may name people, so they are told only where they look like a
sentence of the server's own: no digits, no quotes, no capital inside, no word of what was sent.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from fieldline_connectors.fhir.wire import codes_of, issues_of, places_of

_PLAIN = re.compile(r"[A-Za-z][a-z]*([ ,;:.()-]+[a-z]+)*[.!]?")
_WORD = re.compile(r"\w{4,}")
_LONGEST = 200
_LEAST = 3


def sentence(body: bytes, status: int, values: Collection[str] = ()) -> str:
    """The issues of an OperationOutcome as one sentence: words, places, codes, status."""
    issues = issues_of(body)
    words = [text for issue in issues for text in _words(issue) if _tellable(text, values)]
    kinds = [str(issue.get("code", ""))[:40] for issue in issues]
    places = [place for issue in issues for place in places_of(issue)]
    safe = [each for each in (*places, *kinds, *sorted(codes_of(issues))) if each and _names_no_value(each, values)]
    codes = " ".join(dict.fromkeys((str(status), *safe)))
    return f"{'; '.join(dict.fromkeys(words)) or 'it gives no reason that can be shown'} [{codes}]"


def _words(issue: Mapping[str, Any]) -> Iterator[str]:
    details = issue.get("details")
    for text in (details.get("text") if isinstance(details, dict) else None, issue.get("diagnostics")):
        if isinstance(text, str):
            yield " ".join(text.split()).strip(" .")


def _tellable(text: str, values: Collection[str]) -> bool:
    sent = {word for value in values for word in _WORD.findall(value.lower())}
    return len(text) <= _LONGEST and bool(_PLAIN.fullmatch(text)) and sent.isdisjoint(_WORD.findall(text.lower()))


def _names_no_value(text: str, values: Collection[str]) -> bool:
    lower = text.lower()
    return not any(len(value) > _LEAST and value.lower() in lower for value in values)
