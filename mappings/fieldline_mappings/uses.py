"""What each formula of a mapping names, whether it fits a model or not, and what follows where one of these changes."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from fieldline_core.schema import FieldType
from fieldline_mappings.document import MappingDocument
from fieldline_mappings.formula.functions import AGGREGATES
from fieldline_mappings.formula.library import FUNCTIONS
from fieldline_mappings.formula.syntax import parse
from fieldline_mappings.formula.tree import Call, FormulaError, Literal, Name, Node
from fieldline_mappings.formula.types import Type

_MOMENTS = {Type.DATE, Type.DATETIME, Type.TIME}
_MOMENT_FIELDS = {FieldType.DATE, FieldType.DATETIME, FieldType.TIME}


@dataclass(frozen=True, slots=True)
class Uses:
    """What one formula names; a field of child rows is `list.field`."""

    fields: frozenset[str] = frozenset()
    features: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()
    moments: bool = False
    """Whether it reckons with dates or times."""
    answers: bool = False
    """Whether it names what neither the record nor a feature gives: the model's answer."""


class UseGraph:
    """What the features and the written fields of a document depend on."""

    def __init__(self, document: MappingDocument) -> None:
        known = _Known.of(document)
        self.types = known.types
        self.features = {feature.name: known.uses(feature.formula, feature.field) for feature in document.features}
        self.fields = {field.name: known.uses(field.formula) for field in document.written}

        self._features_naming = _reverse(self.features)
        self._fields_naming = _reverse(self.fields)
        self._answering = {name for name, uses in self.fields.items() if uses.answers}

    def where(self, changed: Callable[[Uses], bool]) -> tuple[set[str], set[str]]:
        """The features and the written fields whose own formula `changed` says yes to."""
        both = (self.features, self.fields)
        features, fields = ({name for name, uses in part.items() if changed(uses)} for part in both)
        return features, fields

    def following(self, features: Iterable[str]) -> tuple[set[str], set[str]]:
        """These features and all that follow from them, and the written fields that do."""
        left = [name for name in features if name in self.features]
        reached = set[str]()
        while left:
            name = left.pop()
            if name not in reached:
                reached.add(name)
                left += self._features_naming.get(name, ())
        named = {field for name in reached for field in self._fields_naming.get(name, ())}
        return reached, named | (self._answering if reached else set())


def _reverse(uses: Mapping[str, Uses]) -> dict[str, list[str]]:
    """For each feature, what names it."""
    naming: dict[str, list[str]] = {}
    for name, each in uses.items():
        for feature in each.features:
            naming.setdefault(feature, []).append(name)
    return naming


def tokens(formula: str) -> tuple[object, ...]:
    """The formula without spaces, comments, brackets and the case of its names; its text where it cannot be parsed."""
    try:
        return tuple(_tokens(parse(formula)))
    except FormulaError:
        return (formula.strip(),)


def _tokens(tree: Node) -> Iterator[object]:
    for node in _walk(tree):
        match node:
            case Literal():
                yield (node.type, node.value)
            case Name():
                yield node.text.lower()
            case Call():
                # With the number of its arguments this order is the tree.
                yield (node.name, len(node.args))


def _walk(tree: Node) -> Iterator[Node]:
    """All parts, each before its arguments; without recursion, for chains of operators are long."""
    left = [tree]
    while left:
        node = left.pop()
        yield node
        if isinstance(node, Call):
            left += reversed(node.args)


@dataclass(frozen=True, slots=True)
class _Known:
    """The names of a document, by their lower case."""

    fields: Mapping[str, str]
    types: Mapping[str, FieldType]
    lists: Mapping[str, str]
    features: Mapping[str, str]
    tables: Mapping[str, str]

    @classmethod
    def of(cls, document: MappingDocument) -> "_Known":
        fields: dict[str, str] = {}
        types: dict[str, FieldType] = {}
        lists: dict[str, str] = {}
        for name, type in document.record_types.items():
            if isinstance(type, FieldType):
                fields[name.lower()], types[name] = name, type
                continue
            lists[name.lower()] = name
            for field, kind in type.items():
                path = f"{name}.{field}"
                fields[path.lower()], types[path] = path, kind
        features = {feature.name.lower(): feature.name for feature in document.features}
        return cls(fields, types, lists, features, {name.lower(): name for name in document.tables})

    def uses(self, formula: str | None, field: str | None = None) -> Uses:
        """What a formula names, or the one field that is taken as it is."""
        if formula is None:
            name = self.fields.get((field or "").lower(), "")
            return Uses(fields=frozenset([name] if name else []), moments=self.types.get(name) in _MOMENT_FIELDS)
        try:
            tree = parse(formula)
        except FormulaError:
            return Uses(answers=True)
        found: dict[str, set[str]] = {"fields": set(), "features": set(), "tables": set(), "others": set()}
        self._collect(tree, found)
        moments = any(isinstance(node, Call) and _of_moments(node.name) for node in _walk(tree))
        return Uses(
            frozenset(found["fields"]), frozenset(found["features"]), frozenset(found["tables"]),
            moments or any(self.types.get(name) in _MOMENT_FIELDS for name in found["fields"]), bool(found["others"]),
        )  # fmt: skip

    def _collect(self, tree: Node, found: dict[str, set[str]]) -> None:
        left: list[tuple[Node, str]] = [(tree, "")]
        while left:
            node, rows = left.pop()
            if isinstance(node, Name):
                kind, name = self._resolve(node.text.lower(), rows)
                found[kind] |= {name} if name else set()
            elif isinstance(node, Call):
                first = node.args[0] if node.args else None
                if node.name == "LOOKUP" and isinstance(first, Literal):
                    found["tables"].add(self.tables.get(str(first.value).lower(), str(first.value)))
                if node.name in AGGREGATES and isinstance(first, Name):
                    rows = self._list_of(first.text.lower()) or rows
                left += [(arg, rows) for arg in node.args]

    def _resolve(self, name: str, rows: str) -> tuple[str, str]:
        """What a name is (in lower case), seen from the rows of a list or from the record."""
        inner = f"{rows}.{name.removeprefix(f'{rows}.')}" if rows else name
        if inner in self.fields or name in self.fields:
            return "fields", self.fields.get(inner) or self.fields[name]
        if name in self.lists:
            return "fields", self.lists[name]
        if name in self.features:
            return "features", self.features[name]
        return "others", "" if name.startswith("$") else name

    def _list_of(self, path: str) -> str:
        return next((name for name in self.lists if path == name or path.startswith(f"{name}.")), "")


def _of_moments(name: str) -> bool:
    function = FUNCTIONS.get(name)
    return function is not None and (
        function.returns in _MOMENTS or any(param.types and param.types <= _MOMENTS for param in function.params)
    )
