"""Data against a document's model: what pydantic refuses, said in the words and at the place of the person who wrote it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fieldline_core.findings import Finding, did_you_mean, path_text
from fieldline_core.ports import Document
from fieldline_core.yaml_source import Source

D = TypeVar("D", bound=Document)

_PLAIN = {
    "string_type": "text is expected",
    "missing": "this key is missing",
    "too_short": "at least one is needed",
    "dict_type": "keys with values are expected",
    "list_type": "a list is expected",
    "tuple_type": "a list is expected",
    "model_type": "keys with values are expected",
    "model_attributes_type": "keys with values are expected",
}


def validate(model: type[D], source: Source) -> tuple[D | None, list[Finding]]:
    """The document, or None and everything that is wrong with it."""
    try:
        return model.model_validate(source.data), []
    except ValidationError as refused:
        found: dict[str, Finding] = {}
        for error in filter(_is_cause, refused.errors(include_url=False)):
            finding = _finding(model, source, error)
            # A union refuses once for each of its members: the first says it as well as the others.
            found.setdefault(finding.path, finding)
        return None, [source.locate(finding) for finding in found.values() if not _is_other_member(finding, found)]


def _is_other_member(finding: Finding, found: Mapping[str, Finding]) -> bool:
    """Whether it says that keys are no word, where a union takes either and the fault is within the keys."""
    return finding.rule == "unknown-word" and any(path.startswith(f"{finding.path}.") for path in found)


def _is_cause(error: ErrorDetails) -> bool:
    """Whether it is not only reported because something else was refused (a list's members, what a default is made from)."""
    if error["type"] == "too_short":
        return len(error["input"]) < int(error["ctx"]["min_length"])
    return error["type"] != "default_factory_not_called"


def _finding(model: type[BaseModel], source: Source, error: ErrorDetails) -> Finding:
    location = _written(source.data, error["loc"], missing=error["type"] == "missing")
    rule, path, message = error["type"].replace("_", "-"), path_text(location), error["msg"]
    match error["type"]:
        case "extra_forbidden":
            known = sorted(_keys(model, location[:-1]))
            suggestion = did_you_mean(str(location[-1]), known) or f"Known are {_listed(known)}."
            return Finding("unknown-key", path, "this key is unknown.", suggestion)
        case "literal_error" | "enum":
            known = re.findall(r"'([^']*)'", str(error.get("ctx", {}).get("expected", "")))
            word = str(error["input"])[:60]
            return Finding("unknown-word", path, f"{word!r} is not one of {_listed(known)}.", did_you_mean(word, known))
        case "string_type" if isinstance(error["input"], bool | int | float):
            return Finding(rule, path, "text is expected.", "Write it in quotes.")
        case "value_error":
            return Finding("value", path, message.removeprefix("Value error, "))
    return Finding(rule, path, _PLAIN.get(error["type"], message[0].lower() + message[1:]))


def _written(data: Any, location: Sequence[str | int], *, missing: bool) -> list[str | int]:
    """The location without pydantic's own parts (the names of a union's members), which nobody wrote."""
    written: list[str | int] = []
    for position, part in enumerate(location):
        keys = {str(key): key for key in data} if isinstance(data, dict) else {}
        if missing and position == len(location) - 1:
            written.append(part)
        elif str(part) in keys:
            written.append(str(part))
            data = data[keys[str(part)]]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            written.append(part)
            data = data[part]
    return written


def _keys(model: type[BaseModel], location: Sequence[str | int]) -> set[str]:
    models = {model}
    for part in location:
        fields = [field for each in models for name, field in each.model_fields.items() if part in (name, field.alias)]
        if fields:
            models = {inner for field in fields for inner in _models(field.annotation)}
    return {field.alias or name for each in models for name, field in each.model_fields.items()}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _listed(words: Sequence[str]) -> str:
    shown = ", ".join(words[:20])
    return shown if len(words) <= 20 else f"{shown} and {len(words) - 20} more"


__all__ = ["validate"]
