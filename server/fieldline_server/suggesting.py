"""Mappings proposed from what a source holds and what a model takes; nothing that somebody wrote is overwritten."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldline_core.errors import Misconfigured
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.manage import current_release
from fieldline_core.schema import Entity
from fieldline_core.signature import Signature
from fieldline_inference.registry import ModelVersion
from fieldline_mappings import MappingDocument
from fieldline_mappings.inserting import features_indent, with_features
from fieldline_mappings.suggest import Proposal, Wanted, feature_lines, mapping_text, needs_record, propose
from fieldline_server.discovering import catalog, entity_of
from fieldline_server.sourcing import mapping_in

_ENTITY_WORDS = ("table", "object", "entity", "resource")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What is proposed for a model over an entity."""

    entity: str
    model: str
    proposals: Sequence[Proposal]
    outputs: Sequence[str]

    @property
    def text(self) -> str:
        """The proposals as a mapping in YAML."""
        return mapping_text(self.model, self.proposals, self.outputs)

    def as_json(self) -> list[dict[str, Any]]:
        """The proposals for scripts and the API."""
        found = ((each.wanted.name, each.field and each.field.name, each.score) for each in self.proposals)
        return [{"input": name, "field": field, "score": score} for name, field, score in found]


def entity_of_flow(engine: Engine, flow: str) -> tuple[str, str]:
    """The connection and the entity that a flow reads; raises Misconfigured where its query does not name one."""
    source = current_release(engine, flow).flow.source
    named = [source.query[word] for word in _ENTITY_WORDS if source and source.query.get(word)]
    if source is None or not named:
        raise Misconfigured(f"the flow {flow} does not read a table or object by its name: give the connection and the entity")
    return source.connection, str(named[0])


def suggest(engine: Engine, connection: str, entity: str, model: ModelVersion, inputs: Sequence[str] = ()) -> Suggestion:
    """For each input of the model (those named, in its order, where it takes them in one tensor) the field that fits best."""
    found: Entity = entity_of(catalog(engine, connection), connection, entity)
    proposals = propose(wanted_by(model.signature, str(model), inputs), found)
    return Suggestion(found.name, model.name, proposals, model.signature.output_columns())


def wanted_by(signature: Signature, model: str, inputs: Sequence[str]) -> list[Wanted]:
    """The inputs that want a feature; raises Misconfigured where only a person can name them."""
    if inputs:
        text = all(tensor.dtype == "string" for tensor in signature.inputs)
        return [Wanted(name, text) for name in inputs]
    wide = [tensor for tensor in signature.inputs if tensor.width != 1]
    if wide:
        size = f"{wide[0].width} values" if wide[0].width else "values"
        raise Misconfigured(f"the input {wide[0].name!r} of {model} takes {size} without names: give them, in order, by --inputs")
    return [Wanted(tensor.name, tensor.dtype == "string") for tensor in signature.inputs]


@dataclass(frozen=True, slots=True)
class Added:
    """The features that were added to a file, and the inputs that were left out, each with the reason."""

    features: Sequence[str]
    left_out: Mapping[str, str]


def add_to(path: Path, suggestion: Suggestion) -> Added:
    """Adds the proposed features that the file's mapping does not have; all else stays as it is, byte for byte."""
    text = _read(path)
    mapping = mapping_in(text, str(path))
    known = {feature.name.lower() for feature in mapping.features}
    new = {each.wanted.name: each for each in suggestion.proposals if each.wanted.name.lower() not in known}
    left_out = {name: why for name, proposal in new.items() if (why := _why_not(proposal, mapping))}
    indent = features_indent(text)
    lines = [line for name, proposal in new.items() if name not in left_out for line in feature_lines(proposal, indent)]
    changed = with_features(text, lines)
    after = mapping_in(changed, str(path))
    if after.model_copy(update={"features": after.features[: len(mapping.features)]}) != mapping:
        raise Misconfigured(f"features cannot be added to {path} without changing others: add them by hand")
    if lines:
        _replace(path, changed)
    return Added([feature.name for feature in after.features[len(mapping.features) :]], left_out)


def _why_not(proposal: Proposal, mapping: MappingDocument) -> str:
    """Why a proposal cannot be a feature of a mapping as it stands; empty where it can."""
    field = proposal.field
    if field is None:
        return "no field of the source fits"
    if needs_record(field) and field.name.lower() not in {name.lower() for name in mapping.record}:
        return f"list `{field.name}: {field.type}` under `record` first"
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError:
        raise Misconfigured(f"{path} is not text in UTF-8") from None
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}") from None


def _replace(path: Path, text: str) -> None:
    """Puts the new text into the file's place, whole or not at all, with the rights that the file had."""
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(text.encode())
    new.chmod(path.stat().st_mode & 0o777)
    os.replace(new, path)
