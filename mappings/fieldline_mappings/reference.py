"""The reference page of the mapping document, made from its model."""

from collections.abc import Iterator
from typing import Any

from fieldline_mappings.document import MappingDocument

_HEADINGS = {"MappingDocument": "The document", "Feature": "features", "OutputField": "fields", "Threshold": "fields: thresholds"}


def reference() -> str:
    """The page in Markdown: every key with its type, its default and what it does."""
    schema = MappingDocument.model_json_schema(by_alias=True)
    models = {"MappingDocument": schema, **schema["$defs"]}
    lines = ["# Mappings", "", "Made from the code by `fieldline_mappings.reference`; a test compares the two."]
    for model, heading in _HEADINGS.items():
        lines += ["", f"## {heading}", "", models[model]["description"], ""]
        lines += ["| Key | Value | Default | What it does |", "|---|---|---|---|"]
        lines += _rows(models[model])
    return "\n".join(lines) + "\n"


def _rows(model: dict[str, Any]) -> Iterator[str]:
    required = model.get("required", ())
    for key, about in model["properties"].items():
        default = "required" if key in required else f"`{about['default']}`" if about.get("default") else ""
        yield f"| `{key}` | {_kind(about)} | {default} | {' '.join(about['description'].split())} |"


def _kind(about: dict[str, Any]) -> str:
    if "anyOf" in about:
        return " or ".join(dict.fromkeys(_kind(each) for each in about["anyOf"] if each.get("type") != "null"))
    if "enum" in about:
        return ", ".join(f"`{word}`" for word in about["enum"])
    match about.get("type"):
        case "array":
            return f"list of {_kind(about['items'])}"
        case "object":
            return f"keys with {_kind(about['additionalProperties'])}"
        case "string":
            return "text"
        case None:
            return _HEADINGS[about["$ref"].rsplit("/", 1)[-1]].rsplit(" ", 1)[-1]
        case kind:
            return str(kind)
