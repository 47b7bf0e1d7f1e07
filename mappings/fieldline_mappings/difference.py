"""What differs between two versions of a mapping in its meaning, in sentences, with what each change touches."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from fieldline_core.schema import FieldType
from fieldline_mappings.document import Feature, MappingDocument
from fieldline_mappings.uses import UseGraph, Uses, tokens
from fieldline_mappings.wording import blank_words, check_words, clip_words, unknown_words, value_words

_FIRST = 3
"""Rows of a table, or categories, that a sentence names."""
_NUMBERS = {FieldType.NUMBER, FieldType.INTEGER, FieldType.DECIMAL}


@dataclass(frozen=True, slots=True)
class Change:
    """One change, and the features and written fields that can come out otherwise by it."""

    kind: str
    name: str
    sentence: str
    features: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    old: str = ""
    """The formula as it was, where a formula changed."""
    new: str = ""
    """The formula as it is."""


def differences(old: MappingDocument, new: MappingDocument) -> list[Change]:
    """The changes from one version to another; golden records, and how a formula is spaced and commented, are none."""
    both = _Versions(old, new)
    parts = (_settings, _record, _tables, _features, _moves, _inputs, _fields)
    return [change for part in parts for change in part(both)]


class _Versions:
    """Both versions, and what follows from a change in either."""

    def __init__(self, old: MappingDocument, new: MappingDocument) -> None:
        self.old, self.new = old, new
        self._graphs = (UseGraph(old), UseGraph(new))
        # The order of the new document; what it no longer has comes last.
        self._features = _places(feature.name for document in (new, old) for feature in document.features)
        self._fields = _places(field.name for document in (new, old) for field in document.written)

    def change(
        self, kind: str, name: str, sentence: str, *features: str, uses: "_Wanted | None" = None, written: Iterable[str] = (),
        formulas: tuple[str, str] = ("", ""),
    ) -> Change:  # fmt: skip
        """A change with all that follows from these features, from formulas that `uses` says yes to, and these fields."""
        reached, fields = set[str](), set(written)
        for graph in self._graphs:
            own, directly = graph.where(partial(uses, graph)) if uses else (set[str](), set[str]())
            following, named = graph.following([*features, *own])
            reached |= following
            fields |= directly | named
        touched = sorted(reached, key=self._features.__getitem__), sorted(fields, key=self._fields.__getitem__)
        return Change(kind, name, sentence, tuple(touched[0]), tuple(touched[1]), *formulas)


_Wanted = Callable[[UseGraph, Uses], bool]


def _places(names: Iterable[str]) -> dict[str, int]:
    return {name: place for place, name in enumerate(dict.fromkeys(names))}


def _settings(both: _Versions) -> Iterator[Change]:
    old, new = both.old, both.new
    if old.timezone != new.timezone:
        words = f"Days and hours are those of {new.timezone} now, and were those of {old.timezone}."
        yield both.change("timezone", new.timezone, words, uses=lambda _, found: found.moments)
    if old.blanks != new.blanks:
        words = f"A blank number field is {_blanks(new.blanks)} now, and was {_blanks(old.blanks)}."
        yield both.change("blanks", new.blanks, words, uses=_numbers)


def _blanks(blanks: str) -> str:
    return "taken as 0" if blanks == "zero" else "blank"


def _numbers(graph: UseGraph, found: Uses) -> bool:
    return any(graph.types.get(name) in _NUMBERS for name in found.fields)


def _record(both: _Versions) -> Iterator[Change]:
    old, new = (_paths(document) for document in (both.old, both.new))
    named = {feature.field for document in (both.old, both.new) for feature in document.features}
    for name, type in new.items():
        if name not in old and name not in named:
            yield both.change("record-added", name, f"Formulas can name the field {name!r} now, as {type}.", uses=_reads(name))
        elif name in old and old[name] != type and (name in both.old.record or name in both.new.record or "." in name):
            words = f"The field {name!r} is read as {type} now, and was read as {old[name]}."
            yield both.change("record-type", name, words, uses=_reads(name))
    for name in old:
        if name not in new and name not in named:
            yield both.change("record-removed", name, f"The field {name!r} is no longer read.", uses=_reads(name))


def _paths(document: MappingDocument) -> dict[str, str]:
    """The record's fields, those of child rows as `list.field`, with their types."""
    paths: dict[str, str] = {}
    for name, type in document.record_types.items():
        paths |= {name: str(type)} if isinstance(type, FieldType) else {f"{name}.{key}": str(kind) for key, kind in type.items()}
    return paths


