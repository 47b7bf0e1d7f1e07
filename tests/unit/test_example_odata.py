"""The second form of the bike-demand example: the same mapping and model, on the planning table of the simulated SAP system."""

from pathlib import Path

import yaml

from fieldline_connectors.odata import OdataConfig, OdataQuery, OdataTarget
from fieldline_core.flow import Connection, Flow
from fieldline_core.secret import Secret
from fieldline_mappings import MappingDocument
from fieldline_server.demo_systems import BIKES
from fieldline_simulators.sap import MODEL

FOLDER = Path(__file__).resolve().parents[2] / "examples" / BIKES


def test_it_brings_no_mapping_of_its_own_and_all_that_the_first_forms_needs_is_in_the_planning_table() -> None:
    connection, flow = yaml.safe_load_all((FOLDER / "flow-odata.yaml").read_text())
    first = list(yaml.safe_load_all((FOLDER / "flow.yaml").read_text()))
    settings = Connection.model_validate(connection).settings
    OdataConfig.model_validate({**settings, "login": {**settings["login"], "password": Secret("any")}})
    checked = Flow.model_validate(flow)
    mapping = MappingDocument.model_validate(next(document for document in first if "features" in document))
    before = next(document for document in first if "flow" in document)
    assert (checked.mapping, checked.models) == (mapping.mapping, before["models"])

    assert checked.source
    planning = MODEL.by_set[OdataQuery.model_validate(checked.source.query).entity_set]
    target = OdataTarget.model_validate(checked.writes[0].target)
    read = {feature.field for feature in mapping.features if getattr(feature, "field", None)}
    assert read <= planning.by_name.keys()
    assert all(planning.by_name[name].updatable for name in target.fields)
    assert set(target.fields.values()) == set(before["writes"][0]["target"]["fields"].values())
