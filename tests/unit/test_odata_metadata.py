"""`$metadata` of V2 and V4: read, never assumed."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_connectors.odata.edmx import service
from fieldline_connectors.odata.metadata import Service
from fieldline_core.errors import Misconfigured
from fieldline_core.schema import FieldType

V2 = """<edmx:Edmx Version="1.0" xmlns:edmx="http://schemas.microsoft.com/ado/2007/06/edmx"
  xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata" xmlns:sap="http://www.sap.com/Protocols/SAPData">
<edmx:DataServices m:DataServiceVersion="2.0"><Schema Namespace="API" xmlns="http://schemas.microsoft.com/ado/2008/09/edm">
<EntityType Name="PartnerType" sap:label="Partner"><Key><PropertyRef Name="Partner"/></Key>
 <Property Name="Partner" Type="Edm.String" Nullable="false" MaxLength="10" sap:label="Business Partner" sap:updatable="false"/>
 <Property Name="Born" Type="Edm.DateTime" Precision="0" sap:display-format="Date"/>
 <Property Name="Limit" Type="Edm.Decimal" Precision="15" Scale="3" sap:filterable="false" sap:sortable="false"/>
 <Property Name="Address" Type="API.AddressType"/>
 <Property Name="Photo" Type="Edm.Binary"/>
 <NavigationProperty Name="to_Item" Relationship="API.a1" FromRole="From" ToRole="To"/>
 <NavigationProperty Name="to_Head" Relationship="API.a2" FromRole="From" ToRole="To"/></EntityType>
<EntityType Name="ItemType"><Key><PropertyRef Name="Partner"/><PropertyRef Name="No"/></Key>
 <Property Name="Partner" Type="Edm.String" Nullable="false"/><Property Name="No" Type="Edm.Int32" Nullable="false"/></EntityType>
<ComplexType Name="AddressType"><Property Name="City" Type="Edm.String"/></ComplexType>
<Association Name="a1"><End Type="API.PartnerType" Multiplicity="1" Role="From"/><End Type="API.ItemType" Multiplicity="*"
 Role="To"/>
</Association>
<Association Name="a2"><End Type="API.ItemType" Multiplicity="1" Role="From"/><End Type="API.PartnerType" Multiplicity="0..1"
 Role="To"/>
</Association>
<EntityContainer Name="box"><EntitySet Name="Partners" EntityType="API.PartnerType" sap:label="All partners" sap:creatable="false"/>
<EntitySet Name="Items" EntityType="API.ItemType" sap:updatable="false" sap:change-tracking="true"/></EntityContainer>
</Schema></edmx:DataServices></edmx:Edmx>"""

V4 = """<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx">
<edmx:Reference Uri="/vocabularies/Common"><edmx:Include Namespace="com.sap.vocabularies.Common.v1"
 Alias="SAP__common"/></edmx:Reference>
<edmx:Reference Uri="/vocabularies/Core"><edmx:Include Namespace="Org.OData.Core.V1" Alias="Core"/></edmx:Reference>
<edmx:Reference Uri="/vocabularies/Cap"><edmx:Include Namespace="Org.OData.Capabilities.V1" Alias="Capabilities"/></edmx:Reference>
<edmx:Reference Uri="shared/$metadata"><edmx:Include Namespace="shared" Alias="S"/></edmx:Reference>
<edmx:DataServices><Schema Namespace="api" Alias="SELF" xmlns="http://docs.oasis-open.org/odata/ns/edm">
<EntityType Name="Base" Abstract="true"><Key><PropertyRef Name="ID"/></Key><Property Name="ID" Type="Edm.Guid"
 Nullable="false"/></EntityType>
<EntityType Name="Order" BaseType="SELF.Base"><Property Name="Amount" Type="S.Money"/><Property Name="State" Type="SELF.State"/>
 <Property Name="Changed" Type="Edm.DateTimeOffset" Precision="7"/><Property Name="Place" Type="S.Address"/>
 <Property Name="Tags" Type="Collection(Edm.String)"/><NavigationProperty Name="Items" Type="Collection(SELF.Item)"/></EntityType>
