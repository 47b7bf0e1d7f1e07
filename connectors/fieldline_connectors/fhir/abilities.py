"""What a server declares of itself, as far as writing goes: its CapabilityStatement decides what is written, and how."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fieldline_connectors.fhir.search import declared
from fieldline_connectors.fhir.target import FhirTarget, ResourceType
from fieldline_core.errors import Misconfigured
from fieldline_core.findings import Finding, Severity
from fieldline_core.ports import Dedupe
from fieldline_core.schema import FieldType

_NEEDS = {"create": {"create"}, "upsert": {"create", "update"}, "update": {"update"}}
_NUMBERS = (FieldType.NUMBER, FieldType.INTEGER, FieldType.DECIMAL)
_RULE = "does-not-fit"


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a server lets us do with one type of resource."""

    type: ResourceType
    interactions: frozenset[str]
    parameters: frozenset[str]
    conditional_create: bool
    bundle: Literal["batch", "transaction"] | None
    provenance: Literal["included", "searched"] | None
    """How the Provenances of what we wrote are found again; None where there can be none."""
    provenance_deletable: bool

    @classmethod
    def of(cls, statement: Mapping[str, Any], type: ResourceType) -> "Abilities":
        """What the CapabilityStatement says of a type."""
        rest = [each for each in statement.get("rest", []) if each.get("mode", "server") == "server"]
        system = {each.get("code") for entry in rest for each in entry.get("interaction", [])}
        own, provenance = _entry(rest, type), _entry(rest, "Provenance")
        # In a batch each entry stands alone, so one bad row does not stop the others.
        bundle: Literal["batch", "transaction"] | None = (
            "batch" if "batch" in system else "transaction" if "transaction" in system else None
        )
        explained: Literal["included", "searched"] | None = None
        if "create" in _codes(provenance) and "Provenance:target" in own.get("searchRevInclude", []):
            explained = "included"
        elif "create" in _codes(provenance) and "target" in declared(statement, "Provenance"):
            explained = "searched"
        return cls(
            type, _codes(own), frozenset(declared(statement, type)), own.get("conditionalCreate") is True, bundle, explained,
            "delete" in _codes(provenance),
        )  # fmt: skip

    @property
    def of_patient(self) -> str | None:
        """The search parameter that takes the patient."""
        return next((name for name in ("patient", "subject") if name in self.parameters), None)

    @property
    def dedupe(self) -> Dedupe:
        """QUERY where what we wrote can be found again. No server's own condition is enough: two were seen to make copies."""
        return Dedupe.QUERY if "identifier" in self.parameters or self.of_patient else Dedupe.NONE


def chosen(statement: Mapping[str, Any], target: FhirTarget, host: str) -> Abilities:
    """The first type of resource that the server lets us write as the operation needs it; raises Misconfigured."""
    for type in target.candidates:
        found = Abilities.of(statement, type)
        if _NEEDS[target.operation] <= found.interactions:
            return found
    raise Misconfigured(
        f"{host} does not let us {target.operation} {' or '.join(target.candidates)} (its CapabilityStatement says so): "
        "set another `resource` or `operation`, or have it allowed"
    )


def misfits(statement: Mapping[str, Any], target: FhirTarget, host: str, given: Mapping[str, FieldType]) -> Iterator[Finding]:
    """What keeps the operation from writing, and what it will do without."""
    try:
        found = chosen(statement, target, host)
    except Misconfigured as error:
        yield Finding(_RULE, "resource", str(error))
        return
    prediction, at = (given.get(target.fields.get(name, "")) for name in ("prediction", "at"))
    if prediction and target.kind != "text" and prediction not in _NUMBERS:
        yield Finding(_RULE, "fields.prediction", f"a {target.kind} is a number, not {prediction}")
    if at and at not in (FieldType.DATE, FieldType.DATETIME):
        yield Finding(_RULE, "fields.at", f"`at` is a date or a time, not {at}")
    if found.dedupe is Dedupe.NONE:
        words = f"{host} does not say that {found.type} can be searched by identifier or patient: a repeat may add another"
        yield Finding(_RULE, "resource", words, severity=Severity.WARNING)
    if target.provenance and not found.provenance:
        words = f"{host} does not let us add a Provenance and find it again: none is written"
        yield Finding(_RULE, "provenance", words, severity=Severity.WARNING)


def _entry(rest: list[dict[str, Any]], type: str) -> dict[str, Any]:
    return next((each for entry in rest for each in entry.get("resource", []) if each.get("type") == type), {})


def _codes(entry: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(each.get("code", "") for each in entry.get("interaction", []))
