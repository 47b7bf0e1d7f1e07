"""Why a server refused something, in one sentence that holds nothing of a person: its words, places, codes and status.

Places and codes speak of the form of a resource. Free words may name people, so what we sent is left out of them, and what
stands in quotes, looks like a number, a date or an address, or is written as names are.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, get_args
from urllib.parse import parse_qsl, unquote

import httpx
import orjson

from fieldline_connectors.fhir.path.r4 import TYPES
from fieldline_connectors.fhir.target import ResourceType
from fieldline_connectors.masking import MASK, joined, without

# An apostrophe inside a word begins and ends no quotation.
_QUOTED = re.compile(r"(?<!\w)'.{0,500}?'(?!\w)|\"[^\"]*\"|“[^”]*”|`[^`]*`|«[^»]*»")
_TOKEN = re.compile(r"[^\s,;()<>{}]+")
_NUMBER = re.compile(r"\d{4}|\d[-/.:]\d|/\d|[^\W\d]\d|\d[^\W\d]|@")
_PLACE = re.compile(r"[A-Za-z/][\w./:,\[\]() -]*")
_ENDS_SENTENCE = ".:;!?"
_LONGEST_TEXT = 2_000
_LONGEST = 240
_LEAST = 3
_WORDS = """
Account AllergyIntolerance Appointment Binary Bundle CapabilityStatement CarePlan CareTeam Claim Composition Condition Consent
Coverage Device DiagnosticReport DocumentReference DomainResource Element Encounter EpisodeOfCare Goal Group Immunization List
Location Medication MedicationRequest MedicationStatement OperationOutcome Organization Parameters Patient Person Practitioner
PractitionerRole Procedure Provenance QuestionnaireResponse RelatedPerson Resource Schedule ServiceRequest Specimen
StructureDefinition Subscription ValueSet A An FHIR HTTP ICD ID JSON LOINC R4 SNOMED UCUM URI URL UUID XML
Bad Conflict Constraint Error Exception Failed Failure Forbidden Found Internal Invalid Match Missing Must No Not Precondition
Property Request Required Rule Server Status Such The This Unauthorized Unknown Unprocessable Unsupported Validation Value
"""
_KNOWN = frozenset((*_WORDS.split(), *TYPES, *get_args(ResourceType)))
"""Words with a capital that are no name of a person: those of the standard and of its servers' errors."""
_KEPT = frozenset(word.lower() for word in _KNOWN)


def sentence(body: bytes, status: int, values: Collection[str] = ()) -> str:
    """The issues of an OperationOutcome as one sentence: words, places, codes, status."""
    issues = issues_of(body)
    codes = " ".join(dict.fromkeys((str(status), *_form(issues, values))))
    return f"{_said(issues, values) or 'it gives no reason that can be shown'} [{codes}]"


def outcome(response: httpx.Response) -> tuple[set[str], str]:
    """The codes of an OperationOutcome, and the same sentence without the status; empty where it is none."""
    issues, values = issues_of(response.content), _asked(response.request)
    form = ", ".join(dict.fromkeys(_form(issues, values)))
    said = _said(issues, values)
    return codes_of(issues), f"{said} [{form}]" if said and form else said or form


def texts_in(resource: Any) -> Iterator[str]:
    """Every text and number in a resource, as a server may repeat it; names of types are none."""
    if isinstance(resource, Mapping):
        resource = resource.values()
    elif not isinstance(resource, list | tuple):
        if str(resource) not in _KNOWN:
            yield str(resource)
        return
    for each in resource:
        yield from texts_in(each)


def masked(text: str, values: Collection[str] = ()) -> str:
    """Free words of a server without what may be about a person, bounded."""
    plain = _QUOTED.sub(MASK, without(text[:_LONGEST_TEXT], values, _KEPT))
    tokens = list(_TOKEN.finditer(plain))
    hidden = [bool(_NUMBER.search(token[0])) for token in tokens]
    for index, token in enumerate(tokens):
        first = not index or tokens[index - 1][0][-1] in _ENDS_SENTENCE
        if _is_name(token[0]) and not first:
            hidden[index] = True
            # A sentence may begin with the given name.
            hidden[index - 1] |= _is_name(tokens[index - 1][0])
    parts = [MASK if hide else token[0] for token, hide in zip(tokens, hidden, strict=True)]
    return _shortened(joined(" ".join(parts)).strip(" .:;"))


def issues_of(body: bytes) -> list[dict[str, Any]]:
    """The first issues of an OperationOutcome; none where it is something else."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return []
    return [issue for issue in _list(found, "issue") if isinstance(issue, dict)][:5]


def codes_of(issues: Sequence[Mapping[str, Any]]) -> set[str]:
    """The vendor's own codes in these issues."""
    codings = [coding for issue in issues for coding in _list(issue.get("details"), "coding")]
    return {str(coding["code"])[:40] for coding in codings if isinstance(coding, dict) and "code" in coding}


def _said(issues: Sequence[Mapping[str, Any]], values: Collection[str]) -> str:
    texts = [masked(text, values) for issue in issues for text in _words(issue)]
    return _shortened("; ".join(dict.fromkeys(text for text in texts if text.strip(f"{MASK} .,:;"))))


def _words(issue: Mapping[str, Any]) -> Iterator[str]:
    details = issue.get("details")
    for text in (details.get("text") if isinstance(details, dict) else None, issue.get("diagnostics")):
        if isinstance(text, str):
            yield text


def _form(issues: Sequence[Mapping[str, Any]], values: Collection[str]) -> list[str]:
    """What the issues say of the form of a resource: places, kinds, the vendor's codes."""
    kinds = [str(issue.get("code", ""))[:40] for issue in issues]
    places = [str(place)[:80] for issue in issues for name in ("expression", "location") for place in _list(issue, name)[:3]]
    plain = [place for place in places if _PLACE.fullmatch(place) and not re.search(r"\d{4}", place)]
    return [each for each in (*plain, *kinds, *sorted(codes_of(issues))) if each and _names_no_value(each, values)]


def _is_name(word: str) -> bool:
    bare = word.strip("\"'.:!?-[]*/")
    return bare[:1].isupper() and bare.partition(".")[0] not in _KNOWN


def _asked(request: httpx.Request) -> list[str]:
    """What a request asked for: the values of its parameters, in its address or in its form, and the id at its end."""
    pairs = [*request.url.params.multi_items(), *parse_qsl(request.content.decode("utf-8", "replace"))]
    last = unquote(request.url.path).rpartition("/")[2]
    return [*(value for _, value in pairs), *([] if last in _KNOWN or last.startswith(("_", "$")) else [last])]


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST].rsplit(' ', 1)[0]} {MASK}"


def _names_no_value(text: str, values: Collection[str]) -> bool:
    lower = text.lower()
    return not any(len(value) > _LEAST and value.lower() in lower for value in values)


def _list(node: Any, name: str) -> list[Any]:
    found = node.get(name) if isinstance(node, dict) else None
    return found if isinstance(found, list) else []