def _reads(name: str) -> _Wanted:
    return lambda _, found: name in found.fields


def _tables(both: _Versions) -> Iterator[Change]:
    old, new = both.old.tables, both.new.tables
    for name, table in new.items():
        if name not in old:
            yield both.change("table-added", name, f"The table {name!r} is new, with {_rows(len(table))}.", uses=_looks_up(name))
        elif old[name] != table:
            yield both.change("table-rows", name, _table_words(name, old[name], table), uses=_looks_up(name))
    for name in old:
        if name not in new:
            yield both.change("table-removed", name, f"The table {name!r} is gone.", uses=_looks_up(name))


def _looks_up(name: str) -> _Wanted:
    return lambda _, found: name in found.tables


def _table_words(name: str, old: Mapping[Any, Any], new: Mapping[Any, Any]) -> str:
    added = [f"{value_words(key)}: {value_words(value)}" for key, value in new.items() if key not in old]
    others = [key for key in new if key in old and old[key] != new[key]]
    changed = [f"{value_words(key)}: {value_words(old[key])} → {value_words(new[key])}" for key in others]
    removed = [value_words(key) for key in old if key not in new]
    parts = [
        f"{_rows(len(rows))} {word} ({_some(rows)})"
        for word, rows in (("added", added), ("changed", changed), ("removed", removed))
        if rows
    ]
    return f"In the table {name!r}: {', '.join(parts)}."


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _some(words: Sequence[str]) -> str:
    shown = ", ".join(islice(words, _FIRST))
    return f"{shown} and {len(words) - _FIRST:,} more" if len(words) > _FIRST else shown


def _features(both: _Versions) -> Iterator[Change]:
    old, new = ({feature.name: feature for feature in document.features} for document in (both.old, both.new))
    for place, feature in enumerate(both.new.features, 1):
        if feature.name not in old:
            words = f"The feature {feature.name!r} is new, in place {place} of {len(both.new.features)}."
            yield both.change("feature-added", feature.name, words, feature.name, formulas=("", _source(feature)))
        else:
            yield from _feature(both, old[feature.name], feature)
    for name, feature in old.items():
        if name not in new:
            words = f"The feature {name!r} is gone."
            yield both.change("feature-removed", name, words, name, formulas=(_source(feature), ""))


def _feature(both: _Versions, old: Feature, new: Feature) -> Iterator[Change]:
    name = new.name
    if not _same_source(old, new):
        taken = new.formula is None and old.unit == new.unit
        kind, words = ("feature-field", "is taken from another field") if taken else ("feature-formula", "is computed otherwise")
        formulas = (_source(old), _source(new))
        yield both.change(kind, name, f"The feature {name!r} {words}.", name, formulas=formulas)
    # Where neither says a type, it is the record's that may have changed.
    if old.type != new.type and (before := _type(both.old, old)) != (now := _type(both.new, new)):
        yield both.change("feature-type", name, f"The feature {name!r} is {now} now (before: {before}).", name)
    for kind, say, value in _ASPECTS:
        before, now = value(old), value(new)
        if before != now:
            yield both.change(kind, name, f"{say(name)}: {now} now (before: {before}).", name)
    if old.categories != new.categories:
        yield both.change("feature-categories", name, _category_words(new.name, old.categories, new.categories), name)
    if old.label != new.label:
        yield Change("feature-label", name, f"The feature {name!r} is labelled {new.label!r} now, and was {old.label!r}.")


def _same_source(old: Feature, new: Feature) -> bool:
    if old.field and new.field and not (old.unit or new.unit):
        # Here the system's own spelling counts, which may tell two fields apart by their case.
        return old.field == new.field
    # A formula that only names a field is that field.
    before, now = (tokens(_source(each)) if each.formula or each.unit else (_source(each).lower(),) for each in (old, new))
    return before == now


def _source(feature: Feature) -> str:
    return feature.conversion or feature.formula or feature.field or ""


