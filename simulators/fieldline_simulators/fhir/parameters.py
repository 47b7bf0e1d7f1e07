"""Search parameters by resource type, after FHIR R4's own definitions: each line is a name, its kind and where its values stand."""

from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Parameter:
    """One search parameter; a reference's target is the only type that it finds."""

    name: str
    kind: str
    paths: tuple[str, ...]
    target: str = ""


_COMMON = """
_id token id
_lastUpdated date meta.lastUpdated
_tag token meta.tag
_security token meta.security
_profile uri meta.profile
identifier token identifier
"""

_SUBJECT = """
patient reference subject Patient
subject reference subject
"""

_PATIENT = "patient reference patient Patient"

_TABLE = {
    "AllergyIntolerance": f"""{_PATIENT}
        clinical-status token clinicalStatus
        code token code|reaction.substance
        date date recordedDate""",
    "Appointment": """patient reference participant.actor Patient
        status token status
        date date start""",
    "AuditEvent": """patient reference agent.who|entity.what Patient
        entity reference entity.what
        action token action
        date date recorded
        type token type""",
    "Basic": f"""{_SUBJECT}
        code token code""",
    "Binary": "",
    "BodyStructure": f"""{_PATIENT}
        location token location""",
    "Bundle": "type token type",
    "CarePlan": f"""{_SUBJECT}
        encounter reference encounter Encounter
        category token category
        status token status
        date date period""",
    "CareTeam": f"""{_SUBJECT}
        encounter reference encounter Encounter
        status token status
        date date period""",
    "Claim": f"""{_PATIENT}
        created date created
        encounter reference item.encounter Encounter
        status token status
        use token use""",
    "Communication": f"""{_SUBJECT}
        based-on reference basedOn
        category token category
        encounter reference encounter Encounter
        part-of reference partOf
        received date received
        recipient reference recipient
        sender reference sender
        sent date sent
        status token status""",
    "CommunicationRequest": f"""{_SUBJECT}
        status token status
        authored date authoredOn""",
    "ConceptMap": """url uri url
        status token status""",
    "Condition": f"""{_SUBJECT}
        category token category
        clinical-status token clinicalStatus
        code token code
        encounter reference encounter Encounter
        onset-date date onsetDateTime|onsetPeriod
        recorded-date date recordedDate
        verification-status token verificationStatus""",
    "Coverage": """patient reference beneficiary Patient
        beneficiary reference beneficiary
        status token status
        type token type""",
    "DetectedIssue": """patient reference patient Patient
        code token code
        identified date identifiedDateTime|identifiedPeriod""",
    "Device": f"""{_PATIENT}
        device-name string deviceName.name|type.text
        status token status
        type token type""",
    "DiagnosticReport": f"""{_SUBJECT}
        based-on reference basedOn
        category token category
        code token code
        conclusion token conclusionCode
        date date effectiveDateTime|effectivePeriod
        encounter reference encounter Encounter
        issued date issued
        result reference result Observation
        status token status""",
    "DocumentReference": f"""{_SUBJECT}
        author reference author
        category token category
        contenttype token content.attachment.contentType
        date date date
        encounter reference context.encounter Encounter
        period date context.period
        related reference context.related
        status token status
        type token type""",
    "Encounter": f"""{_SUBJECT}
        class token class
        date date period
        location reference location.location Location
        participant reference participant.individual
        service-provider reference serviceProvider Organization
        status token status
        type token type""",
    "ExplanationOfBenefit": f"""{_PATIENT}
        claim reference claim Claim
        created date created
        encounter reference item.encounter Encounter
        status token status""",
    "FamilyMemberHistory": f"""{_PATIENT}
        date date date
        relationship token relationship
        status token status""",
    "Flag": f"""{_SUBJECT}
        author reference author
        date date period
        encounter reference encounter Encounter""",
    "Goal": f"""{_SUBJECT}
        lifecycle-status token lifecycleStatus
        start-date date startDate
        target-date date target.dueDate""",
    "Group": """actual token actual
        code token code
        member reference member.entity
        type token type""",
    "GuidanceResponse": _SUBJECT,
    "ImagingStudy": f"""{_SUBJECT}
        encounter reference encounter Encounter
        modality token modality|series.modality
        started date started
        status token status""",
    "Immunization": f"""{_PATIENT}
        date date occurrenceDateTime
        status token status
        vaccine-code token vaccineCode""",
    "Location": """address string address
        name string name|alias
        organization reference managingOrganization Organization
        status token status""",
    "Medication": """code token code
        status token status""",
    "MedicationAdministration": f"""{_SUBJECT}
        code token medicationCodeableConcept
        context reference context
        effective-time date effectiveDateTime|effectivePeriod
        status token status""",
    "MedicationRequest": f"""{_SUBJECT}
        authoredon date authoredOn
        code token medicationCodeableConcept
        encounter reference encounter Encounter
        intent token intent
        medication reference medicationReference Medication
        requester reference requester
        status token status""",
    "MedicationStatement": f"""{_SUBJECT}
        code token medicationCodeableConcept
        effective date effectiveDateTime|effectivePeriod
        status token status""",
    "Observation": f"""{_SUBJECT}
        based-on reference basedOn
        category token category
        code token code
        combo-code token code|component.code
        combo-value-quantity quantity valueQuantity|component.valueQuantity
        component-code token component.code
        component-value-quantity quantity component.valueQuantity
        date date effectiveDateTime|effectivePeriod|effectiveInstant
        derived-from reference derivedFrom
        device reference device
        encounter reference encounter Encounter
        focus reference focus
        has-member reference hasMember
        method token method
        part-of reference partOf
        performer reference performer
        status token status
        value-concept token valueCodeableConcept
        value-date date valueDateTime|valuePeriod
        value-quantity quantity valueQuantity
        value-string string valueString""",
    "Organization": """active token active
        address string address
        name string name|alias
        partof reference partOf Organization
        type token type""",
    "Patient": """active token active
        address string address
        address-city string address.city
        address-country string address.country
        address-postalcode string address.postalCode
        birthdate date birthDate
        death-date date deceasedDateTime
        email token telecom
        family string name.family
        gender token gender
        general-practitioner reference generalPractitioner
        given string name.given
        language token communication.language
        link reference link.other
        name string name
        organization reference managingOrganization Organization
        phone token telecom
        telecom token telecom""",
    "Practitioner": """active token active
        address string address
        family string name.family
        given string name.given
        name string name
        telecom token telecom""",
    "PractitionerRole": """active token active
        location reference location Location
        organization reference organization Organization
        practitioner reference practitioner Practitioner
        role token code
        specialty token specialty""",
    "Procedure": f"""{_SUBJECT}
        category token category
        code token code
        date date performedDateTime|performedPeriod
        encounter reference encounter Encounter
        reason-reference reference reasonReference
        status token status""",
    "Provenance": """agent reference agent.who
        entity reference entity.what
        patient reference target Patient
        recorded date recorded
        target reference target
        when date occurredDateTime|occurredPeriod""",
    "QuestionnaireResponse": f"""{_SUBJECT}
        author reference author
        authored date authored
        encounter reference encounter Encounter
        questionnaire uri questionnaire
        status token status""",
    "RelatedPerson": f"""{_PATIENT}
        active token active
        name string name""",
    "RiskAssessment": f"""{_SUBJECT}
        condition reference condition Condition
        date date occurrenceDateTime|occurrencePeriod
        encounter reference encounter Encounter
        method token method
        performer reference performer
        probability number prediction.probabilityDecimal
        risk token prediction.qualitativeRisk""",
    "ServiceRequest": f"""{_SUBJECT}
        authored date authoredOn
        category token category
        code token code
        encounter reference encounter Encounter
        intent token intent
        requester reference requester
        status token status""",
    "Slot": """schedule reference schedule
        start date start
        status token status""",
    "Specimen": f"""{_SUBJECT}
        collected date collection.collectedDateTime|collection.collectedPeriod
        type token type""",
    "Subscription": """criteria string criteria
        status token status
        type token channel.type
        url uri channel.endpoint""",
    "SupplyDelivery": f"""{_PATIENT}
        status token status""",
    "Task": """authored-on date authoredOn
        based-on reference basedOn
        business-status token businessStatus
        code token code
        encounter reference encounter Encounter
        focus reference focus
        intent token intent
        modified date lastModified
        owner reference owner
        patient reference for Patient
        period date executionPeriod
        priority token priority
        requester reference requester
        status token status
        subject reference for""",
}

