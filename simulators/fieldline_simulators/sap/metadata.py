"""How the service describes itself: `$metadata` of V2 with SAP's attributes, of V4 with annotations, and the service document."""

from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import quoteattr

from fieldline_simulators.sap.model import EntitySet, Model, Navigation, Property

_V2_TYPES = {"Date": "DateTime", "TimeOfDay": "Time"}


def service_document(model: Model, root: str, *, v4: bool) -> dict[str, Any]:
    """The list of sets."""
    names = [each.name for each in model.sets]
    if not v4:
        return {"d": {"EntitySets": names}}
    return {
        "@odata.context": f"{root}$metadata",
        "value": [{"name": name, "kind": "EntitySet", "url": name} for name in names],
    }


def metadata(model: Model, *, v4: bool) -> str:
    """The service's EDMX."""
    body = "".join(_v4(model) if v4 else _v2(model))
    if v4:
        return (
            '<?xml version="1.0" encoding="utf-8"?>'
            '<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx">'
            '<edmx:Reference Uri="https://oasis-tcs.github.io/odata-vocabularies/vocabularies/Org.OData.Core.V1.xml">'
            '<edmx:Include Namespace="Org.OData.Core.V1" Alias="Core"/></edmx:Reference>'
            f'<edmx:DataServices><Schema Namespace="{model.namespace}" Alias="SAP__self" '
            f'xmlns="http://docs.oasis-open.org/odata/ns/edm">{body}</Schema></edmx:DataServices></edmx:Edmx>'
        )
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        '<edmx:Edmx Version="1.0" xmlns:edmx="http://schemas.microsoft.com/ado/2007/06/edmx" '
        'xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata" '
        'xmlns:sap="http://www.sap.com/Protocols/SAPData">'
        f'<edmx:DataServices m:DataServiceVersion="2.0"><Schema Namespace="{model.namespace}" '
        f'xmlns="http://schemas.microsoft.com/ado/2008/09/edm" sap:schema-version="1">{body}</Schema>'
        "</edmx:DataServices></edmx:Edmx>"
    )


def _attributes(**given: Any) -> str:
    """XML attributes; those that are None are left out, and a double underscore stands for a colon."""
    found = ((name.replace("__", ":").replace("_", "-"), value) for name, value in given.items() if value is not None)
    return "".join(f" {name}={quoteattr(_said(value))}" for name, value in found)


