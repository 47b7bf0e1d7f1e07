"""Reads `$metadata`: XML of the conceptual schema of V2 (with SAP's attributes) and V4 (with annotations), bounded by its size."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from fieldline_connectors.odata.annotations import Annotations, Capabilities, truth
from fieldline_connectors.odata.metadata import EntitySet, EntityType, Navigation, Property, Service
from fieldline_core.errors import Misconfigured

Load: TypeAlias = Callable[[str], bytes]
"""The document behind a reference of `$metadata`."""

SAP = "{http://www.sap.com/Protocols/SAPData}"
_MOST_DOCUMENTS = 20
_DEEPEST = 4
_LONGEST_LINE = 100
_NOTHING = EntityType("", (), {}, {})
_QUALIFIED = frozenset({"Type", "BaseType", "EntityType", "Target", "Term", "Relationship"})
_MOST_PROPERTIES = 5_000
_MOST_IN_ALL = 500_000


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
    definitions: dict[str, Element] = field(default_factory=dict)
    associations: dict[str, Element] = field(default_factory=dict)
    containers: dict[str, Element] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    annotations: Annotations = field(default_factory=Annotations)


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
    types = _entity_types(schemas)
    return Service(v4, dict(_entity_sets(schemas, types)), types)


def _parsed(document: bytes) -> Element:
    try:
        root: Element = fromstring(document, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError):
        raise Misconfigured("$metadata of the service is no XML that can be read: check service_url") from None
    return root


def _collect(root: Element, schemas: _Schemas) -> None:
    _write_out_aliases(root)
    for reference in children(root, "Reference"):
        for include in children(reference, "Include"):
            schemas.references.setdefault(include.get("Namespace", ""), reference.get("Uri", ""))
    for schema in [element for element in root.iter() if local(element) == "Schema"]:
        _define(schema, schemas)


def _write_out_aliases(root: Element) -> None:
    """Puts namespaces in the place of aliases, which count in their own document only: all of SAP's have the same `SAP__self`."""
    named = [element for element in root.iter() if local(element) in ("Include", "Schema") and element.get("Alias")]
    aliases = {element.get("Alias", ""): element.get("Namespace", "") for element in named}
    for element in root.iter() if aliases else ():
        for name in _QUALIFIED & element.attrib.keys():
            element.set(name, _written_out(element.attrib[name], aliases))


def _written_out(name: str, aliases: Mapping[str, str]) -> str:
    collection = "Collection(" if name.startswith("Collection(") else ""
    path, slash, rest = name.removeprefix(collection).partition("/")
    namespace, dot, simple = path.rpartition(".")
    return f"{collection}{aliases.get(namespace, namespace)}{dot}{simple}{slash}{rest}"


def _define(schema: Element, schemas: _Schemas) -> None:
    kinds = {
        "EntityType": schemas.entity_types, "ComplexType": schemas.complex_types,
        "Association": schemas.associations, "EntityContainer": schemas.containers,
    }  # fmt: skip
    notes = schemas.annotations
    for element in schema:
        name = f"{schema.get('Namespace', '')}.{element.get('Name', '')}"
        kind = local(element)
        if kind in kinds:
            kinds[kind][name] = element
            notes.add(name, element)
            for part in children(element, "Property", "EntitySet"):
                notes.add(f"{name}/{part.get('Name', '')}", part)
        elif kind == "EnumType":
            schemas.primitive[name] = "Edm.String"
        elif kind == "TypeDefinition":
            schemas.primitive[name] = element.get("UnderlyingType", "Edm.String")
            schemas.definitions[name] = element
        elif kind == "Annotations":
            notes.add(element.get("Target", ""), element)


def _missing(schemas: _Schemas, loaded: set[str]) -> str | None:
    """A document that defines a type which is used but not there yet."""
    used = [entry.get("EntityType", "") for box in schemas.containers.values() for entry in children(box, "EntitySet")]
    for element in (*schemas.entity_types.values(), *schemas.complex_types.values()):
        used += [element.get("BaseType", ""), *(part.get("Type", "") for part in children(element, "Property"))]
    known = schemas.entity_types.keys() | schemas.complex_types.keys() | schemas.primitive.keys()
    for name in used:
        uri = schemas.references.get(name.rpartition(".")[0])
        if uri and uri not in loaded and name not in known:
            return uri
    return None


def _entity_types(schemas: _Schemas) -> dict[str, EntityType]:
    """All entity types, each made once, with what it has of the one that it is based on."""
    types: dict[str, EntityType] = {}
    size = 0
    for own in schemas.entity_types:
        for name, element in _lineage(schemas.entity_types, own):
            if name not in types:
                made = _entity_type(schemas, name, element, types.get(element.get("BaseType", ""), _NOTHING))
                types[name], size = made, _bounded(size + len(made.properties) + len(made.navigations))
    return types


