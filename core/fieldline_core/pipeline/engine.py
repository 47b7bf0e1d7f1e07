"""What the verbs of the pipeline share: store, keys, settings, and the parts that the wiring supplies."""

from dataclasses import dataclass
from typing import Any, Protocol

from fieldline_core.flow import LookupStep, Release, WriteStep
from fieldline_core.keyring import Keyring
from fieldline_core.ports import Model, Plan, Query, Target, Topic
from fieldline_core.settings import Settings
from fieldline_core.store import Store


class Parts(Protocol):
    """Concrete connectors, mappings and models, by what a release says; kept per process."""

    def connector(self, name: str) -> Any:
        """The connection of that name, opened."""
        ...

    def release(self, id: int) -> Release:
        """The release of that id."""
        ...

    def plan(self, release: Release) -> Plan:
        """The release's mapping, compiled."""
        ...

    def model(self, release: Release) -> Model:
        """The release's model, loaded."""
        ...

    def query(self, release: Release) -> Query | None:
        """What the release reads."""
        ...

    def topic(self, release: Release) -> Topic:
        """Which changes the release listens to."""
        ...

    def child_query(self, release: Release, lookup: LookupStep) -> Query:
        """What one of its lookups reads."""
        ...

    def target(self, release: Release, write: WriteStep) -> Target:
        """What one of its steps writes."""
        ...

    def runtime(self, release: Release) -> dict[str, str]:
        """What computes the release's answers here, with versions: part of the evidence."""
        ...

    def close(self) -> None:
        """Releases what the connections hold; what is asked for later is opened again."""
        ...


@dataclass(frozen=True, slots=True)
class Engine:
    """Everything that a verb of the pipeline needs."""

    store: Store
    keyring: Keyring
    settings: Settings
    parts: Parts
    owner: str
    """Who holds the leases: `worker/pid`."""

    def close(self) -> None:
        """Releases the connections to other systems and to the store."""
        self.parts.close()
        self.store.close()
