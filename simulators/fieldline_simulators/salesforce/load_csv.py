"""Records from CSV: a header of API names; a custom field that the org lacks is added."""

import csv
import io

from fieldline_simulators.salesforce import dml
from fieldline_simulators.salesforce.errors import ApiError
from fieldline_simulators.salesforce.org import Org
from fieldline_simulators.salesforce.schema import Field


def load_csv(org: Org, name: str, text: str) -> int:
    """Creates a record for each line, all or none; raises ApiError with the line that is refused."""
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    kind = org.kind(name)
    for column in rows[0] if rows else ():
        if column and column.endswith("__c") and kind.get(column) is None:
            org.add_field(kind.name, _field_of(column, [row[column] for row in rows]))
    with org.transaction(org.administrator()) as tx:
        for line, row in enumerate(rows, 2):
            values = {column: value for column, value in row.items() if column and value and column != "Id"}
            try:
                dml.insert(tx, kind.name, values, from_csv=True)
            except ApiError as error:
                raise ApiError(error.code, f"line {line}: {error.message}", error.fields) from None
    return len(rows)


def _field_of(name: str, values: list[str]) -> Field:
    try:
        numbers = [float(value) for value in values if value]
    except ValueError:
        return Field(name, "string", length=255)
    return Field(name, "double", scale=6) if numbers else Field(name, "string", length=255)
