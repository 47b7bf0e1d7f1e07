"""Extractors (ODP) as V2 shows them: what has changed lies behind delta links, which are records of a set of their own."""

from dataclasses import replace
from datetime import UTC, datetime

from fieldline_simulators.sap.model import EntitySet, Navigation, Property
from fieldline_simulators.sap.store import Record, Store

MODE = "ODQ_CHANGEMODE"
TOKEN = "DeltaToken"  # noqa: S105
_LINKS = "DeltaLinksOf"


def extracted(entity_set: EntitySet) -> tuple[EntitySet, EntitySet]:
    """The set with the properties that tell of a change, and the set of its delta links."""
    said = (Property(MODE, label="Change mode", length=1), Property("ODQ_ENTITYCNTR", "Decimal", precision=19, scale=0))
    links = EntitySet(
        f"{_LINKS}{entity_set.name}",
        (Property(TOKEN, nullable=False), Property("CreatedAt", "DateTimeOffset")),
        (TOKEN,), creatable=False, updatable=False, deletable=False,
        navigations=(Navigation("ChangesAfter", entity_set.name, (), changes=True),),
    )  # fmt: skip
    return replace(entity_set, properties=(*entity_set.properties, *said), tracked=True), links


def keep_link(store: Store, entity_set: EntitySet, token: str) -> bool:
    """Puts a delta link there; False where the set is of no extractor."""
    links = store.model.by_set.get(f"{_LINKS}{entity_set.name}")
    if links is None:
        return False
    with store.atomic():
        store.put(links, {TOKEN: token, "CreatedAt": datetime.now(UTC)})
    return True


def marked(record: Record, mode: str) -> Record:
    """A record that says what became of it, where it is an extractor's."""
    return replace(record, row={**record.row, MODE: mode}) if MODE in record.row else record
