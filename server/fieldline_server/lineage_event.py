"""What a run is in the words of OpenLineage: its job, what it reads and writes, and which column comes from which."""

import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from fieldline_core.flow import Connection, Release
from fieldline_core.store import Row
from fieldline_mappings import CompiledPlan
from fieldline_server import __version__
from fieldline_server.usage import entity_of

State: TypeAlias = Literal["START", "COMPLETE", "FAIL", "ABORT"]
PRODUCER = f"urn:fieldline:{__version__}"
_SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS = {
    "columnLineage": "1-2-0/ColumnLineageDatasetFacet", "errorMessage": "1-0-1/ErrorMessageRunFacet",
    "jobType": "2-0-3/JobTypeJobFacet", "outputStatistics": "1-0-2/OutputStatisticsOutputDatasetFacet",
}  # fmt: skip
_DATABASES = (("postgres", 5432, "public"), ("mssql", 1433, "dbo"), ("mysql", 3306, ""), ("oracle", 1521, ""))
_DIALECTS = {"postgresql": "postgres", "sqlserver": "mssql", "mariadb": "mysql", "oracle": "oracle"}
_DRIVERS = {
    "postgres": "postgres",
    "psql": "postgres",
    "sql server": "mssql",
    "maria": "mysql",
    "mysql": "mysql",
    "oracle": "oracle",
}
_SETTING = re.compile(r"\s*([^=;]+?)\s*=\s*(\{[^}]*\}|[^;]*)")


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset as the naming of OpenLineage has it."""

    namespace: str
    name: str

    def as_json(self, **facets: Any) -> dict[str, Any]:
        """With facets of its own."""
        return {"namespace": self.namespace, "name": self.name, "facets": {each: _facet(each, facets[each]) for each in facets}}


Datasets: TypeAlias = Mapping[str, list[dict[str, Any]]]
"""The `inputs` and `outputs` of a run."""


def run_event(state: State, run: Row, release: Release, namespace: str, datasets: Datasets) -> dict[str, Any]:
    """The RunEvent of a run that has come to a state; the same run has the same id each time it is told."""
    run_id = uuid.uuid5(uuid.NAMESPACE_URL, f"{run['log']}/runs/{run['id']}")
    at = run["began"] if state == "START" else run["finished_at"]
    facets = {}
    if state in ("FAIL", "ABORT"):
        facets["errorMessage"] = _facet("errorMessage", {"message": run["reason"] or "", "programmingLanguage": "Python"})
    processing = "STREAMING" if run["kind"] == "events" else "BATCH"
    job = _facet("jobType", {"processingType": processing, "integration": "FIELDLINE", "jobType": "FLOW"})
    return {
        "eventType": state, "eventTime": _time(at), "producer": PRODUCER, "schemaURL": _SPEC,
        "run": {"runId": str(run_id), "facets": facets},
        "job": {"namespace": namespace, "name": release.flow.flow, "facets": {"jobType": job}}, **datasets,
    }  # fmt: skip


def datasets(release: Release, plan: CompiledPlan, connections: Mapping[str, Connection], written: int | None = None) -> Datasets:
    """What a release reads and writes, with the columns that each written one comes from; `written` is how many rows were."""
    flow, inputs = release.flow, dict[str, Dataset]()
    if flow.source:
        inputs[""] = dataset(connections[flow.source.connection], flow.source.query)
    elif flow.trigger.webhook:
        inputs[""] = Dataset(f"fieldline://{flow.trigger.webhook}", flow.flow)
    for lookup in flow.lookups:
        inputs[lookup.name.lower()] = dataset(connections[lookup.connection], lookup.query)
    lineage, outputs = plan.lineage(), []
    for write in flow.writes:
        fields = write.target.get("fields") or {name: name for name in plan.fields_written()}
        columns = {column: {"inputFields": list(_origins(lineage.get(field, ()), inputs))} for column, field in fields.items()}
        output = dataset(connections[write.connection], write.target).as_json(columnLineage={"fields": columns})
        if written is not None and len(flow.writes) == 1:
            output["outputFacets"] = {"outputStatistics": _facet("outputStatistics", {"rowCount": written})}
        outputs.append(output)
    return {"inputs": [each.as_json() for each in dict.fromkeys(inputs.values())], "outputs": outputs}


def dataset(connection: Connection, terms: Mapping[str, Any]) -> Dataset:
    """What a query or target of a connection means; under the connection's own name where nobody else has one for it."""
    sql = terms.get("sql")
    entity = entity_of(terms) or (f"sql-{sha256(sql.encode()).hexdigest()[:12]}" if isinstance(sql, str) else "records")
    settings = connection.settings
    if connection.connector == "odbc" and (found := _table(settings, entity if entity_of(terms) else "")):
        return found
    if connection.connector == "webhook" and settings.get("url"):
        url = urlsplit(str(settings["url"]))
        # A query may hold a secret, and so may a user's name.
        return Dataset(f"{url.scheme}://{url.hostname}{f':{url.port}' if url.port else ''}", url.path or "/")
    return Dataset(f"fieldline://{connection.connection}", entity)


def _table(settings: Mapping[str, Any], table: str) -> Dataset | None:
    """A database's table by its host, as the naming of OpenLineage has it; None where the settings do not say enough."""
    given = {name.lower(): value.strip("{} ") for name, value in _SETTING.findall(settings.get("connection_string") or "")}
    driver = given.get("driver", "").lower()
    scheme = _DIALECTS.get(settings.get("dialect", "auto")) or next((name for word, name in _DRIVERS.items() if word in driver), "")
    server = next((given[name] for name in ("servername", "server", "host", "address") if given.get(name)), "").removeprefix("tcp:")
    host, _, port = server.partition(",")
    database = next((given[name] for name in ("database", "db", "servicename") if given.get(name)), "")
    if not (scheme and host and database and table):
        return None
    _, usual, schema = next(each for each in _DATABASES if each[0] == scheme)
    parts = table.split(".")
    if schema and len(parts) == 1:
        parts = [schema, *parts]
    named = parts if len(parts) == 3 or (not schema and len(parts) == 2 and scheme == "mysql") else [database, *parts]
    return Dataset(f"{scheme}://{host}:{port or given.get('port') or usual}", ".".join(named))


def _origins(paths: Iterable[str], inputs: Mapping[str, Dataset]) -> Iterable[dict[str, Any]]:
    for path in paths:
        first, _, rest = path.partition(".")
        one, field = (inputs[first.lower()], rest) if rest and first.lower() in inputs else (inputs.get(""), path)
        if one:
            kind = {"type": "INDIRECT" if not rest and first.lower() in inputs else "DIRECT", "subtype": "TRANSFORMATION"}
            yield {"namespace": one.namespace, "name": one.name, "field": field, "transformations": [kind]}


def _facet(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    version, _, kind = _FACETS[name].partition("/")
    schema = f"https://openlineage.io/spec/facets/{version}/{kind}.json#/$defs/{kind}"
    return {"_producer": PRODUCER, "_schemaURL": schema, **values}


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