#: What each type must have; a name that ends in [x] stands for every type of that element.
REQUIRED = {
    "AllergyIntolerance": ("patient",),
    "Appointment": ("status", "participant"),
    "AuditEvent": ("type", "recorded", "agent", "source"),
    "Basic": ("code",),
    "Communication": ("status",),
    "Condition": ("subject",),
    "Coverage": ("status", "beneficiary", "payor"),
    "DiagnosticReport": ("status", "code"),
    "DocumentReference": ("status", "content"),
    "Encounter": ("status", "class"),
    "Flag": ("status", "code", "subject"),
    "Group": ("type", "actual"),
    "Immunization": ("status", "vaccineCode", "patient", "occurrence[x]"),
    "MedicationRequest": ("status", "intent", "medication[x]", "subject"),
    "Observation": ("status", "code"),
    "Procedure": ("status", "subject"),
    "Provenance": ("target", "recorded", "agent"),
    "QuestionnaireResponse": ("status",),
    "RiskAssessment": ("status", "subject"),
    "ServiceRequest": ("status", "intent", "subject"),
    "Subscription": ("status", "reason", "criteria", "channel"),
    "Task": ("status", "intent"),
}

TYPES = frozenset(_TABLE)


def missing(resource: dict[str, object]) -> str | None:
    """The first required element that a resource lacks."""
    for name in REQUIRED.get(str(resource["resourceType"]), ()):
        stem = name.removesuffix("[x]")
        found = [key for key in resource if key == stem or (stem != name and key.startswith(stem))]
        if not any(resource[key] not in (None, "", [], {}) for key in found):
            return name
    return None


@cache
def parameters_of(type: str) -> dict[str, Parameter]:
    """The parameters of a resource type by name."""
    lines = [line.split() for line in (_COMMON + _TABLE[type]).splitlines()]
    return {line[0]: Parameter(line[0], line[1], tuple(line[2].split("|")), *line[3:]) for line in lines if line}
