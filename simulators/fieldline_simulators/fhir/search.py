"""Search: what a query asks for, which resources fit, and what comes with them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fieldline_simulators.fhir.outcomes import Refusal, invalid
from fieldline_simulators.fhir.parameters import TYPES, Parameter, parameters_of
from fieldline_simulators.fhir.profiles import Profile
from fieldline_simulators.fhir.store import Store, can_look_up
from fieldline_simulators.fhir.values import (
    at,
    date_test,
    is_number,
    local_reference,
    quantity_test,
    raw,
    spans,
    string_test,
    strings,
    token_test,
    tokens,
)

Pairs = list[tuple[str, str]]
Resource = dict[str, Any]

#: What says how the answer is to look, and finds nothing by itself.
SHAPING = frozenset(
    {"_count", "_sort", "_include", "_revinclude", "_include:iterate", "_revinclude:iterate", "_summary", "_total", "_elements",
     "_format", "_pretty", "_offset", "_page", "_session"}
)  # fmt: skip
_MODIFIERS = {
    "token": {"not", "missing", "text"},
    "string": {"exact", "contains", "missing"},
    "reference": {"missing", "identifier"},
    "date": {"missing"},
    "quantity": {"missing"},
    "number": {"missing"},
    "uri": {"missing"},
}


class UnknownParameter(Exception):
    """A parameter that the type does not have, or a value that it cannot take."""


@dataclass(slots=True)
class Found:
    """The matches of a search in order, and what was passed over."""

    matches: list[Resource]
    ignored: list[str] = field(default_factory=list)


class Searching:
    """Searches of one store, in one vendor's way."""

    def __init__(self, store: Store, profile: Profile) -> None:
        self.store, self.profile = store, profile

    def find(self, type: str, pairs: Pairs, *, strict: bool = False) -> Found:
        """What fits all parameters; raises Refusal where the vendor would refuse them."""
        filters = [(name, text) for name, text in pairs if name not in SHAPING]
        if self.profile.needs_patient and not self._names_a_patient(type, filters):
            raise invalid("A search needs one of the parameters patient, subject and _id")
        found = Found([])
        tests: list[Callable[[], set[str] | None]] = []
        try:
            for name, text in filters:
                try:
                    tests.append(self._test(type, name, text))
                except UnknownParameter as unknown:
                    if self.profile.unknown_parameter != "warn" or strict:
                        raise
                    found.ignored.append(str(unknown))
        except UnknownParameter as unknown:
            if self.profile.unknown_parameter == "empty":
                return found
            raise invalid(str(unknown)) from None
        found.matches = sort(self._fitting(type, tests), pairs, type)
        return found

    def with_includes(self, type: str, matches: list[Resource], pairs: Pairs) -> list[Resource]:
        """What `_include` and `_revinclude` bring beside the matches, each once."""
        seen = {_key(each) for each in matches}
        included: list[Resource] = []
        for name, text in pairs:
            base = name.partition(":")[0]
            if base not in ("_include", "_revinclude"):
                continue
            start = matches + included if name.endswith(":iterate") else matches
            brought = self._included(start, text) if base == "_include" else self._referring(start, text)
            for each in brought:
                if _key(each) not in seen:
                    seen.add(_key(each))
                    included.append(each)
        return included

    def _names_a_patient(self, type: str, filters: Pairs) -> bool:
        own = {"_id", "identifier", "name", "family", "birthdate"} if type == "Patient" else {"_id", "patient", "subject"}
        tied = {"patient", "subject"} & set(parameters_of(type)) if type != "Patient" else own
        return not tied or any(name.split(":")[0].split(".")[0] in own for name, _ in filters)

    def _fitting(self, type: str, tests: list[Callable[[], set[str] | None]]) -> list[Resource]:
        fitting: set[str] | None = None
        for test in tests:
            found = test()
            if found is not None:
                fitting = found if fitting is None else fitting & found
        if fitting is None:
            return list(self.store.all(type))
        if len(fitting) < 1000:
            return sorted((each for id in fitting if (each := self.store.resource(type, id))), key=_made)
        return [each for each in self.store.all(type) if each["id"] in fitting]

    def _test(self, type: str, name: str, text: str) -> Callable[[], set[str] | None]:
        """What finds the ids that fit one parameter; raises before anything is searched where it cannot."""
        if name.startswith("_has:"):
            return self._has(type, name, text)
        base, dot, rest = name.partition(".")
        base, _, modifier = base.partition(":")
        parameter = parameters_of(type).get(base)
        if parameter is None:
            raise UnknownParameter(f"Unknown search parameter: {name}")
        if dot:
            return self._chained(type, parameter, modifier, rest, text)
        if parameter.kind == "reference" and modifier in TYPES:
            text, modifier = ",".join(f"{modifier}/{each}" for each in text.split(",")), ""
        if modifier and modifier not in _MODIFIERS[parameter.kind]:
            raise UnknownParameter(f"Unknown modifier: {name}")
        fits = _any_of(parameter, modifier, text)
        return lambda: self._ids(type, parameter, modifier, text, fits)

    def _ids(
        self, type: str, parameter: Parameter, modifier: str, text: str, fits: Callable[[Resource], bool]
    ) -> set[str]:  # fmt: skip
        if parameter.name == "_id" and not modifier:
            return {each for each in text.split(",") if self.store.resource(type, each)}
        if modifier or not can_look_up(type, parameter.name):
            return {each["id"] for each in self.store.all(type) if fits(each)}
        candidates: set[str] | None = set()
        for each in text.split(","):
            keys = _keys(parameter, each)
            if not keys or candidates is None:
                candidates = None
                break
            candidates |= self.store.lookup(type, parameter.name, keys)
        if candidates is None:
            return {each["id"] for each in self.store.all(type) if fits(each)}
        return {id for id in candidates if (found := self.store.resource(type, id)) and fits(found)}

    def _chained(self, type: str, parameter: Parameter, target: str, rest: str, text: str) -> Callable[[], set[str]]:
        if parameter.kind != "reference":
            raise UnknownParameter(f"{parameter.name} is no reference")
        targets = [each for each in (target, parameter.target) if each] or _common_targets(rest)
        inner = []
        for each in targets[:1] if target else targets:
            if each not in TYPES:
                raise UnknownParameter(f"Unknown resource type: {each}")
            inner.append((each, self._test(each, rest, text)))
        if not inner:
            raise UnknownParameter(f"Unknown search parameter: {rest}")

        def find() -> set[str]:
            wanted = {f"{each}/{id}" for each, test in inner for id in test() or ()}
            return self.store.lookup(type, parameter.name, wanted)

        return find

    def _has(self, type: str, name: str, text: str) -> Callable[[], set[str]]:
        parts = name.split(":", 3)
        if len(parts) < 4 or parts[1] not in TYPES or parts[2] not in parameters_of(parts[1]):
            raise UnknownParameter(f"Unknown search parameter: {name}")
        _, other, back, rest = parts
        parameter, test = parameters_of(other)[back], self._test(other, rest, text)

        def find() -> set[str]:
            referring = (self.store.resource(other, id) for id in test() or ())
            named = (local_reference(value) for each in referring if each for value in raw(each, parameter))
            return {key.partition("/")[2] for key in named if key and key.startswith(f"{type}/")}

        return find

    def _included(self, start: list[Resource], text: str) -> Iterator[Resource]:
        source, _, rest = text.partition(":")
        name, _, target = rest.partition(":")
        for resource in start:
            if resource["resourceType"] != source:
                continue
            own = parameters_of(source)
            chosen = [each for each in own.values() if name in ("*", each.name) and each.kind == "reference"]
            for key in (local_reference(value) for parameter in chosen for value in raw(resource, parameter)):
                type, _, id = (key or "").partition("/")
                found = self.store.resource(type, id) if not target or target == type else None
                if found:
                    yield found

    def _referring(self, start: list[Resource], text: str) -> Iterator[Resource]:
        source, _, rest = text.partition(":")
        name = rest.partition(":")[0]
        if source not in TYPES or name not in parameters_of(source):
            return
        ids = self.store.lookup(source, name, [_key(each) for each in start])
        yield from sorted((each for id in ids if (each := self.store.resource(source, id))), key=_made)


