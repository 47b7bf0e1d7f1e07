"""Reads `$metadata`: XML of the conceptual schema of V2 (with SAP's attributes) and V4 (with annotations), bounded by its size."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from fieldline_connectors.odata.annotations import Annotations, truth
from fieldline_connectors.odata.metadata import EntitySet, EntityType, Navigation, Property, Service
from fieldline_core.errors import Misconfigured

Load: TypeAlias = Callable[[str], bytes]
"""The document behind a reference of `$metadata`."""

SAP = "{http://www.sap.com/Protocols/SAPData}"
_MOST_DOCUMENTS = 20
_DEEPEST = 4


def local(element: Element) -> str:
    """The name of an element without its namespace, which differs from version to version."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def children(element: Element, *names: str) -> Iterator[Element]:
    """The children of these names."""
    return (child for child in element if local(child) in names)


@dataclass(slots=True)
class _Schemas:
    """What the documents of one service define, by qualified name."""

    entity_types: dict[str, Element] = field(default_factory=dict)
    complex_types: dict[str, Element] = field(default_factory=dict)
    primitive: dict[str, str] = field(default_factory=dict)
    associations: dict[str, Element] = field(default_factory=dict)
    containers: dict[str, Element] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    annotations: Annotations = field(default_factory=Annotations)

    def full(self, name: str) -> str:
        """A qualified name without an alias in it."""
        namespace, dot, simple = name.rpartition(".")
        return f"{self.aliases.get(namespace, namespace)}{dot}{simple}"


def service(document: bytes, load: Load) -> Service:
    """The service behind a `$metadata` document; schemas that it only refers to are loaded where its types need them."""
    root = _parsed(document)
    if local(root) != "Edmx":
        raise Misconfigured("$metadata of the service is no EDMX document: check service_url")
    schemas = _Schemas()
    _collect(root, schemas)
    loaded: set[str] = set()
    while (uri := _missing(schemas, loaded)) and len(loaded) < _MOST_DOCUMENTS:
        loaded.add(uri)
        _collect(_parsed(load(uri)), schemas)
    v4 = root.get("Version", "1.0").startswith("4")
    types = {name: _entity_type(schemas, name) for name in schemas.entity_types}
    return Service(v4, dict(_entity_sets(schemas, types)), types)


def _parsed(document: bytes) -> Element:
    try:
        root: Element = fromstring(document, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError):
        raise Misconfigured("$metadata of the service is no XML that can be read: check service_url") from None
    return root


def _collect(root: Element, schemas: _Schemas) -> None:
    for reference in children(root, "Reference"):
        for include in children(reference, "Include"):
            namespace = include.get("Namespace", "")
            schemas.aliases[include.get("Alias") or namespace] = namespace
            schemas.references.setdefault(namespace, reference.get("Uri", ""))
    found = [element for element in root.iter() if local(element) == "Schema"]
    for schema in found:
        namespace = schema.get("Namespace", "")
        schemas.aliases[schema.get("Alias") or namespace] = namespace
    for schema in found:
        _define(schema, schemas)


def _define(schema: Element, schemas: _Schemas) -> None:
    kinds = {
        "EntityType": schemas.entity_types, "ComplexType": schemas.complex_types,
        "Association": schemas.associations, "EntityContainer": schemas.containers,
    }  # fmt: skip
    for element in schema:
        name = f"{schema.get('Namespace', '')}.{element.get('Name', '')}"
        kind = local(element)
        if kind in kinds:
            kinds[kind][name] = element
        elif kind == "EnumType":
            schemas.primitive[name] = "Edm.String"
        elif kind == "TypeDefinition":
            schemas.primitive[name] = element.get("UnderlyingType", "Edm.String")
        elif kind == "Annotations":
            schemas.annotations.add(element, schemas.full)


def _missing(schemas: _Schemas, loaded: set[str]) -> str | None:
    """A document that defines a type which is used but not there yet."""
    used = [entry.get("EntityType", "") for box in schemas.containers.values() for entry in children(box, "EntitySet")]
    for element in (*schemas.entity_types.values(), *schemas.complex_types.values()):
        used += [element.get("BaseType", ""), *(part.get("Type", "") for part in children(element, "Property"))]
    known = schemas.entity_types.keys() | schemas.complex_types.keys() | schemas.primitive.keys()
    for name in map(schemas.full, used):
        uri = schemas.references.get(name.rpartition(".")[0])
        if uri and uri not in loaded and name not in known:
            return uri
    return None


def _entity_type(schemas: _Schemas, name: str) -> EntityType:
    keys: tuple[str, ...] = ()
    properties: dict[str, Property] = {}
    navigations: dict[str, Navigation] = {}
    for full, element in _lineage(schemas, name):
        keys = keys or tuple(ref.get("Name", "").replace("/", ".") for key in children(element, "Key") for ref in key)
        for part in children(element, "Property"):
            properties |= _properties(schemas, full, part, "", 0)
        for part in children(element, "NavigationProperty"):
            navigation = _navigation(schemas, part)
            navigations[navigation.name] = navigation
    return EntityType(name, keys, properties, navigations)