def _said(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _key(entity_set: EntitySet) -> str:
    return f"<Key>{''.join(f'<PropertyRef Name={quoteattr(name)}/>' for name in entity_set.keys)}</Key>"


def _facets(each: Property) -> dict[str, Any]:
    precision = each.precision
    if each.type == "DateTimeOffset":
        precision = 7 if precision is None else precision
    return {
        "Nullable": None if each.nullable else False, "MaxLength": each.length, "Precision": precision, "Scale": each.scale,
    }  # fmt: skip


def _v2(model: Model) -> Iterator[str]:
    for entity_set in model.sets:
        yield f'<EntityType Name="{entity_set.type}" sap:content-version="1">{_key(entity_set)}'
        for each in entity_set.properties:
            yield f"<Property{_attributes(Name=each.name, Type=f'Edm.{_V2_TYPES.get(each.type, each.type)}', **_facets(each))}"
            yield _attributes(
                sap__label=each.label or None, sap__display_format="Date" if each.type == "Date" else None,
                sap__creatable=None if each.creatable else False, sap__updatable=None if _updatable(entity_set, each) else False,
                sap__filterable=None if each.filterable else False, sap__sortable=None if each.filterable else False,
            ) + "/>"  # fmt: skip
        for way in entity_set.navigations:
            relation = f"{model.namespace}.{_association(entity_set, way)}"
            yield f"<NavigationProperty{_attributes(Name=way.name, Relationship=relation, FromRole='From', ToRole='To')}/>"
        yield "</EntityType>"
    yield from _associations(model)
    yield f'<EntityContainer Name="{model.namespace}_Entities" m:IsDefaultEntityContainer="true">'
    for entity_set in model.sets:
        yield f"<EntitySet{_attributes(Name=entity_set.name, EntityType=f'{model.namespace}.{entity_set.type}')}"
        yield _attributes(
            sap__label=entity_set.label or None, sap__creatable=None if entity_set.creatable else False,
            sap__updatable=None if entity_set.updatable else False, sap__deletable=None if entity_set.deletable else False,
            sap__change_tracking=entity_set.tracked or None, sap__content_version=1,
        ) + "/>"  # fmt: skip
    for entity_set in model.sets:
        for way in entity_set.navigations:
            name = _association(entity_set, way)
            yield f"<AssociationSet{_attributes(Name=f'{name}_Set', Association=f'{model.namespace}.{name}')}>"
            yield f'<End EntitySet="{entity_set.name}" Role="From"/><End EntitySet="{way.target}" Role="To"/></AssociationSet>'
    yield "</EntityContainer>"


def _associations(model: Model) -> Iterator[str]:
    for entity_set in model.sets:
        for way in entity_set.navigations:
            target, many = model.by_set[way.target], "*" if way.many else "0..1"
            yield f'<Association Name="{_association(entity_set, way)}" sap:content-version="1">'
            yield f'<End Type="{model.namespace}.{entity_set.type}" Multiplicity="1" Role="From"/>'
            yield f'<End Type="{model.namespace}.{target.type}" Multiplicity="{many}" Role="To"/></Association>'


def _association(entity_set: EntitySet, way: Navigation) -> str:
    return f"assoc_{entity_set.name}_{way.name}"


def _updatable(entity_set: EntitySet, each: Property) -> bool:
    return each.updatable and each.name not in entity_set.keys


def _v4(model: Model) -> Iterator[str]:
    for entity_set in model.sets:
        yield f'<EntityType Name="{entity_set.type}">{_key(entity_set)}'
        for each in entity_set.properties:
            yield f"<Property{_attributes(Name=each.name, Type=f'Edm.{each.type}', **_facets(each))}/>"
        for way in entity_set.navigations:
            kind = f"{model.namespace}.{model.by_set[way.target].type}"
            kind = f"Collection({kind})" if way.many else kind
            yield f'<NavigationProperty Name="{way.name}" Type="{kind}"/>'
        yield "</EntityType>"
    yield '<EntityContainer Name="Container">'
    for entity_set in model.sets:
        bindings = "".join(
            f'<NavigationPropertyBinding Path="{each.name}" Target="{each.target}"/>' for each in entity_set.navigations
        )
        yield f'<EntitySet Name="{entity_set.name}" EntityType="{model.namespace}.{entity_set.type}">{bindings}</EntitySet>'
    yield "</EntityContainer>"
    for entity_set in model.sets:
        yield from _annotated(entity_set)


def _annotated(entity_set: EntitySet) -> Iterator[str]:
    for each in entity_set.properties:
        if each.label:
            yield f'<Annotations Target="SAP__self.{entity_set.type}/{each.name}">'
            yield f'<Annotation Term="com.sap.vocabularies.Common.v1.Label" String={quoteattr(each.label)}/></Annotations>'
    yield f'<Annotations Target="SAP__self.Container/{entity_set.name}">'
    if entity_set.label:
        yield f'<Annotation Term="com.sap.vocabularies.Common.v1.Label" String={quoteattr(entity_set.label)}/>'
    if entity_set.repeatable:
        yield '<Annotation Term="Org.OData.Repeatability.V1.Supported" Bool="true"/>'
    yield _record("ChangeTracking", [("Supported", entity_set.tracked)])
    yield _record("InsertRestrictions", [("Insertable", entity_set.creatable)], "NonInsertableProperties",
                  [each.name for each in entity_set.properties if not each.creatable])  # fmt: skip
    yield _record("UpdateRestrictions", [("Updatable", entity_set.updatable)], "NonUpdatableProperties",
                  [each.name for each in entity_set.properties if not _updatable(entity_set, each)])  # fmt: skip
    yield _record("DeleteRestrictions", [("Deletable", entity_set.deletable)])
    hidden = [each.name for each in entity_set.properties if not each.filterable]
    yield _record("FilterRestrictions", [("Filterable", True)], "NonFilterableProperties", hidden)
    yield _record("SortRestrictions", [("Sortable", True)], "NonSortableProperties", hidden)
    for name in entity_set.alternate:
        yield '<Annotation Term="Core.AlternateKeys"><Collection><Record Type="Core.AlternateKey"><PropertyValue Property="Key">'
        yield f'<Collection><Record Type="Core.PropertyRef"><PropertyValue Property="Alias" String="{name}"/>'
        yield f'<PropertyValue Property="Name" PropertyPath="{name}"/></Record></Collection></PropertyValue></Record></Collection>'
        yield "</Annotation>"
    yield "</Annotations>"


def _record(term: str, flags: list[tuple[str, bool]], paths_name: str = "", paths: list[str] | None = None) -> str:
    values = "".join(f'<PropertyValue Property="{name}" Bool="{_said(value)}"/>' for name, value in flags)
    if paths:
        listed = "".join(f"<PropertyPath>{path}</PropertyPath>" for path in paths)
        values += f'<PropertyValue Property="{paths_name}"><Collection>{listed}</Collection></PropertyValue>'
    return f'<Annotation Term="Org.OData.Capabilities.V1.{term}"><Record>{values}</Record></Annotation>'
