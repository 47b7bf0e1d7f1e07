"""The connector `fhir`: reads the resources of an EHR over FHIR R4 as the rows of views."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from fieldline_connectors.fhir.config import FhirConfig, FhirQuery
from fieldline_connectors.fhir.search import Search, declared
from fieldline_connectors.fhir.wire import Wire
from fieldline_core.batch import Batch
from fieldline_core.ports import Cursor, Page
from fieldline_core.schema import Catalog, Entity, Field, FieldType


class Fhir:
    """Reads the resources of a FHIR R4 server; may be used by several threads at once."""

    name: ClassVar[str] = "fhir"
    Config: ClassVar[type[FhirConfig]] = FhirConfig
    Query: ClassVar[type[FhirQuery]] = FhirQuery

    def __init__(self, config: FhirConfig) -> None:
        self.config = config
        self._wire = Wire(config)

    def check(self) -> None:
        """Returns where the server is a FHIR R4 server and signs us in; raises Misconfigured or Unavailable."""
        self._wire.sign_in()
        _ = self._wire.capabilities

    def close(self) -> None:
        """Closes the connections that are kept open."""
        self._wire.close()

    def discover(self) -> Catalog:
        """The types of resources that the server has, each with its search parameters in its label; a view says which fields."""
        statement = self._wire.capabilities
        listed = (found.get("type") for each in statement.get("rest", []) for found in each.get("resource", []))
        return Catalog(entities=tuple(_entity(type, declared(statement, type)) for type in sorted({*listed} - {None})))

    def read(self, query: FhirQuery, after: Cursor | None, limit: int) -> Iterator[Page]:
        """Pages of at most `limit` rows behind `after`."""
        return Search(self._wire, query).pages(after, limit)

    def lookup(self, query: FhirQuery, keys: Sequence[str]) -> Batch:
        """The rows with these keys; keys that are not there are left out."""
        return Search(self._wire, query).by_keys(keys).last_of_each_key()[0]

    def children(self, query: FhirQuery, keys: Sequence[str]) -> Batch:
        """The rows whose key, such as a patient, is one of these; several may have the same."""
        return Search(self._wire, query).by_keys(keys)


def _entity(type: str, parameters: set[str]) -> Entity:
    found_by = f" (found by {', '.join(sorted(parameters))})" if parameters else ""
    key = Field(name="id", type=FieldType.TEXT, label="Id of the resource", nullable=False, key=True, updatable=False)
    return Entity(name=type, label=f"{type}{found_by}", fields=(key,))
