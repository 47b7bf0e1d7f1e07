"""What Salesforce's error codes mean, once: who has to act, and in which words; no value of a record is repeated."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import httpx
import orjson

from fieldline_connectors.http import answer, reason
from fieldline_core.errors import FieldlineError, Misconfigured, Rejected, Unavailable

_HOUR_S = 3600.0
_LISTED = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,127}")
_COLUMN = re.compile(r"(?:No such column|Field name not found|create/update fields?|relationship)\s*:?\s*'?([A-Za-z]\w*(?:\.\w+)*)")
_WORDS = re.compile(r"(?!.*\d{4})[A-Za-z][A-Za-z0-9 _.,!%-]{0,119}")


class Kind(Enum):
    """What has to happen next."""

    SETUP = auto()
    WAIT = auto()
    LOCK = auto()
    ROW = auto()


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one error code means; `{fields}` stands for the fields that Salesforce names."""

    kind: Kind
    words: str
    wait_s: float | None = None


NOT_SEEN = "does not exist, or the integration user may not see it: check the API name and the field-level security"
"""What an unknown field means; Salesforce answers the same for a hidden one."""

MEANINGS: Mapping[str, Meaning] = {
    "INVALID_FIELD": Meaning(Kind.SETUP, f"the field {{fields}} {NOT_SEEN}"),
    "INVALID_TYPE": Meaning(Kind.SETUP, "the object does not exist, or the integration user may not see it: "
                            "check its API name and the permission set"),
    "NOT_FOUND": Meaning(Kind.SETUP, "what was asked for does not exist, or the integration user may not see it: "
                         "check the API names and api_version"),
    "INVALID_FIELD_FOR_INSERT_UPDATE": Meaning(Kind.SETUP, "the integration user may not write the field {fields}: "
                                               "give it Edit access in the permission set (formulas can never be written)"),
    "MALFORMED_QUERY": Meaning(Kind.SETUP, "the SOQL is malformed: correct its WHERE or its subqueries"),
    "INVALID_QUERY_FILTER_OPERATOR": Meaning(Kind.SETUP, "a field is compared in a way that its type does not allow: "
                                             "correct the WHERE of the SOQL"),
    "API_DISABLED_FOR_ORG": Meaning(Kind.SETUP, "the API is disabled for the integration user: give it the permission "
                                    "'API Enabled', and an edition that has the API"),
    "API_CURRENTLY_DISABLED": Meaning(Kind.SETUP, "the API is disabled for the integration user: give it the permission "
                                      "'API Enabled'"),
    "INSUFFICIENT_ACCESS": Meaning(Kind.SETUP, "the integration user may not do this: give its permission set Read and Edit "
                                   "on the object"),
    "INSUFFICIENT_ACCESS_OR_READONLY": Meaning(Kind.ROW, "the integration user may not edit this record: "
                                               "check object permissions and sharing"),
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY": Meaning(Kind.ROW, "the integration user may not use a record that "
                                                             "{fields} points to: check sharing"),
    "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY": Meaning(Kind.ROW, "a trigger or flow of the org refuses it: an administrator finds "
                                                    "it in Setup > Apex Jobs or in the debug log"),
    "TXN_SECURITY_METERING_ERROR": Meaning(Kind.SETUP, "a transaction security policy of the org stopped the request: "
                                           "exempt the integration user"),
    "INVALID_SESSION_ID": Meaning(Kind.SETUP, "the org refused the session right after signing in: check the app's session "
                                  "policies and the IP ranges of the integration user"),
    "UNSUPPORTED_API_VERSION": Meaning(Kind.SETUP, "the org does not offer this api_version: choose another one"),
    "INVALIDENTITY": Meaning(Kind.SETUP, "the Bulk API does not support this object: raise bulk_read_from or bulk_write_from"),
    "API_ERROR": Meaning(Kind.SETUP, "the Bulk API cannot run this query: raise bulk_read_from, so that it is read by REST"),
    "InvalidBatch": Meaning(Kind.SETUP, f"the bulk job names a field {{fields}} that {NOT_SEEN}"),
    "ExceededQuota": Meaning(Kind.WAIT, "the org's daily bulk quota is used up", _HOUR_S),
    "LIMIT_EXCEEDED": Meaning(Kind.WAIT, "a limit of the org is used up", _HOUR_S),
    "REQUEST_LIMIT_EXCEEDED": Meaning(Kind.WAIT, "the org's daily API calls are used up", _HOUR_S),
    "SERVER_UNAVAILABLE": Meaning(Kind.WAIT, "Salesforce is unavailable"),
    "UNABLE_TO_LOCK_ROW": Meaning(Kind.LOCK, "the record is locked by another change"),
    "DUPLICATE_VALUE": Meaning(Kind.LOCK, "another record has the same value in a unique field"),
    "DUPLICATE_EXTERNAL_ID": Meaning(Kind.ROW, "several records have this external id: make the field unique"),
    "DUPLICATES_DETECTED": Meaning(Kind.ROW, "a duplicate rule refuses it: set duplicate_rules to allow, or except the integration "
                                   "user from the rule"),
    "ENTITY_IS_DELETED": Meaning(Kind.ROW, "the record was deleted"),
    "INVALID_CROSS_REFERENCE_KEY": Meaning(Kind.ROW, "there is no such record, or the integration user may not see it"),
    "MALFORMED_ID": Meaning(Kind.ROW, "the key is no Id of this object"),
    "CANNOT_UPDATE_CONVERTED_LEAD": Meaning(Kind.ROW, "the lead was converted, and converted leads cannot be changed: add "
                                            "IsConverted = false to the WHERE of the SOQL"),
    "REQUIRED_FIELD_MISSING": Meaning(Kind.ROW, "the required field {fields} is missing: map it, or set it in the org first"),
    "FIELD_CUSTOM_VALIDATION_EXCEPTION": Meaning(Kind.ROW, "a validation rule refuses it"),
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST": Meaning(Kind.ROW, "the value is not in the restricted pick list {fields}: add it "
                                                       "there, or correct the mapping"),
    "STRING_TOO_LONG": Meaning(Kind.ROW, "the text is too long for {fields}: shorten it in the mapping, or lengthen the field"),
    "NUMBER_OUTSIDE_VALID_RANGE": Meaning(Kind.ROW, "the number has too many digits for {fields}"),
    "INVALID_EMAIL_ADDRESS": Meaning(Kind.ROW, "{fields} takes an e-mail address"),
    "FIELD_INTEGRITY_EXCEPTION": Meaning(Kind.ROW, "the value for {fields} does not fit the record's other fields"),
    "FIELD_FILTER_VALIDATION_EXCEPTION": Meaning(Kind.ROW, "the lookup filter of {fields} refuses the value"),
    "INVALID_TYPE_ON_FIELD_IN_RECORD": Meaning(Kind.ROW, "the value has the wrong type for {fields}"),
    "JSON_PARSER_ERROR": Meaning(Kind.ROW, "a value has the wrong type for its field"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """One error as Salesforce reports it: of a request, or of one record."""

    code: str
    message: str
    fields: tuple[str, ...] = ()

    @property
    def meaning(self) -> Meaning:
        """What it means; an unknown code sets the row aside."""
        if self.code == "REQUEST_LIMIT_EXCEEDED" and "concurrent" in self.message.lower():
            return Meaning(Kind.WAIT, "too many long requests run in the org at once", 20.0)
        if self.code == "INVALID_FIELD" and "external id" in self.message.lower():
            return Meaning(Kind.SETUP, "the key is not an external id of the object: tick 'External ID' and 'Unique' on the field")
        return MEANINGS.get(self.code, Meaning(Kind.ROW, "the org refuses it"))

    @property
    def words(self) -> str:
        """Why, in words that hold no value of a record, with the code at the end."""
        named = [name for name in self.fields if _LISTED.fullmatch(name)] or _COLUMN.findall(self.message)[:5]
        text = self.meaning.words.format(fields=", ".join(named) or "in question")
        if self.code == "FIELD_CUSTOM_VALIDATION_EXCEPTION" and _WORDS.fullmatch(self.message):
            # An administrator's own sentence; anything but plain words might quote the record.
            text = f"{text}: {self.message}"
        return f"{text} [{self.code[:80]}]"


def faults(entries: Any) -> list[Fault]:
    """The errors in a JSON answer: a list of objects, as requests and records have them."""
    found = entries if isinstance(entries, list) else [entries]
    return [_fault(entry) for entry in found if isinstance(entry, Mapping) and {"errorCode", "statusCode"} & set(entry)]


def _fault(entry: Mapping[str, Any]) -> Fault:
    code = re.sub(r"\W", "", str(entry.get("errorCode") or entry.get("statusCode") or "UNKNOWN"))
    fields = entry.get("fields")
    return Fault(code, str(entry.get("message") or ""), tuple(map(str, fields)) if isinstance(fields, Sequence) else ())


def job_fault(text: str) -> Fault:
    """The error in a bulk result, `CODE:message:fields --`, or of a whole job, `Code : message`."""
    code, _, rest = text.partition(":")
    message, _, named = rest.rpartition(":")
    fields = [name.strip() for name in named.replace("--", "").split(",") if name.strip()]
    return Fault(re.sub(r"\W", "", code), message.strip() or rest.strip(), tuple(fields))


def translated(response: httpx.Response, place: str) -> FieldlineError:
    """The error that a refused request means; its body must have been read."""
    found = faults(_json(response))
    if not found or (found[0].code not in MEANINGS and response.status_code >= 500):
        return _by_status(response, place)
    fault = found[0]
    words = f"{place}: {fault.words}"
    match fault.meaning.kind:
        case Kind.SETUP:
            return Misconfigured(words)
        case Kind.WAIT:
            return Unavailable(words, fault.meaning.wait_s, sent=response.status_code >= 500)
        case Kind.LOCK:
            return Unavailable(words, 1.0)
    return Rejected(words)


def _by_status(response: httpx.Response, place: str) -> FieldlineError:
    """The error of an answer without Salesforce's own words: from the edge before it, or empty."""
    if response.status_code in (406, 420):
        return Unavailable(f"{place}: {reason(response)}", sent=True)
    if response.status_code in (404, 410):
        return Misconfigured(f"{place}: {reason(response)}: check url, api_version and the API names")
    try:
        answer(response)
    except FieldlineError as error:
        return error
    return Rejected(f"{place}: {reason(response)}")


def _json(response: httpx.Response) -> Any:
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return None
