"""Rows of a query's view as batches, each row with its key."""

from collections.abc import Sequence

import polars as pl

from fieldline_connectors.fhir.config import FhirQuery
from fieldline_connectors.fhir.views import FrameMaker
from fieldline_connectors.fhir.views.compiler import Row
from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured


class Rows:
    """Makes batches of a query's rows."""

    def __init__(self, query: FhirQuery, timezone: str) -> None:
        columns = query.compiled.columns
        self._maker = FrameMaker(columns, timezone, query.partial_dates)
        self._name = query.key
        self.key = [column.name for column in columns].index(query.key)
        """The place of the key in a row."""

    def batch(self, rows: Sequence[Row]) -> Batch:
        """The rows, in their order."""
        keys = pl.Series("key", [row[self.key] for row in rows], dtype=pl.String)
        if keys.null_count():
            raise Misconfigured(f"the view's column {self._name} is blank in some rows, and `key` names it")
        return Batch(keys, self._maker.frame(rows))
