"""`$metadata` of a large service, made up: fifty entity sets in several schemas, with all that real ones have beside them."""

V2, V4 = 2, 4
SETS = 50
_SAP = 'xmlns:sap="http://www.sap.com/Protocols/SAPData" xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata"'
_KEYS = (("ID",), ("Company", "Document"), ("Company", "Document", "Year"), ("Company", "Document", "Year", "Item"))


def keys(number: int) -> tuple[str, ...]:
    """The key of a set: one to four parts."""
    return _KEYS[number % 4]


def large(version: int) -> str:
    """The document; V4 has types of other files (`common/$metadata`) and annotations of files that nobody needs."""
    edm = "http://schemas.microsoft.com/ado/2008/09/edm" if version == V2 else "http://docs.oasis-open.org/odata/ns/edm"
    schemas = "".join(
        f'<Schema Namespace="{name}" {alias} xmlns="{edm}">{content}</Schema>'
        for name, alias, content in (
            ("com.example.types", 'Alias="T"', _types(version)),
            ("com.example.complex", "", _complex(version)),
            ("com.example.box", 'Alias="SAP__self"', _container(version)),
        )
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        f'<edmx:Edmx Version="{"1.0" if version == V2 else "4.0"}" xmlns:edmx="urn:edmx" {_SAP}>'
        f'{_references() if version == V4 else ""}<edmx:DataServices m:DataServiceVersion="2.0">{schemas}</edmx:DataServices>'
        '<atom:link xmlns:atom="http://www.w3.org/2005/Atom" rel="self" href="https://elsewhere.example/$metadata"/></edmx:Edmx>'
    )


def common() -> str:
    """The other file: its alias is the same as the service's own, as with SAP, and means something else."""
    return (
        '<edmx:Edmx Version="4.0" xmlns:edmx="urn:edmx"><edmx:DataServices><Schema Namespace="com.example.common" Alias='
        '"SAP__self"><TypeDefinition Name="Amount" UnderlyingType="Edm.Decimal" Precision="15" Scale="3"/>'
        '<ComplexType Name="Base"><Property Name="Unit" Type="Edm.String" MaxLength="3"/></ComplexType>'
        '<ComplexType Name="Quantity" BaseType="SAP__self.Base"><Property Name="Value" Type="SAP__self.Amount"/></ComplexType>'
        "</Schema></edmx:DataServices></edmx:Edmx>"
    )


def _references() -> str:
    return (
        '<edmx:Reference Uri="https://vocabularies.example/Common.xml"><edmx:Include Namespace="com.sap.vocabularies.Common.v1" '
        'Alias="Common"/></edmx:Reference><edmx:Reference Uri="annotations/UI.xml"><edmx:IncludeAnnotations TermNamespace="x.UI"/>'
        '</edmx:Reference><edmx:Reference Uri="common/$metadata"><edmx:Include Namespace="com.example.common" Alias="C"/>'
        "</edmx:Reference>"
    )


def _types(version: int) -> str:
    base = '<EntityType Name="Root" Abstract="true"><Property Name="ChangedAt" Type="Edm.DateTimeOffset"/></EntityType>'
    enum = '<EnumType Name="State" IsFlags="true"><Member Name="open" Value="1"/></EnumType>' if version == V4 else ""
    return base + enum + "".join(_type(version, number) for number in range(SETS)) + _strangers(version)


def _type(version: int, number: int) -> str:
    key = "".join(f'<PropertyRef Name="{name}"/>' for name in keys(number))
    properties = "".join(
        f'<Property Name="{name}" Type="Edm.String" Nullable="false" MaxLength="{10 + place}"/>'
        for place, name in enumerate(keys(number))
    )
    properties += "".join(_property(version, number, place) for place in range(40))
    amount = 'Type="C.Amount"' if version == V4 else 'Type="Edm.Decimal" Precision="15" Scale="3" sap:label="Amount"'
    inside = '<Annotation Term="Common.Label" String="Amount"/>' if version == V4 else ""
    properties += f'<Property Name="Amount" {amount}>{inside}</Property><Property Name="Place" Type="com.example.complex.L1"/>'
    target = (number + 1) % SETS
    if version == V4:
        properties += (
            '<Property Name="Weight" Type="C.Quantity"/><Property Name="State" Type="T.State"/>'
            '<Property Name="Photo" Type="Edm.Stream"/><Property Name="Where" Type="Edm.GeographyPoint"/>'
            '<Property Name="Tags" Type="Collection(Edm.String)"/>'
            f'<NavigationProperty Name="_Lines" Type="Collection(T.Thing{target}Type)" ContainsTarget="true"/>'
            f'<NavigationProperty Name="_Head" Type="T.Thing{target}Type"/>'
        )
    else:
        properties += '<Property Name="Photo" Type="Edm.Binary"/>'
        properties += "".join(
            f'<NavigationProperty Name="{name}" Relationship="T.{end}{number}" FromRole="here" ToRole="there"/>'
            for name, end in (("to_Lines", "many"), ("to_Head", "one"))
        )
    return f'<EntityType Name="Thing{number}Type" BaseType="T.Root" OpenType="false"><Key>{key}</Key>{properties}</EntityType>' + (
        _associations(number, target) if version == V2 else ""
    )


