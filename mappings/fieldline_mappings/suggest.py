"""What a source holds, written down as a mapping: its fields with their types, and proposals for a model's inputs."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import yaml

from fieldline_core.schema import Entity, Field, FieldType

WORTH_PROPOSING = 0.7
"""The score below which a field is no proposal for an input."""
_NUMERIC = {FieldType.NUMBER, FieldType.INTEGER, FieldType.DECIMAL, FieldType.BOOLEAN}
_MOMENTS = {FieldType.DATE, FieldType.DATETIME, FieldType.TIME}
_SPELT = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_WITHIN = 0.8
"""How alike two names at least are where all words of one are words of the other."""
_LABEL_COUNTS = 0.95
"""A label is worth a little less than a name that fits as well."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One input of a model that wants a feature: a number or a text."""

    name: str
    text: bool = False


@dataclass(frozen=True, slots=True)
class Proposal:
    """The field that fits an input best, with a score from 0 to 1; no field where none fits."""

    wanted: Wanted
    field: Field | None
    score: float


def record_block(fields: Iterable[Field]) -> str:
    """The fields with their types as the `record:` of a mapping, in YAML, with their labels as comments."""
    return "\n".join(["record:", *(_record_line(field) for field in fields)]) + "\n"


def propose(wanted: Sequence[Wanted], entity: Entity) -> list[Proposal]:
    """For each input the field that fits best by name, label and type; a field is proposed once, where it fits best."""
    pairs = [(_score(each, field), place, field) for place, each in enumerate(wanted) for field in entity.fields]
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2].name))
    chosen: dict[int, tuple[Field, float]] = {}
    taken: set[str] = set()
    for score, place, field in pairs:
        if score >= WORTH_PROPOSING and place not in chosen and field.name not in taken:
            chosen[place] = (field, score)
            taken.add(field.name)
    return [Proposal(each, *chosen.get(place, (None, 0.0))) for place, each in enumerate(wanted)]


def mapping_text(name: str, proposals: Sequence[Proposal], outputs: Sequence[str]) -> str:
    """A mapping document in YAML with the proposals, their scores as comments; what has no field stands there as a comment."""
    found = [proposal.field for proposal in proposals if proposal.field]
    lines = [f"mapping: {plain(name)}", record_block(found).rstrip("\n") if found else "record: {}", "features:"]
    lines += [line for proposal in proposals for line in feature_lines(proposal)]
    lines += ["fields:", *(f"  - {{name: {plain(output)}, formula: {plain(output)}}}" for output in outputs)]
    return "\n".join(lines) + "\n"


def feature_lines(proposal: Proposal, indent: str = "  ") -> list[str]:
    """The feature of a proposal in YAML, with its score as a comment."""
    field, name = proposal.field, proposal.wanted.name
    if field is None:
        return [f"{indent}# {_comment(name)}: no field of the source fits; write - {{name: {_comment(plain(name))}, formula: …}}"]
    said = f"  # {proposal.score:.2f}{f', {_comment(field.label)}' if field.label and field.label != field.name else ''}"
    named = f"name: {plain(name)}, " if name != field.name else ""
    if field.type in _MOMENTS and not _SPELT.fullmatch(field.name):
        return [f"{indent}# {_comment(name)}: a formula cannot spell the name of the field {_comment(field.name)}"]
    if field.type in _MOMENTS:
        moment = "HOUR" if field.type is FieldType.TIME else "DAYS_SINCE"
        return [f"{indent}- {{name: {plain(name)}, formula: {plain(f'{moment}({field.name})')}}}{said}"]
    if field.type is FieldType.TEXT and not proposal.wanted.text:
        own = f"{named}field: {plain(field.name)}, type: text, categories: []"
        return [f"{indent}- {{{own}}}{said}; list its categories in the model's order"]
    words = {FieldType.TEXT: "text", FieldType.BOOLEAN: "boolean", FieldType.INTEGER: "integer"}
    return [f"{indent}- {{{named}field: {plain(field.name)}, type: {words.get(field.type, 'number')}}}{said}"]


def needs_record(field: Field) -> bool:
    """Whether the field's feature is a formula, which names only what `record` lists."""
    return field.type in _MOMENTS


def plain(text: str) -> str:
    """A text as one YAML scalar, in quotes where it needs them."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", text) and yaml.safe_load(text) == text:
        return text
    quoted: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=float("inf"))
    return quoted.rstrip("\n")


def _record_line(field: Field) -> str:
    label = f"  # {_comment(field.label)}" if field.label and field.label != field.name else ""
    if field.type is FieldType.LIST:
        return f"  # {plain(field.name)}: {{…}}  # a list of rows: name the fields that you need, each with its type"
    return f"  {plain(field.name)}: {field.type.value}{label}"


def _score(wanted: Wanted, field: Field) -> float:
    """How well a field fits: by its name or label; one of another kind fits less."""
    by_name = _likeness(wanted.name, field.name)
    by_label = _likeness(wanted.name, field.label) * _LABEL_COUNTS if field.label else 0.0
    return round(max(by_name, by_label) * _kind_fits(wanted, field.type), 4)


def _kind_fits(wanted: Wanted, type: FieldType) -> float:
    if type is FieldType.LIST:
        return 0.0
    if wanted.text:
        return 1.0 if type is FieldType.TEXT else 0.7
    return 1.0 if type in _NUMERIC else 0.9


def _likeness(one: str, other: str) -> float:
    """How alike two names are, whatever their case and the signs between their words."""
    first, second = _normal(one), _normal(other)
    if not first or not second:
        return 0.0
    if first == second:
        return 1.0
    # Words in another order (`total_amount`, `AmountTotal`) are as good as letters in the same order.
    words, others = _words(one), _words(other)
    sets = SequenceMatcher(None, " ".join(sorted(words)), " ".join(sorted(others))).ratio()
    within = _WITHIN if set(words) <= set(others) or set(others) <= set(words) else 0.0
    return min(0.99, max(SequenceMatcher(None, first, second).ratio(), sets, within))


def _normal(name: str) -> str:
    return "".join(_words(name))


def _words(name: str) -> list[str]:
    """The words of a name: parted at signs and where small letters are followed by a capital; `__c` of Salesforce is none."""
    name = re.sub(r"__[a-z]{1,2}$", "", name)
    parted = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    return [word.lower() for word in re.split(r"[^A-Za-z0-9À-ɏ]+", parted) if word]


def _comment(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