def _bounded(size: int) -> int:
    """The size; a short document may say much, as each type has what all those have that it is based on."""
    if size > _MOST_IN_ALL:
        raise Misconfigured(f"$metadata of the service has more than {_MOST_IN_ALL:,} properties in all: connect to a smaller one")
    return size


def _entity_type(schemas: _Schemas, name: str, element: Element, base: EntityType) -> EntityType:
    keys = tuple(ref.get("Name", "").replace("/", ".") for key in children(element, "Key") for ref in key)
    properties, navigations = dict(base.properties), dict(base.navigations)
    # Complex types in each other multiply, so what is visited is bounded, and not just what is found.
    visits = iter(range(_MOST_PROPERTIES - len(properties)))
    for part in children(element, "Property"):
        properties |= {found.name: found for found in _properties(schemas, name, part, "", (), visits)}
    for part in children(element, "NavigationProperty"):
        navigation = _navigation(schemas, part)
        navigations[navigation.name] = navigation
    return EntityType(name, base.keys or keys, properties, navigations)


def _lineage(types: Mapping[str, Element], name: str) -> list[tuple[str, Element]]:
    """The type and those that it is based on, the most general one first; raises Misconfigured where they are no end of."""
    line: list[tuple[str, Element]] = []
    own = name
    while (element := types.get(name)) is not None:
        if len(line) == _LONGEST_LINE:
            raise Misconfigured(f"$metadata: the type {own[:120]} stands on more than {_LONGEST_LINE} others in a row")
        line.append((name, element))
        name = element.get("BaseType", "")
    return line[::-1]


def _properties(
    schemas: _Schemas, owner: str, element: Element, prefix: str, around: tuple[str, ...], visits: Iterator[int]
) -> Iterator[Property]:  # fmt: skip
    """The property, or those inside a complex one; `around` are the complex types that it lies in, `visits` those left."""
    if next(visits, None) is None:
        return
    name, kind = element.get("Name", ""), element.get("Type", "")
    if kind in schemas.complex_types:
        deeper = kind not in around and len(around) < _DEEPEST
        for full, shape in _lineage(schemas.complex_types, kind) if deeper else ():
            for part in children(shape, "Property"):
                yield from _properties(schemas, full, part, f"{prefix}{name}.", (*around, kind), visits)
        return
    found = _property(element, f"{prefix}{name}", schemas.primitive.get(kind, kind), schemas.definitions.get(kind))
    if kind in schemas.primitive and not schemas.primitive[kind].startswith("Edm.Int"):
        # A literal of an enumeration names its type, which no filter of ours does.
        found = replace(found, filterable=False)
    notes = schemas.annotations
    target, computed = f"{owner}/{name}", notes.flag(f"{owner}/{name}", "Org.OData.Core.V1.Computed") is True
    yield replace(
        found,
        label=found.label or notes.label(target),
        creatable=found.creatable and not computed,
        updatable=found.updatable and not computed and notes.flag(target, "Org.OData.Core.V1.Immutable") is not True,
    )


def _property(element: Element, name: str, edm: str, definition: Element | None) -> Property:
    def facet(name: str) -> int | None:
        return _number(element.get(name) or (definition.get(name) if definition is not None else None))

    return Property(
        name=name,
        edm=edm,
        nullable=truth(element.get("Nullable")) is not False,
        length=facet("MaxLength"),
        precision=facet("Precision"),
        scale=facet("Scale"),
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
        return Navigation(name, kind.removeprefix("Collection(").removesuffix(")"), many)
    association = schemas.associations.get(element.get("Relationship", ""))
    for end in children(association, "End") if association is not None else ():
        if end.get("Role") == element.get("ToRole"):
            return Navigation(name, end.get("Type", ""), end.get("Multiplicity") == "*")
    return Navigation(name, "", False)


def _entity_sets(schemas: _Schemas, types: Mapping[str, EntityType]) -> Iterator[tuple[str, EntitySet]]:
    size = 0
    for container, box in schemas.containers.items():
        for element in children(box, "EntitySet"):
            kind = types.get(element.get("EntityType", ""))
            if kind is not None:
                size = _bounded(size + len(kind.properties))
                found = _entity_set(schemas.annotations, container, element, kind)
                yield found.name, found


def _entity_set(notes: Annotations, container: str, element: Element, kind: EntityType) -> EntitySet:
    name = element.get("Name", "")
    target = f"{container}/{name}"
    allowed = notes.capabilities(target)
    properties = {path: _restricted(path, each, allowed) for path, each in kind.properties.items()}
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


def _restricted(path: str, each: Property, allowed: Capabilities) -> Property:
    """The property as its entity set lets it be used."""
    flags: dict[str, Any] = {
        "creatable": each.creatable and path not in allowed.not_creatable,
        "updatable": each.updatable and path not in allowed.not_updatable,
        "filterable": each.filterable and allowed.filterable and path not in allowed.not_filterable,
        "sortable": each.sortable and allowed.sortable and path not in allowed.not_sortable,
    }
    return each if all(getattr(each, name) == flag for name, flag in flags.items()) else replace(each, **flags)
