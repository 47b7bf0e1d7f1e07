"""The simulated server as a whole: its options, its vendor's profile, its resources, and what serves them."""

import itertools
import threading
from dataclasses import dataclass
from pathlib import Path

from fieldline_simulators.fhir.access import Access
from fieldline_simulators.fhir.cds import CdsClient
from fieldline_simulators.fhir.exports import Exports
from fieldline_simulators.fhir.faults import Faults
from fieldline_simulators.fhir.paging import Pages
from fieldline_simulators.fhir.profiles import PROFILES
from fieldline_simulators.fhir.search import Searching
from fieldline_simulators.fhir.store import Store
from fieldline_simulators.fhir.subscriptions import Subscriptions


@dataclass(frozen=True, slots=True)
class Options:
    """What a server begins with."""

    profile: str = "medplum"
    seed: int = 7
    state: Path | None = None
    #: How many patients of the study a new server has; None for all that the file holds.
    patients: int | None = None
    #: Folder of bundles and resources (JSON, NDJSON, gzipped or not) that a new server gets.
    bundles: Path | None = None
    #: How long writes that race overlap: the real servers' window, made wide enough to be met.
    race_window_s: float = 0.005
    token_s: int = 300
    page_session_s: float = 600.0
    #: How often an export answers that it is under way.
    export_polls: int = 1
    #: How long after a failed delivery the next is tried.
    retry_after_s: tuple[float, ...] = (1.4, 2.3)


class Ehr:
    """One server with its records."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.profile = PROFILES[options.profile]
        self.store = Store(options.seed, options.state, integer_versions=self.profile.integer_versions)
        self.searching = Searching(self.store, self.profile)
        self.pages = Pages(self.profile, options.page_session_s)
        self.faults = Faults(options.seed)
        self.access = Access(self.profile, options.token_s)
        self.exports = Exports(self.store, self.profile, options.export_polls)
        self.subscriptions = Subscriptions(self.store, self.searching, options.retry_after_s)
        self.cds = CdsClient(self.searching)
        self._overlaps = itertools.count(1)
        self._overlap_lock = threading.Lock()

    def loses_overlap(self) -> bool:
        """Whether a write that overlapped another is refused: every second one is, where the vendor refuses any."""
        with self._overlap_lock:
            return self.profile.overlapping_conflict and next(self._overlaps) % 2 == 1

    def close(self) -> None:
        """Ends what is under way, and closes the state."""
        self.subscriptions.close()
        self.cds.close()
        self.access.close()
        self.store.close()
