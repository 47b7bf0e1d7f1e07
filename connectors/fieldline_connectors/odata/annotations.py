"""Annotations of OData V4: what a service says of its types and sets beside their shape."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

_CAPABILITIES = "Org.OData.Capabilities.V1"
_LABELS = ("com.sap.vocabularies.Common.v1.Label", "Org.OData.Core.V1.Description")


def truth(text: str | None) -> bool | None:
    """A boolean as XML writes it; None where nothing is said."""
    return None if text is None else text.strip().lower() in ("true", "1")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a set allows; all that is not forbidden is allowed."""

    creatable: bool = True
    updatable: bool = True
    filterable: bool = True
    sortable: bool = True
    tracks_changes: bool | None = None
    repeatable: bool = False
    not_creatable: frozenset[str] = frozenset()
    not_updatable: frozenset[str] = frozenset()
    not_filterable: frozenset[str] = frozenset()
    not_sortable: frozenset[str] = frozenset()


@dataclass(slots=True)
class Annotations:
    """All annotations of a service: target -> term -> element."""

    found: dict[str, dict[str, Element]] = field(default_factory=dict)

    def add(self, target: str, element: Element) -> None:
        """Takes the annotations in an element: in `Annotations`, or inside the target itself, as Dataverse has them."""
        for each in element:
            if each.tag.rpartition("}")[2] == "Annotation" and not each.get("Qualifier"):
                self.found.setdefault(target, {})[each.get("Term", "")] = each

    def flag(self, target: str, term: str) -> bool | None:
        """What a term that is true or false says; one without a value says yes."""
        element = self.found.get(target, {}).get(term)
        if element is None:
            return None
        said = truth(element.get("Bool") or next((each.text for each in element if each.tag.endswith("}Bool")), None))
        return said is not False

    def label(self, target: str) -> str:
        """The label of a type, a set or a property; empty where there is none."""
        for term in _LABELS:
            element = self.found.get(target, {}).get(term)
            if element is not None:
                text = element.get("String") or next((each.text for each in element if each.tag.endswith("}String")), None)
                return (text or "")[:500]
        return ""

    def capabilities(self, target: str) -> Capabilities:
        """What the set allows."""
        return Capabilities(
            creatable=self._said(target, "InsertRestrictions", "Insertable") is not False,
            updatable=self._said(target, "UpdateRestrictions", "Updatable") is not False,
            filterable=self._said(target, "FilterRestrictions", "Filterable") is not False,
            sortable=self._said(target, "SortRestrictions", "Sortable") is not False,
            tracks_changes=self._said(target, "ChangeTracking", "Supported"),
            repeatable=self.flag(target, "Org.OData.Repeatability.V1.Supported") is True,
            not_creatable=self._paths(target, "InsertRestrictions", "NonInsertableProperties"),
            not_updatable=self._paths(target, "UpdateRestrictions", "NonUpdatableProperties"),
            not_filterable=self._paths(target, "FilterRestrictions", "NonFilterableProperties"),
            not_sortable=self._paths(target, "SortRestrictions", "NonSortableProperties"),
        )

    def _values(self, target: str, term: str, name: str) -> Iterator[Element]:
        element = self.found.get(target, {}).get(f"{_CAPABILITIES}.{term}")
        for each in element.iter() if element is not None else ():
            if each.tag.endswith("}PropertyValue") and each.get("Property") == name:
                yield each

    def _said(self, target: str, term: str, name: str) -> bool | None:
        for value in self._values(target, term, name):
            return truth(value.get("Bool") or next((each.text for each in value if each.tag.endswith("}Bool")), "true"))
        return None

    def _paths(self, target: str, term: str, name: str) -> frozenset[str]:
        texts = (each.text or "" for value in self._values(target, term, name) for each in value.iter())
        return frozenset(text.strip().replace("/", ".") for text in texts if text.strip())