def _type(document: MappingDocument, feature: Feature) -> str:
    """The feature's type as far as the document says it."""
    if feature.type or feature.field is None:
        return feature.type or "what its formula gives"
    type = document.record.get(feature.field, FieldType.NUMBER)
    return str(type) if isinstance(type, str) else "a list"


_ASPECTS: tuple[tuple[str, Callable[[str], str], Callable[[Feature], str]], ...] = (
    ("feature-blank", lambda name: f"Where {name!r} is blank", blank_words),
    ("feature-unknown", lambda name: f"Where {name!r} is none of its categories", unknown_words),
    ("feature-encoding", lambda name: f"How {name!r} reaches the model", lambda feature: feature.encoding or "as it is"),
    ("feature-check", lambda name: f"What {name!r} must meet", check_words),
    ("feature-clip", lambda name: f"What the model is given of {name!r}", clip_words),
)
"""What is compared by its words: the kind of change, what it is said of, and the words."""


def _category_words(name: str, old: Sequence[object], new: Sequence[object]) -> str:
    added, removed = [each for each in new if each not in old], [each for each in old if each not in new]
    parts = [f"{_some([value_words(each) for each in added])} added"] if added else []
    parts += [f"{_some([value_words(each) for each in removed])} removed"] if removed else []
    if [each for each in new if each in old] != [each for each in old if each in new]:
        parts.append("others stand in another order")
    return f"The categories of {name!r}: {'; '.join(parts)}."


def _moves(both: _Versions) -> Iterator[Change]:
    if both.old.inputs and both.new.inputs:
        # What fills an input is listed, whatever the order of the features.
        return
    before = {feature.name: place for place, feature in enumerate(both.old.features, 1)}
    places = {feature.name: place for place, feature in enumerate(both.new.features, 1)}
    for name in _moved([(name, before[name]) for name in places if name in before]):
        way = f"from place {before[name]} to {places[name]}"
        words = f"The feature {name!r} moved {way}: a model with one input takes features in order."
        yield both.change("feature-moved", name, words, name)


def _moved(names: Sequence[tuple[str, int]]) -> list[str]:
    """The fewest names without which the others keep their old order: all but a longest rising chain."""
    lasts: list[int] = []
    chains: list[tuple[str, Any]] = []
    for name, place in names:
        length = bisect_left(lasts, place)
        lasts[length : length + 1] = [place]
        chains[length : length + 1] = [(name, chains[length - 1] if length else None)]
    kept, link = set[str](), chains[-1] if chains else None
    while link:
        kept.add(link[0])
        link = link[1]
    return [name for name, _ in names if name not in kept]


def _inputs(both: _Versions) -> Iterator[Change]:
    old, new = both.old.inputs, both.new.inputs
    for name in dict.fromkeys([*new, *old]):
        if old.get(name) != new.get(name):
            before, now = (", ".join(each.get(name, ())) or "not listed" for each in (old, new))
            words = f"What fills the model's input {name!r}: {now} now (before: {before})."
            yield both.change("input", name, words, *_owners(both, {*old.get(name, ()), *new.get(name, ())}))


def _owners(both: _Versions, columns: set[str]) -> Iterator[str]:
    """The features that these are, or that give these: `weather=clear` and `weather_blank` are given by `weather`."""
    for feature in (*both.old.features, *both.new.features):
        given = {feature.name, f"{feature.name}_blank", *(f"{feature.name}={category}" for category in feature.categories)}
        if given & columns:
            yield feature.name


def _fields(both: _Versions) -> Iterator[Change]:
    old, new = ({field.name: field for field in document.written} for document in (both.old, both.new))
    for name, field in new.items():
        if name not in old:
            words = f"The field {name!r} is new."
            yield both.change("field-added", name, words, written=[name], formulas=("", field.formula))
            continue
        if tokens(old[name].formula) != tokens(field.formula):
            words = f"The field {name!r} is computed otherwise."
            yield both.change("field-formula", name, words, written=[name], formulas=(old[name].formula, field.formula))
        if old[name].label != field.label:
            yield Change("field-label", name, f"The field {name!r} is labelled {field.label!r} now, and was {old[name].label!r}.")
    for name, field in old.items():
        if name not in new:
            yield both.change("field-removed", name, f"The field {name!r} is gone.", written=[name], formulas=(field.formula, ""))


__all__ = ["Change", "differences"]