def check_shaping(pairs: Pairs) -> None:
    """Raises Refusal for what says how the answer is to look and cannot be."""
    for name, text in pairs:
        if name in ("_count", "_offset", "_page") and not text.isdecimal():
            raise invalid(f"{name} is a whole number, not {text!r}")
        if name.split(":")[0] in ("_include", "_revinclude"):
            source, _, rest = text.partition(":")
            known = source in TYPES and (rest == "*" or rest.partition(":")[0] in parameters_of(source))
            if not known:
                raise Refusal(400, "invalid", f"Invalid {name} value: {text}")


def sort(resources: list[Resource], pairs: Pairs, type: str) -> list[Resource]:
    """The resources in the order that `_sort` asks for; those without a value come last."""
    for text in reversed([key for name, value in pairs if name == "_sort" for key in value.split(",") if key]):
        parameter = parameters_of(type).get(text.removeprefix("-"))
        if parameter is None:
            raise invalid(f"Unknown sort parameter: {text}")
        keyed = [(_sort_key(each, parameter), each) for each in resources]
        with_key = sorted((each for each in keyed if each[0] is not None), key=lambda each: each[0], reverse=text.startswith("-"))
        resources = [each for _, each in with_key] + [each for key, each in keyed if key is None]
    return resources


def _sort_key(resource: Resource, parameter: Parameter) -> Any:
    for value in raw(resource, parameter):
        if parameter.kind == "date":
            return next((own[0] for own in spans(value)), None)
        if parameter.kind in ("quantity", "number"):
            number = value.get("value") if isinstance(value, dict) else value
            return number if is_number(number) else None
        if parameter.kind == "token":
            return next((each.code for each in tokens(value)), None)
        if parameter.kind == "reference":
            return local_reference(value)
        return next(strings(value), None)
    return None


