"""What the simulated company keeps: business partners, sales orders with items, products, stock, and hours of a planning table."""

from fieldline_simulators.sap.idocs import IDOCS
from fieldline_simulators.sap.model import EntitySet, Model, Navigation, Property

_CHANGED = Property("LastChangeDateTime", "DateTimeOffset", label="Changed on", creatable=False, updatable=False)
_CURRENCY = Property("TransactionCurrency", label="Document currency", length=5)

PARTNERS = EntitySet(
    "A_BusinessPartner",
    (
        Property("BusinessPartner", label="Business partner number", length=10, nullable=False),
        Property("BusinessPartnerCategory", label="Business partner category", length=1, nullable=False, initial="2"),
        Property("BusinessPartnerFullName", label="Full name", length=81),
        Property("Industry", label="Industry sector", length=10),
        Property("Country", label="Country/region", length=3),
        Property("BPExternalID", label="External number", length=40),
        Property("CreditLimit", "Decimal", label="Credit limit", precision=15, scale=2),
        Property("BusinessPartnerIsBlocked", "Boolean", label="Central block", nullable=False, initial=False),
        Property("CreationDate", "Date", label="Created on", updatable=False),
        _CHANGED,
        Property("YY1_ChurnScore_bus", "Decimal", label="Risk that the customer leaves, in percent", precision=5, scale=2),
        Property("YY1_ChurnReason_bus", label="Why", length=255),
    ),
    ("BusinessPartner",), label="Business partners", alternate=("BPExternalID",), tracked=True, changed_at="LastChangeDateTime",
    numbered="BusinessPartner", deletable=False,
    navigations=(Navigation("to_SalesOrder", "A_SalesOrder", (("BusinessPartner", "SoldToParty"),)),),
)  # fmt: skip

ORDERS = EntitySet(
    "A_SalesOrder",
    (
        Property("SalesOrder", label="Sales document", length=10, nullable=False),
        Property("SalesOrderType", label="Sales document type", length=4, nullable=False, initial="OR"),
        Property("SoldToParty", label="Sold-to party", length=10),
        Property("SalesOrderDate", "Date", label="Document date"),
        Property("CreationTime", "TimeOfDay", label="Time", updatable=False),
        Property("TotalNetAmount", "Decimal", label="Net value", precision=16, scale=3, creatable=False, updatable=False),
        _CURRENCY,
        Property("OverallSDProcessStatus", label="Overall status", length=1, initial="A"),
        Property("PurchaseOrderByCustomer", label="Customer reference", length=35),
        _CHANGED,
    ),
    ("SalesOrder",), label="Sales orders", tracked=True, changed_at="LastChangeDateTime", numbered="SalesOrder",
    repeatable=True,
    navigations=(
        Navigation("to_Item", "A_SalesOrderItem", (("SalesOrder", "SalesOrder"),)),
        Navigation("to_SoldToParty", "A_BusinessPartner", (("SoldToParty", "BusinessPartner"),), many=False),
    ),
)  # fmt: skip

ITEMS = EntitySet(
    "A_SalesOrderItem",
    (
        Property("SalesOrder", label="Sales document", length=10, nullable=False),
        Property("SalesOrderItem", label="Sales document item", length=6, nullable=False),
        Property("Material", label="Material", length=40),
        Property("RequestedQuantity", "Decimal", label="Requested quantity", precision=15, scale=3),
        Property("RequestedQuantityUnit", label="Unit", length=3),
        Property("NetAmount", "Decimal", label="Net value", precision=16, scale=3),
        _CURRENCY,
    ),
    ("SalesOrder", "SalesOrderItem"), label="Sales order items", numbered="SalesOrderItem",
    navigations=(
        Navigation("to_SalesOrder", "A_SalesOrder", (("SalesOrder", "SalesOrder"),), many=False),
        Navigation("to_Product", "A_Product", (("Material", "Product"),), many=False),
    ),
)  # fmt: skip

PRODUCTS = EntitySet(
    "A_Product",
    (
        Property("Product", label="Product", length=40, nullable=False),
        Property("ProductDescription", label="Product description", length=40),
        Property("ProductType", label="Product type", length=4, initial="FERT"),
        Property("ProductGroup", label="Product group", length=9),
        Property("BaseUnit", label="Base unit of measure", length=3, initial="PC"),
        Property("GrossWeight", "Decimal", label="Gross weight", precision=13, scale=3),
        Property("IsMarkedForDeletion", "Boolean", label="Marked for deletion", nullable=False, initial=False),
        _CHANGED,
    ),
    ("Product",), label="Products", tracked=True, changed_at="LastChangeDateTime", deletable=False,
    navigations=(Navigation("to_Stock", "A_MatlStkInAcctMod", (("Product", "Material"),)),),
)  # fmt: skip

STOCK = EntitySet(
    "A_MatlStkInAcctMod",
    (
        Property("Material", label="Material", length=40, nullable=False),
        Property("Plant", label="Plant", length=4, nullable=False),
        Property("StorageLocation", label="Storage location", length=4, nullable=False),
        Property("MatlWrhsStkQtyInMatlBaseUnit", "Decimal", label="Stock quantity", precision=31, scale=14),
        Property("MaterialBaseUnit", label="Base unit of measure", length=3),
    ),
    ("Material", "Plant", "StorageLocation"), label="Stock of materials", creatable=False, updatable=False, deletable=False,
)  # fmt: skip

_SCALED = {"type": "Decimal", "precision": 5, "scale": 4, "creatable": False, "updatable": False}

PLANNING = EntitySet(
    "Z_MaterialPlanningHour",
    (
        Property("Material", label="Material", length=40, nullable=False),
        Property("Day", "Int32", label="Day of the year", nullable=False),
        Property("hr", "Int32", label="Hour of the day", nullable=False),
        Property("mnth", label="Month", length=10, updatable=False),
        Property("season", "Int32", label="Season, 1 is winter", updatable=False),
        Property("holiday", "Boolean", label="Public holiday", updatable=False),
        Property("weekday", "Int32", label="Weekday, 0 is Sunday", updatable=False),
        Property("weathersit", label="Weather", length=20, updatable=False),
        Property("temp", label="Temperature", **_SCALED),  # type: ignore[arg-type]
        Property("atemp", label="Temperature as it feels", **_SCALED),  # type: ignore[arg-type]
        Property("hum", label="Humidity", **_SCALED),  # type: ignore[arg-type]
        Property("windspeed", label="Wind speed", **_SCALED),  # type: ignore[arg-type]
        Property("PlannedDemandQuantity", "Decimal", label="Planned demand", precision=13, scale=3),
        Property("DemandLevel", label="Level of demand", length=10),
        _CHANGED,
    ),
    ("Material", "Day", "hr"), label="Material planning by the hour", tracked=True, changed_at="LastChangeDateTime",
    creatable=False, deletable=False,
)  # fmt: skip

MODEL = Model((PARTNERS, ORDERS, ITEMS, PRODUCTS, STOCK, PLANNING, IDOCS))
