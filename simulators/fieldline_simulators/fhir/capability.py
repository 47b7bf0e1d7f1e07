"""What the server says of itself: its CapabilityStatement, made from the profile that it acts by, and where to log in."""

from typing import Any

from fieldline_simulators.fhir.access import ALGORITHMS
from fieldline_simulators.fhir.ehr import Ehr
from fieldline_simulators.fhir.parameters import TYPES, parameters_of
from fieldline_simulators.fhir.profiles import Profile
from fieldline_simulators.fhir.store import stamp

Resource = dict[str, Any]

_BULK = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition"
_BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition"


def capability_statement(ehr: Ehr, base_url: str) -> Resource:
    """The answer to GET metadata."""
    profile = ehr.profile
    rest: Resource = {
        "mode": "server",
        "security": _security(profile, base_url),
        "resource": [_resource(profile, type) for type in sorted(TYPES - profile.absent)],
    }
    system = [name for name, offered in (("transaction", profile.transaction), ("batch", profile.batch)) if offered]
    if system:
        rest["interaction"] = [{"code": each} for each in system]
    if "system" in profile.exports:
        rest["operation"] = [{"name": "export", "definition": f"{_BULK}/export"}]
    return {
        "resourceType": "CapabilityStatement", "status": "active", "date": stamp(ehr.store.newest), "kind": "instance",
        "software": {"name": f"Fieldline simulator as {profile.software}"},
        "implementation": {"description": "A simulated server to practise on", "url": base_url},
        "fhirVersion": "4.0.1", "format": ["json"], "rest": [rest],
        **({"patchFormat": ["application/json-patch+json"]} if profile.patch is None or profile.patch else {}),
    }  # fmt: skip


def smart_configuration(base_url: str, token_url: str) -> Resource:
    """The answer to GET .well-known/smart-configuration."""
    return {
        "issuer": base_url,
        "token_endpoint": token_url,
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_basic", "client_secret_post"],
        "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "scopes_supported": ["system/*.cruds", "system/*.rs", "system/*.read", "system/*.write"],
        "response_types_supported": ["token"],
        "code_challenge_methods_supported": ["S256"],
        "capabilities": ["client-confidential-asymmetric", "permission-v1", "permission-v2"],
    }


def _security(profile: Profile, base_url: str) -> Resource:
    if not profile.authenticated:
        return {"description": "None"}
    token_url = f"{base_url.rpartition('/')[0]}/auth/token"
    service = [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/restful-security-service", "code": "SMART-on-FHIR"}]}]
    uris = {
        "url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris",
        "extension": [{"url": "token", "valueUri": token_url}],
    }
    return {"service": service, "extension": [uris]}


def _resource(profile: Profile, type: str) -> Resource:
    references = [each.name for each in parameters_of(type).values() if each.kind == "reference"]
    made: Resource = {
        "type": type,
        "interaction": [{"code": each} for each in _interactions(profile, type)],
        "versioning": "versioned-update" if type in _every(profile.update) else "versioned",
        "readHistory": True,
        "updateCreate": profile.update_creates,
        "conditionalCreate": profile.conditional and type in _every(profile.create),
        "conditionalUpdate": profile.conditional and type in _every(profile.update),
        "conditionalDelete": "single" if profile.conditional and type in _every(profile.delete) else "not-supported",
        "searchParam": [{"name": each.name, "type": each.kind} for each in parameters_of(type).values()],
    }
    if references:
        made["searchInclude"] = [f"{type}:{name}" for name in references]
    others = sorted(TYPES - profile.absent)
    back = [f"{other}:{each.name}" for other in others for each in parameters_of(other).values() if each.target == type]
    if back:
        made["searchRevInclude"] = back
    if type in profile.exports:
        name = {"Patient": "patient-export", "Group": "group-export"}[type]
        made["operation"] = [{"name": "export", "definition": f"{_BULK}/{name}"}]
    if type == "Subscription" and profile.subscriptions:
        asked = ("status", "events")
        made["operation"] = [{"name": name, "definition": f"{_BACKPORT}/backport-subscription-{name}"} for name in asked]
    return made


def _interactions(profile: Profile, type: str) -> list[str]:
    offered = {
        "create": type in _every(profile.create),
        "update": type in _every(profile.update),
        "patch": type in _every(profile.patch),
        "delete": type in _every(profile.delete),
    }
    return ["read", "vread", "history-instance", "search-type", *(name for name, found in offered.items() if found)]


def _every(types: frozenset[str] | None) -> frozenset[str]:
    return TYPES if types is None else types
