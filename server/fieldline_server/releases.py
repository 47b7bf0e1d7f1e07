"""What follows from moving a model's alias: the flows that name it decide new records by the other version."""

from fieldline_core.errors import Misconfigured
from fieldline_core.events import record
from fieldline_core.findings import errors
from fieldline_core.flow import Flow
from fieldline_core.pipeline.engine import Engine
from fieldline_core.store import Transaction
from fieldline_inference.registry import Alias, ModelVersion, Registry
from fieldline_mappings import MappingDocument, lint_mapping
from fieldline_server.apply import release_flow


def follow_alias(engine: Engine, registry: Registry, name: str, alias: Alias, version: int, by: str) -> ModelVersion:
    """Points an alias at a version and releases the flows that name the model by it; raises Misconfigured where one misfits."""
    with engine.store.transaction("alias.flows") as tx:
        flows = [Flow.model_validate(row["body"]) for row in tx.all("flows.documents", kind="flow")]
        users = [flow for flow in flows if flow.models[0] in {f"{name}@{alias}", name if alias == "champion" else ""}]
        mappings = {flow.flow: tx.one("flows.document", kind="mapping", name=flow.mapping) for flow in users}
    signature = registry.resolve(f"{name}@{version}").signature
    for flow in users:
        mapping = mappings[flow.flow]
        for found in errors(lint_mapping(MappingDocument.model_validate(mapping["body"]), signature)) if mapping else ():
            where = f"the mapping {flow.mapping!r} of the flow {flow.flow!r}"
            raise Misconfigured(f"{where} does not fit {name}@{version}: {found.words}")

    def moved(tx: Transaction, chosen: ModelVersion) -> None:
        record(tx, "model.alias_moved", by, {"model": str(chosen), "alias": alias, "digest": chosen.digest})

    chosen = registry.alias(name, alias, version, by, moved)
    with engine.store.transaction("alias.release") as tx:
        for flow in users:
            release_flow(tx, registry, flow, by)
    return chosen
