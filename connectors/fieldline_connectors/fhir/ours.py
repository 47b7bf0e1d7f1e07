"""What we wrote before: found again by our identifiers, or by patient and code where the server knows no identifiers."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from fieldline_connectors.fhir.abilities import Abilities
from fieldline_connectors.fhir.shapes import Resource
from fieldline_connectors.fhir.target import FhirTarget
from fieldline_connectors.fhir.wire import Ended, Parameters, Wire
from fieldline_core.errors import Misconfigured, Rejected, Unavailable
from fieldline_core.ports import Dedupe

_MAX_PAGES = 1_000


@dataclass(frozen=True, slots=True)
class Row:
    """One row to write: who it is about, how it is found again, and what is to be there."""

    position: int
    patient: str
    name: str
    """The value of the identifier by which the resource is searched."""
    decision: str
    """The value of the identifier of this very decision: the effect's key and the record's."""
    resource: Resource
    provenance: Resource | None
    """Who made it, where that is to be told, without its target."""
    values: Sequence[str]
    """The texts that no message may repeat."""


@dataclass(slots=True)
class Found:
    """What the server has for one row: resources with our identifier, the Provenances of those, or why it does not say."""

    resources: dict[str, Resource] = field(default_factory=dict)
    provenances: dict[str, Resource] = field(default_factory=dict)
    refusal: str = ""


class Ours:
    """Finds what was written by one operation."""

    def __init__(self, wire: Wire, target: FhirTarget, abilities: Abilities) -> None:
        self._wire = wire
        self._target = target
        self._abilities = abilities

    def found(self, rows: Sequence[Row]) -> dict[int, Found]:
        """What is there now, by the position of the row; nothing where nothing can be searched for."""
        found = {row.position: Found() for row in rows}
        if self._abilities.dedupe is Dedupe.NONE:
            return found
        size = self._wire.config.search_rows
        for start in range(0, len(rows), size):
            self._find(rows[start : start + size], found)
        return found

    def explained(self, found: Mapping[int, Found], rows: Sequence[Row]) -> None:
        """Adds the Provenances that a search of their own finds."""
        size, wanted = self._wire.config.search_rows, [row for row in rows if row.provenance and found[row.position].resources]
        for start in range(0, len(wanted), size):
            part = wanted[start : start + size]
            places = ",".join(f"{self._abilities.type}/{id}" for row in part for id in found[row.position].resources)
            resources = list(self._resources("Provenance", [("target", places)]))
            for row in part:
                self._sort(row, resources, found[row.position])

    def identifier(self, value: str) -> str:
        """An identifier as a search parameter takes it."""
        return f"{self._target.identifier_system}|{value}"

    def names(self, resource: Resource) -> set[str]:
        """Our identifiers on a resource."""
        every = resource.get("identifier") or []
        return {each.get("value", "") for each in every if each.get("system") == self._target.identifier_system}

    def _find(self, rows: Sequence[Row], found: Mapping[int, Found]) -> None:
        try:
            resources = list(self._resources(self._abilities.type, self._parameters(rows)))
        except Rejected as error:
            if len(rows) == 1:
                found[rows[0].position].refusal = str(error)
                return
            # One patient may be closed to us; the others are not.
            for row in rows:
                self._find([row], found)
            return
        for row in rows:
            self._sort(row, resources, found[row.position])

    def _parameters(self, rows: Sequence[Row]) -> Parameters:
        able, parameters = self._abilities, list[tuple[str, str]]()
        if able.of_patient:
            # Some vendors refuse any search without a patient.
            prefix = "" if able.of_patient == "patient" else "Patient/"
            parameters.append((able.of_patient, ",".join(dict.fromkeys(f"{prefix}{row.patient}" for row in rows))))
        if "identifier" in able.parameters:
            parameters.append(("identifier", ",".join(self.identifier(row.name) for row in rows)))
        elif "code" in able.parameters:
            code = self._target.code
            parameters.append(("code", f"{_escaped(code.system)}|{_escaped(code.code)}"))
        if self._abilities.provenance == "included" and any(row.provenance for row in rows):
            parameters.append(("_revinclude", "Provenance:target"))
        return parameters

    def _resources(self, type: str, parameters: Parameters) -> Iterator[Resource]:
        data = self._wire.search(type, parameters)
        for _ in range(_MAX_PAGES):
            bundle = json.loads(data, parse_float=Decimal)
            if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
                raise Misconfigured(f"{self._wire.host} answered a search with something else than a Bundle: check `base_url`")
            yield from (each["resource"] for each in bundle.get("entry", []) if "id" in each.get("resource", {}))
            following = next((link.get("url") for link in bundle.get("link", []) if link.get("relation") == "next"), None)
            if following is None:
                return
            try:
                data = self._wire.next(following)
            except Ended:
                raise Unavailable(f"{self._wire.host} ended a search before its last page") from None
        raise Unavailable(f"{self._wire.host} gives pages without end")

    def _sort(self, row: Row, resources: Sequence[Resource], found: Found) -> None:
        # A server may pass over a parameter that it declares, so each resource is looked at.
        for each in resources:
            if each.get("resourceType") == self._abilities.type and row.name in self.names(each):
                found.resources[each["id"]] = each
            elif each.get("resourceType") == "Provenance" and self._is_of(each, row):
                found.provenances[each["id"]] = each

    def _is_of(self, provenance: Resource, row: Row) -> bool:
        every: list[Any] = [each.get("what", {}).get("identifier", {}) for each in provenance.get("entity", [])]
        return {"system": self._target.identifier_system, "value": row.decision} in every


def _escaped(text: str) -> str:
    for sign in "\\,$|":
        text = text.replace(sign, f"\\{sign}")
    return text