<EntityType Name="Item" BaseType="SELF.Base"/>
<EnumType Name="State"><Member Name="open" Value="0"/></EnumType>
<EntityContainer Name="C"><EntitySet Name="Orders" EntityType="api.Order"/><EntitySet Name="Items"
 EntityType="SELF.Item"/></EntityContainer>
<Annotations Target="SELF.Order/Amount"><Annotation Term="SAP__common.Label" String="Net amount"/></Annotations>
<Annotations Target="api.Order/Changed"><Annotation Term="Core.Computed"/></Annotations>
<Annotations Target="SELF.C/Orders"><Annotation Term="Capabilities.InsertRestrictions"><Record>
 <PropertyValue Property="Insertable" Bool="false"/></Record></Annotation>
 <Annotation Term="Capabilities.FilterRestrictions"><Record><PropertyValue Property="NonFilterableProperties"><Collection>
 <PropertyPath>Amount</PropertyPath></Collection></PropertyValue></Record></Annotation>
 <Annotation Term="Capabilities.ChangeTracking"><Record><PropertyValue Property="Supported" Bool="true"/></Record></Annotation>
 <Annotation Term="Org.OData.Repeatability.V1.Supported"/></Annotations>
</Schema></edmx:DataServices></edmx:Edmx>"""

SHARED = b"""<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>
<Schema Namespace="shared" xmlns="http://docs.oasis-open.org/odata/ns/edm"><TypeDefinition Name="Money"
 UnderlyingType="Edm.Decimal"/>
