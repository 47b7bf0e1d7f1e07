"""How four servers differ: what each refuses, how it numbers versions and pages, and what it does when writes race.

`medplum` and `wso2` do what those servers did when they were exercised (Medplum 5.0, WSO2 FHIR Server 1.0). `epic` and `oracle`
declare what the sandboxes of Epic and Oracle Health declared; the rest of these two is from notes on the vendors' documents, and
where those say nothing, from what is common. docs/how-to/simulate-fhir.md says which is which.
"""

from dataclasses import dataclass
from typing import Literal

_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Profile:
    """One vendor's ways; None for a set of resource types means all of them."""

    name: str
    software: str
    #: Where an error's words stand in an OperationOutcome.
    words_in: Literal["details", "diagnostics"] = "details"
    integer_versions: bool = True
    authenticated: bool = True
    replayed_assertions: bool = False
    absent: frozenset[str] = _NONE
    create: frozenset[str] | None = None
    update: frozenset[str] | None = None
    patch: frozenset[str] | None = None
    delete: frozenset[str] | None = None
    #: Whether If-None-Exist and searches in PUT and DELETE are heeded; where not, If-None-Exist is passed over in silence.
    conditional: bool = True
    update_creates: bool = False
    unchanged_keeps_version: bool = False
    stale_status: int = 412
    patch_heeds_if_match: bool = False
    failed_test_status: int = 422
    missing_status: int = 422
    delete_status: int = 204
    returns_written: bool = True
    transaction: bool = True
    batch: bool = True
    checks_transactions: bool = True
    unknown_parameter: Literal["refuse", "empty", "warn"] = "refuse"
    counts_unasked: bool = True
    paging: Literal["offset", "page", "session"] = "session"
    page_size: int = 50
    most_entries: int = 1000
    most_offset: int | None = None
    repeats_ids: bool = False
    needs_patient: bool = False
    post_search_ignores_query: bool = False
    exports: frozenset[str] = _NONE
    export_says_when: bool = True
    signed_downloads: bool = False
    subscriptions: bool = False
    says_retry_after: bool = True
    #: How many copies parallel conditional writes may leave, and whether overlapping updates end in 409.
    create_copies: int = 1
    update_copies: int = 1
    overlapping_conflict: bool = False


_EPIC_CREATE = (
    "AllergyIntolerance BodyStructure Communication ConceptMap Condition DocumentReference Observation Patient Procedure "
    "QuestionnaireResponse ServiceRequest"
)
_EPIC_UPDATE = "BodyStructure DiagnosticReport DocumentReference Observation Procedure ServiceRequest Task"
_ORACLE_CREATE = (
    "AllergyIntolerance Appointment Basic Communication Condition Coverage DiagnosticReport DocumentReference Encounter "
    "FamilyMemberHistory Immunization MedicationRequest Observation Organization Patient Practitioner Procedure Provenance "
    "RelatedPerson"
)
_ORACLE_UPDATE = "AllergyIntolerance Condition DocumentReference FamilyMemberHistory Immunization Observation QuestionnaireResponse"
_ORACLE_PATCH = "Appointment Communication Coverage Encounter MedicationRequest Patient RelatedPerson Slot"


def _types(names: str) -> frozenset[str]:
    return frozenset(names.split())


MEDPLUM = Profile(
    name="medplum", software="Medplum", integer_versions=False, replayed_assertions=True, unchanged_keeps_version=True,
    failed_test_status=400, missing_status=400, delete_status=200, counts_unasked=False, paging="offset", page_size=20,
    most_offset=10_000, exports=frozenset({"system", "Patient", "Group"}), export_says_when=False, signed_downloads=True,
    subscriptions=True, says_retry_after=False, overlapping_conflict=True,
)  # fmt: skip
WSO2 = Profile(
    name="wso2", software="WSO2 FHIR Server", words_in="diagnostics", authenticated=False, update_creates=True,
    checks_transactions=False, unknown_parameter="empty", paging="page", page_size=20, create_copies=3, update_copies=2,
)  # fmt: skip
EPIC = Profile(
    name="epic", software="Epic", absent=_types("RiskAssessment Subscription AuditEvent"), create=_types(_EPIC_CREATE),
    update=_types(_EPIC_UPDATE), patch=_NONE, delete=_NONE, conditional=False, transaction=False, batch=False,
    returns_written=False, unknown_parameter="warn", most_entries=100, post_search_ignores_query=True, exports=frozenset({"Group"}),
)  # fmt: skip
ORACLE = Profile(
    name="oracle", software="Oracle Health Millennium", absent=_types("RiskAssessment Flag Task Subscription AuditEvent"),
    create=_types(_ORACLE_CREATE), update=_types(_ORACLE_UPDATE), patch=_types(_ORACLE_PATCH), delete=_NONE, conditional=False,
    stale_status=409, patch_heeds_if_match=True, transaction=False, returns_written=False, most_entries=200, repeats_ids=True,
    needs_patient=True, exports=frozenset({"Group"}),
)  # fmt: skip

PROFILES = {each.name: each for each in (MEDPLUM, WSO2, EPIC, ORACLE)}