def _any_of(parameter: Parameter, modifier: str, text: str) -> Callable[[Resource], bool]:
    """The test of a resource for one parameter, whose values are alternatives."""
    if modifier == "missing":
        return lambda resource: bool(raw(resource, parameter)) != (text == "true")
    tests = [_one(parameter, modifier, each) for each in text.replace("\\,", "\0").split(",")]
    fits: Callable[[Resource], bool] = lambda resource: any(test(value) for value in raw(resource, parameter) for test in tests)  # noqa: E731
    return (lambda resource: not fits(resource)) if modifier == "not" else fits


def _one(parameter: Parameter, modifier: str, text: str) -> Callable[[Any], bool]:
    text = text.replace("\0", ",")
    found: Callable[[Any], bool] | None
    match parameter.kind, modifier:
        case "date", _:
            found = date_test(text)
        case (("quantity" | "number"), _):
            found = quantity_test(text)
        case "token", "text":
            wanted = string_test(text, "contains")
            found = lambda value: wanted([value.get("text"), *at(value, "coding.display")] if isinstance(value, dict) else [])  # noqa: E731
        case "token", _:
            found = token_test(text)
        case "string", _:
            found = string_test(text, modifier)
        case "reference", "identifier":
            own = token_test(text)
            found = lambda value: isinstance(value, dict) and own(value.get("identifier"))  # noqa: E731
        case "reference", _:
            keys = set(_keys(parameter, text))
            found = lambda value: (key := local_reference(value)) in keys or (key or "").partition("/")[2] in keys  # noqa: E731
        case _:
            found = lambda value: value == text  # noqa: E731
    if found is None:
        raise UnknownParameter(f"Invalid {parameter.kind} value for {parameter.name}: {text}")
    return found


def _keys(parameter: Parameter, text: str) -> list[str]:
    """The keys under which an index has what is asked; none where it cannot say."""
    if parameter.kind == "token":
        code = text.rpartition("|")[2]
        return [code] if code else []
    key = local_reference(text) or ""
    if "/" in key:
        return [key]
    return [f"{parameter.target}/{key}"] if parameter.target else [key, *(f"{type}/{key}" for type in sorted(TYPES))]


def _common_targets(rest: str) -> list[str]:
    name = rest.split(".")[0].split(":")[0]
    usual = ("Patient", "Practitioner", "Organization", "Encounter", "Device", "Group", "Location", "Observation")
    return [type for type in usual if name in parameters_of(type)]


def _key(resource: Resource) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def _made(resource: Resource) -> tuple[str, str]:
    return resource["meta"]["lastUpdated"], resource["id"]