def _property(version: int, number: int, place: int) -> str:
    kind = ("Edm.String", "Edm.Int32", "Edm.Decimal", "Edm.Boolean", "Edm.Guid", "Edm.Double", "Edm.Int64", "Edm.Byte")[place % 8]
    facets = ' Scale="variable"' if kind == "Edm.Decimal" and version == V4 else ' MaxLength="max"' if kind == "Edm.String" else ""
    notes = f' sap:label="Field {place}" sap:filterable="{str(place % 5 > 0).lower()}"' if version == V2 else ""
    return f'<Property Name="Field{place}" Type="{kind}"{facets}{notes}/>'


def _associations(number: int, target: int) -> str:
    return "".join(
        f'<Association Name="{name}{number}"><End Type="T.Thing{number}Type" Multiplicity="1" Role="here"/>'
        f'<End Type="T.Thing{target}Type" Multiplicity="{many}" Role="there"/></Association>'
        for name, many in (("many", "*"), ("one", "0..1"))
    )


def _strangers(version: int) -> str:
    """What is no entity, and some things that no version knows."""
    if version == V2:
        return '<Using Namespace="System" Alias="S"/><Invention Name="x"><Property Name="y" Type="no.such.Type"/></Invention>'
    return (
        '<Action Name="Approve" IsBound="true"><Parameter Name="it" Type="T.Thing0Type"/></Action>'
        '<Function Name="Total"><ReturnType Type="Edm.Decimal"/></Function><Term Name="Odd" Type="Edm.String"/>'
        '<Invention Name="x"/><Annotations Target="T.Thing0Type/Nobody"><Annotation Term="no.such.Term"/></Annotations>'
    )


def _complex(version: int) -> str:
    """Complex types in each other, deeper than anybody reads, and one inside itself."""
    nested = "".join(
        f'<ComplexType Name="L{level}"><Property Name="City" Type="Edm.String"/>'
        f'<Property Name="Inner" Type="com.example.complex.L{level + 1}"/></ComplexType>'
        for level in range(1, 8)
    )
    return f'{nested}<ComplexType Name="L8"><Property Name="Again" Type="com.example.complex.L8"/></ComplexType>'


def _container(version: int) -> str:
    """The sets have names that are not those of their types, and navigations other names again."""
    sets = "".join(
        f'<EntitySet Name="A_Thing{number}" EntityType="T.Thing{number}Type"{_flags(version, number)}>'
        f"{_inside(version, number)}</EntitySet>"
        for number in range(SETS)
    )
    imports = (
        '<FunctionImport Name="Release" ReturnType="Edm.Boolean" m:HttpMethod="POST"><Parameter Name="D" Type="Edm.String"/>'
        '</FunctionImport>' if version == V2 else '<Singleton Name="Me" Type="T.Thing0Type"/><ActionImport Name="Go"/>'
    )  # fmt: skip
    return f'<EntityContainer Name="Box">{sets}{imports}</EntityContainer>{_capabilities() if version == V4 else ""}'


def _flags(version: int, number: int) -> str:
    return f' sap:updatable="{str(number % 2 == 0).lower()}" sap:label="Things {number}"' if version == V2 else ""


def _inside(version: int, number: int) -> str:
    if version == V2:
        return ""
    binding = f'<NavigationPropertyBinding Path="_Lines" Target="A_Thing{(number + 1) % SETS}"/>'
    return f'{binding}<Annotation Term="Org.OData.Core.V1.Description" String="Things {number}"/>'


def _capabilities() -> str:
    return "".join(
        f'<Annotations Target="SAP__self.Box/A_Thing{number}"><Annotation Term="Org.OData.Capabilities.V1.'
        'UpdateRestrictions"><Record><PropertyValue Property="Updatable" Bool="false"/></Record></Annotation></Annotations>'
        for number in range(1, SETS, 2)
    )
