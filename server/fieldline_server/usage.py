"""What would feel it if a field, a model, a mapping or a connection changed: by what each flow runs now."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fieldline_core.flow import Release
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.manage import current_release
from fieldline_mappings import CompiledPlan
from fieldline_mappings.checked import lineage

_ENTITY_KEYS = ("table", "entity", "object", "resource")
"""The keys under which queries and targets of connectors say which table or object they mean."""


@dataclass(frozen=True, slots=True)
class Use:
    """One flow that uses what was asked for: where, and what of its mapping depends on it."""

    flow: str
    mapping: str
    model: str
    places: tuple[str, ...]
    """Where it is used, as paths in the flow's documents."""
    features: tuple[str, ...]
    fields: tuple[str, ...]


def field_uses(engine: Engine, field: str) -> list[Use]:
    """The flows that read, look up or write a field: `Industry`, `Lead.Industry`, `Opportunities.Amount`; case does not matter."""
    return [use for release, plan in _running(engine) if (use := field_use(release, plan, field))]


def model_uses(engine: Engine, model: str) -> list[Use]:
    """The flows that are scored by a model, or by one version of it (`churn@3`)."""
    return [
        _whole(release, plan, f"models: {release.flow.models[0]}")
        for release, plan in _running(engine)
        if any(model in (pin.name, f"{pin.name}@{pin.version}") for pin in release.models)
    ]


def mapping_uses(engine: Engine, mapping: str) -> list[Use]:
    """The flows that use a mapping."""
    return [_whole(release, plan, "mapping") for release, plan in _running(engine) if release.flow.mapping == mapping]


def connection_uses(engine: Engine, connection: str) -> list[Use]:
    """The flows that read from a connection, write to it or are triggered by it."""
    return [use for release, plan in _running(engine) if (use := _connected(release, plan, connection))]


def field_use(release: Release, plan: CompiledPlan, field: str) -> Use | None:
    """How one release uses a field; None where it does not."""
    flow, wanted, places = release.flow, _Wanted(field), list[str]()
    entity = entity_of(flow.source.query) if flow.source else ""
    entities = {lookup.name.lower(): entity_of(lookup.query) for lookup in flow.lookups}
    features, fields = depends(plan)
    paths = {path for found in (*features.values(), *fields.values()) for path in found}
    read = {path for path in paths if wanted.meets(path, entity, entities)}
    places += [f"reads {path}" for path in sorted(read)]
    if flow.source:
        places += wanted.mentions(flow.source.query, entity, "source.query")
    for lookup in flow.lookups:
        places += wanted.mentions(lookup.query, entity_of(lookup.query), f"lookups.{lookup.name}.query")
        places += [f"lookups.{lookup.name}.by"] if lookup.by and wanted.meets(lookup.by, entity, {}) else []
    if flow.trigger.key and flow.trigger.key.lower() == wanted.text:
        places.append("trigger.key")
    for write in flow.writes:
        places += wanted.mentions(write.target, entity_of(write.target), f"writes.{write.name}.target")
    if not places:
        return None
    touched = [tuple(name for name, found in part.items() if found & read) for part in (features, fields)]
    return Use(flow.flow, flow.mapping, _model(release), tuple(places), *touched)


def depends(plan: CompiledPlan) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """The source fields that each feature, and each written field, depends on."""
    roots = zip(plan.document.features, plan.checked.features, strict=True)
    features = {feature.name: lineage(plan.checked, [root])[0] for feature, root in roots}
    every = plan.lineage()
    return features, {name: set(every[name]) for name in plan.fields_written()}


def entity_of(terms: Mapping[str, Any]) -> str:
    """The table or object that a query or target names; empty where it names none, as with SQL of its own."""
    return next((terms[key] for key in _ENTITY_KEYS if isinstance(terms.get(key), str)), "")


class _Wanted:
    """The field that is asked for."""

    def __init__(self, field: str) -> None:
        self.text = field.strip().lower()
        self._entity, _, name = self.text.rpartition(".")
        self._word, self._path = (re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE) for word in (name, self.text))

    def meets(self, path: str, entity: str, lists: Mapping[str, str]) -> bool:
        """Whether a field that a mapping reads is this one; `lists` has the tables of child rows."""
        lower = path.lower()
        first, _, rest = lower.partition(".")
        table, field = (lists[first], rest) if first in lists else (entity, lower)
        spelt = {lower, lower.rpartition(".")[2], *(f"{name}.{field}" for name in _names(table))}
        # Where nobody says which table it is, it may be the one that is asked for.
        return self.text in spelt or (not table and self.text.partition(".")[2] == field)

    def mentions(self, terms: Mapping[str, Any], entity: str, path: str) -> Iterator[str]:
        """The places of a query or target that name the field in the words of its system."""
        word = self._word if not (self._entity and entity) or self._entity in _names(entity) else self._path
        for key, value in terms.items():
            if key not in _ENTITY_KEYS and any(word.search(text) for text in _texts(value)):
                yield f"{path}.{key}"


def _names(entity: str) -> set[str]:
    """What a table may be called: an entity may have a schema before it, as in sales.orders."""
    return {entity.lower(), entity.lower().rpartition(".")[2]} if entity else set()


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            # The keys are the system's fields; what fills them are the mapping's.
            yield from value
        case list() | tuple():
            for each in value:
                yield from _texts(each)


def _running(engine: Engine) -> Iterator[tuple[Release, CompiledPlan]]:
    with engine.store.transaction("flows") as tx:
        names = [row["name"] for row in tx.all("flows.listing") if row["release"]]
    for name in names:
        release = current_release(engine, name)
        plan = engine.parts.plan(release)
        assert isinstance(plan, CompiledPlan)
        yield release, plan


def _whole(release: Release, plan: CompiledPlan, *places: str) -> Use:
    features = tuple(feature.name for feature in plan.document.features)
    return Use(release.flow.flow, release.flow.mapping, _model(release), places, features, tuple(plan.fields_written()))


def _connected(release: Release, plan: CompiledPlan, connection: str) -> Use | None:
    flow, places = release.flow, list[str]()
    places += ["trigger.webhook"] if flow.trigger.webhook == connection else []
    places += ["source"] if flow.source and flow.source.connection == connection else []
    if places:
        reads = _whole(release, plan)
        features, fields = set(reads.features), set(reads.fields)
    else:
        features, fields = set(), set()
    for lookup in (each for each in flow.lookups if each.connection == connection):
        places.append(f"lookups.{lookup.name}")
        of_list = f"{lookup.name}.".lower()
        for touched, part in zip((features, fields), depends(plan), strict=True):
            touched |= {name for name, read in part.items() if any(f"{path}.".lower().startswith(of_list) for path in read)}
    for write in (each for each in flow.writes if each.connection == connection):
        places.append(f"writes.{write.name}")
        fields |= set((write.target.get("fields") or {}).values())
    if not places:
        return None
    order = _whole(release, plan)
    kept = (tuple(name for name in names if name in found) for names, found in ((order.features, features), (order.fields, fields)))
    return Use(flow.flow, flow.mapping, _model(release), tuple(places), *kept)


def _model(release: Release) -> str:
    return ", ".join(f"{pin.name}@{pin.version}" for pin in release.models)


USES: dict[str, Callable[[Engine, str], list[Use]]] = {
    "field": field_uses, "model": model_uses, "mapping": mapping_uses, "connection": connection_uses,
}  # fmt: skip
"""What can be asked for, by its word."""