<ComplexType Name="Address"><Property Name="City" Type="Edm.String" MaxLength="40"/></ComplexType></Schema>
</edmx:DataServices></edmx:Edmx>"""


def nothing(uri: str) -> bytes:
    raise AssertionError(f"{uri} is not needed")


def v4() -> Service:
    asked: list[str] = []

    def load(uri: str) -> bytes:
        asked.append(uri)
        return SHARED

    found = service(V4.encode(), load)
    # Vocabularies lie on other people's hosts, and nothing in them is needed.
    assert asked == ["shared/$metadata"]
    return found


def test_sap_v2_is_read_with_labels_types_and_what_is_allowed() -> None:
    found = service(V2.encode(), nothing)
    partners = found.entity_set("Partners")
    assert not found.v4
    assert (partners.label, partners.creatable, partners.updatable) == ("All partners", False, True)
    assert partners.type.keys == ("Partner",)
    kinds = partners.type.properties
    assert (kinds["Partner"].label, kinds["Partner"].length, kinds["Partner"].updatable) == ("Business Partner", 10, False)
    assert kinds["Born"].type is FieldType.DATE
    assert (kinds["Limit"].precision, kinds["Limit"].scale, kinds["Limit"].filterable) == (15, 3, False)
    assert kinds["Address.City"].type is FieldType.TEXT
    assert kinds["Photo"].type is None
    assert partners.type.navigations["to_Item"].many
    assert not partners.type.navigations["to_Head"].many
    items = found.entity_set("Items")
    assert (items.type.keys, items.updatable, items.tracks_changes) == (("Partner", "No"), False, True)


def test_v4_is_read_with_aliases_base_types_annotations_and_imported_schemas() -> None:
    orders = v4().entity_set("Orders")
    kinds = orders.type.properties
    assert orders.type.keys == ("ID",)
    assert (kinds["Amount"].edm, kinds["Amount"].label, kinds["Amount"].filterable) == ("Edm.Decimal", "Net amount", False)
    assert not kinds["Changed"].updatable
    assert kinds["Place.City"].length == 40
    assert kinds["Tags"].type is None
    assert kinds["State"].type is FieldType.TEXT
    assert (orders.creatable, orders.tracks_changes, orders.repeatable) == (False, True, True)
    assert orders.type.navigations["Items"].many


def test_a_service_of_many_entity_sets_is_read() -> None:
    sets = "".join(f'<EntitySet Name="S{i}" EntityType="API.PartnerType"/>' for i in range(500))
    found = service(V2.replace("</EntityContainer>", f"{sets}</EntityContainer>").encode(), nothing)
    assert len(found.sets) == 502


@pytest.mark.parametrize(
    "document",
    [
        b"", b"<html><body>Logon</body></html>", b"{}",
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>',
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><edmx:Edmx xmlns:edmx="u"/>',
    ],
)  # fmt: skip
def test_what_is_no_metadata_is_refused(document: bytes) -> None:
    with pytest.raises(Misconfigured, match=r"\$metadata"):
        service(document, nothing)


def test_types_that_are_based_on_each_other_in_a_circle_are_refused() -> None:
    circle = V4.replace('Name="Base" Abstract="true"', 'Name="Base" BaseType="SELF.Order"')
    with pytest.raises(Misconfigured, match="stands on more than 100 others in a row"):
        service(circle.encode(), lambda uri: SHARED)


def chain(kind: str, length: int) -> bytes:
    """A service whose set is of a type, or holds one, that stands on so many others."""
    names = range(length)
    types = "".join(f'<{kind} Name="T{n}" BaseType="A.T{n + 1}"><Property Name="P{n}" Type="Edm.Int32"/></{kind}>' for n in names)
    own = 'BaseType="A.T0"><Property Name="own"' if kind == "EntityType" else '><Property Name="inner"'
    box = '<EntityContainer Name="C"><EntitySet Name="Owns" EntityType="A.Own"/></EntityContainer>'
    first = f'<EntityType Name="Own" {own} Type="A.T0"/></EntityType>{box}'
    return f'<Edmx><Schema Namespace="A">{types}{first}</Schema></Edmx>'.encode()


@pytest.mark.parametrize("kind", ["EntityType", "ComplexType"])
def test_a_chain_of_base_types_is_followed_and_one_of_thousands_refused_at_once(kind: str) -> None:
    assert len(service(chain(kind, 99), nothing).entity_set("Owns").type.properties) >= 99
    with pytest.raises(Misconfigured, match=r"\$metadata: the type A\.\w+ stands on more than 100 others in a row"):
        service(chain(kind, 4_000), nothing)


def test_complex_types_that_multiply_each_other_end() -> None:
    inner = "".join(f'<Property Name="P{number}" Type="API.L{{}}"/>' for number in range(1_000))
    nested = "".join(f'<ComplexType Name="L{level}">{inner.format(*[level + 1] * 1_000)}</ComplexType>' for level in range(5))
    bomb = V2.replace("<ComplexType", f"{nested}<ComplexType", 1).replace(
        '<Property Name="Photo" Type="Edm.Binary"/>', inner.format(*[0] * 1_000)
    )
    properties = service(bomb.encode(), nothing).entity_set("Partners").type.properties
    assert list(properties) == ["Partner", "Born", "Limit", "Address.City"]


@pytest.mark.parametrize("made", ["EntityType", "EntitySet"])
def test_a_short_document_that_says_very_much_is_refused(made: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fieldline_connectors.odata.edmx._MOST_IN_ALL", 400)
    based = made == "EntityType"
    many = "".join(f'<{made} Name="X{n}" {"BaseType" if based else "EntityType"}="A.Own"/>' for n in range(40))
    place = "<EntityContainer" if based else "</EntityContainer>"
    document = chain("EntityType", 9).decode().replace(place, f"{many}{place}")
    with pytest.raises(Misconfigured, match=r"\$metadata of the service has more than 400 properties in all"):
        service(document.encode(), nothing)


def test_a_name_that_is_not_there_is_answered_by_those_that_are() -> None:
    with pytest.raises(Misconfigured, match="Items, Partners"):
        service(V2.encode(), nothing).entity_set("Partner")
    with pytest.raises(Misconfigured, match=r"is Edm\.Binary"):
        service(V2.encode(), nothing).entity_set("Partners").property("Photo")


@given(st.integers(0, len(V2)), st.integers(1, 40))
def test_broken_metadata_raises_nothing_but_our_errors(start: int, length: int) -> None:
    with suppress(Misconfigured):
        service((V2[:start] + V2[start + length :]).encode(), lambda uri: b"")