def _lineage(schemas: _Schemas, name: str) -> list[tuple[str, Element]]:
    """The type and those that it is based on, the most general one first."""
    line: list[tuple[str, Element]] = []
    while (element := schemas.entity_types.get(name)) is not None and all(name != known for known, _ in line):
        line.insert(0, (name, element))
        name = schemas.full(element.get("BaseType", ""))
    return line


def _properties(schemas: _Schemas, owner: str, element: Element, prefix: str, depth: int) -> dict[str, Property]:
    name, kind = element.get("Name", ""), schemas.full(element.get("Type", ""))
    shape = schemas.complex_types.get(kind)
    if shape is not None:
        if depth >= _DEEPEST:
            return {}
        inner: dict[str, Property] = {}
        for part in children(shape, "Property"):
            inner |= _properties(schemas, kind, part, f"{prefix}{name}.", depth + 1)
        return inner
    found = _property(element, f"{prefix}{name}", schemas.primitive.get(kind, kind))
    if kind in schemas.primitive and not schemas.primitive[kind].startswith("Edm.Int"):
        # A literal of an enumeration names its type, which no filter of ours does.
        found = replace(found, filterable=False)
    notes = schemas.annotations
    target, computed = f"{owner}/{name}", notes.flag(f"{owner}/{name}", "Org.OData.Core.V1.Computed") is True
    return {
        found.name: replace(
            found,
            label=found.label or notes.label(target),
            creatable=found.creatable and not computed,
            updatable=found.updatable and not computed and notes.flag(target, "Org.OData.Core.V1.Immutable") is not True,
        )
    }


def _property(element: Element, name: str, edm: str) -> Property:
    return Property(
        name=name,
        edm=edm,
        nullable=truth(element.get("Nullable")) is not False,
        length=_number(element.get("MaxLength")),
        precision=_number(element.get("Precision")),
        scale=_number(element.get("Scale")),
        label=element.get(f"{SAP}label", ""),
        day=edm == "Edm.DateTime" and element.get(f"{SAP}display-format") == "Date",
        creatable=truth(element.get(f"{SAP}creatable")) is not False,
        updatable=truth(element.get(f"{SAP}updatable")) is not False,
        filterable=truth(element.get(f"{SAP}filterable")) is not False,
        sortable=truth(element.get(f"{SAP}sortable")) is not False,
    )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None


def _navigation(schemas: _Schemas, element: Element) -> Navigation:
    name, kind = element.get("Name", ""), element.get("Type")
    if kind is not None:
        many = kind.startswith("Collection(")
        return Navigation(name, schemas.full(kind.removeprefix("Collection(").removesuffix(")")), many)
    association = schemas.associations.get(schemas.full(element.get("Relationship", "")))
    for end in children(association, "End") if association is not None else ():
        if end.get("Role") == element.get("ToRole"):
            return Navigation(name, schemas.full(end.get("Type", "")), end.get("Multiplicity") == "*")
    return Navigation(name, "", False)


def _entity_sets(schemas: _Schemas, types: Mapping[str, EntityType]) -> Iterator[tuple[str, EntitySet]]:
    for container, box in schemas.containers.items():
        for element in children(box, "EntitySet"):
            kind = types.get(schemas.full(element.get("EntityType", "")))
            if kind is not None:
                found = _entity_set(schemas.annotations, container, element, kind)
                yield found.name, found


def _entity_set(notes: Annotations, container: str, element: Element, kind: EntityType) -> EntitySet:
    name = element.get("Name", "")
    target = f"{container}/{name}"
    allowed = notes.capabilities(target)
    properties = {
        path: replace(
            each,
            creatable=each.creatable and path not in allowed.not_creatable,
            updatable=each.updatable and path not in allowed.not_updatable,
            filterable=each.filterable and allowed.filterable and path not in allowed.not_filterable,
            sortable=each.sortable and allowed.sortable and path not in allowed.not_sortable,
        )
        for path, each in kind.properties.items()
    }
    tracked = truth(element.get(f"{SAP}change-tracking"))
    return EntitySet(
        name=name,
        type=replace(kind, properties=properties),
        label=element.get(f"{SAP}label") or notes.label(target) or notes.label(kind.name),
        creatable=allowed.creatable and truth(element.get(f"{SAP}creatable")) is not False,
        updatable=allowed.updatable and truth(element.get(f"{SAP}updatable")) is not False,
        tracks_changes=allowed.tracks_changes if tracked is None else tracked,
        repeatable=allowed.repeatable or notes.flag(container, "Org.OData.Repeatability.V1.Supported") is True,
    )
