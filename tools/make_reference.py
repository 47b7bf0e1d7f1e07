"""Writes the reference pages that are made from the code; a test holds them up to date. Usage: python tools/make_reference.py"""

import inspect
import re
import runpy
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fieldline_connectors.registry import connector_classes
from fieldline_core.events import EVENTS
from fieldline_core.pipeline.invariants import RULES
from fieldline_core.settings import Settings
from fieldline_mappings.reference import formulas
from fieldline_mappings.reference import reference as mappings
from fieldline_mappings.reference import schema as mapping_schema
from fieldline_server import metrics as metrics_module
from fieldline_server.metrics import Metrics

_MADE = "Made from the code by `tools/make_reference.py`; a test compares the two."
_VERBS = {
    "discover": "says what the system holds", "read": "reads records", "lookup": "reads records by key",
    "children": "reads the rows that belong to records", "write": "writes answers",
    "poll": "asks after writes that take long", "receive": "takes signed messages", "listen": "hears what changes",
    "subscribe": "is told what changes",
}  # fmt: skip
_FORMATS = {"uri": "URL", "path": "path", "ipvanynetwork": "network", "date-time": "date and time"}
Schema = Mapping[str, Any]


def settings() -> str:
    """The page of settings: each with its variable, its default and what it does."""
    lines = [
        "# Settings", "", _MADE, "",
        "How a process of Fieldline runs. A variable of the environment wins over `fieldline.yaml` in the folder where the process",
        "starts, which wins over the default. In the file a setting has its name in lower case without `FIELDLINE_`:",
        "`chunk_rows: 5000`. An unknown name in the file is ignored.", "",
        "| Variable | Value | Default | What it does |", "|---|---|---|---|",
    ]  # fmt: skip
    schema = Settings.model_json_schema()
    for name, about in schema["properties"].items():
        lines.append(f"| `FIELDLINE_{name.upper()}` | {_kind(about)} | {_setting_default(name, about)} | {about['description']} |")
    lines += [
        "", "`FIELDLINE_KEY` holds the wrapping key, 64 hexadecimal digits, where `FIELDLINE_KEY_PROVIDER` is `env`.",
        "`FIELDLINE_CRASH_AT`, `FIELDLINE_CRASH_ONCE` and `FIELDLINE_CRASH_TRACE` belong to crash tests; leave them unset.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def events() -> str:
    """The page of audit events."""
    lines = [
        "# Audit events", "", _MADE, "",
        "Every act that changes something, and every look at a record that is kept, leaves one of these events in the transaction",
        "in which it happens. An event holds its type, the time, who acted, and a detail of names, numbers and digests; it never",
        "holds a record's values or a secret. `fieldline audit list` lists them, `fieldline audit list action:flow.paused` those",
        "of a type.",
        "",
        "| Event | What happened |", "|---|---|",
    ]  # fmt: skip
    return "\n".join([*lines, *(f"| `{name}` | {words} |" for name, words in sorted(EVENTS.items()))]) + "\n"


def connectors() -> str:
    """The page of connectors: what each can do, and every key of its settings, queries and targets."""
    lines = [
        "# Connectors", "", _MADE, "",
        "A connection names its connector and gives its settings; `source.query` and `target` of a flow are written in its terms.",
        "`fieldline connectors` lists what is installed.",
    ]  # fmt: skip
    for name, kind in connector_classes().items():
        abilities = [words for verb, words in _VERBS.items() if callable(getattr(kind, verb, None))]
        lines += ["", f"## {name}", "", f"{inspect.getdoc(kind)} It {_listed(abilities)}."]
        parts = {"query": "Query", "changes": "Topic", "target": "Target"}
        models = {"settings": kind.Config, **{heading: getattr(kind, part, None) for heading, part in parts.items()}}
        for heading, model in models.items():
            lines += _model(name, heading, model) if model else []
    return "\n".join(lines) + "\n"


def metrics() -> str:
    """The page of metrics."""
    lines = [
        "# Metrics", "", _MADE, "",
        "`GET /metrics` of the API, in Prometheus' text format, for a key with the scope `metrics`, or without a key from the same",
        "machine. Labels hold names of routes, flows, targets and outcomes, never anything of a record.", "",
        "| Metric | Labels | What it says |", "|---|---|---|",
    ]  # fmt: skip
    made = Metrics()
    for field in vars(made).values():
        described = field.describe() if hasattr(field, "describe") else ()
        lines += [_metric(found.name, found.type, field._labelnames, found.documentation) for found in described]
    lines.append("| `fieldline_store_up` | | 1 where the database answered. |")
    lines += [_metric(name, "gauge", labels, words) for _, name, words, labels, _ in metrics_module._FAMILIES]
    lines.append("| `fieldline_invariant_violations` | `rule` | What must never be, and is; 0 is right. The rules are below. |")
    lines += ["", "## Invariants", "", "| Rule | What must hold |", "|---|---|", *(f"| `{n}` | {w} |" for n, w in RULES.items())]
    return "\n".join(lines) + "\n"


def mistakes() -> str:
    """The page of mistakes in mappings, from the table that a test holds to what lint says."""
    table = runpy.run_path(str(Path(__file__).resolve().parents[1] / "tests/mistakes.py"))
    page: str = table["page"]()
    return page


PAGES: dict[str, Callable[[], str]] = {
    "connectors.md": connectors, "events.md": events, "formulas.md": formulas, "mapping.md": mappings,
    "mapping.schema.json": mapping_schema, "metrics.md": metrics,
    "mistakes.md": mistakes, "settings.md": settings,
}  # fmt: skip


def main() -> int:
    """Writes the pages of the project that this file belongs to."""
    folder = Path(__file__).resolve().parents[1] / "docs/reference"
    for name, page in PAGES.items():
        (folder / name).write_text(page())
    return 0


def _metric(name: str, kind: str, labels: tuple[str, ...], words: str) -> str:
    shown = f"{name}_total" if kind == "counter" else name
    return f"| `{shown}` | {', '.join(f'`{label}`' for label in labels)} | {words} |"


def _model(connector: str, heading: str, model: type[BaseModel]) -> Iterator[str]:
    schema = model.model_json_schema(by_alias=True)
    parts: dict[str, Schema] = {heading: schema}
    # A type that is one of a few words is written out where it is used.
    parts |= {f"{heading}: {name}": part for name, part in schema.get("$defs", {}).items() if "properties" in part}
    for title, part in parts.items():
        yield from ("", f"### {connector}: {title}", "", _sentence(part.get("description", "")), "")
        yield from ("| Key | Value | Default | What it does |", "|---|---|---|---|")
        required = part.get("required", ())
        for key, about in part["properties"].items():
            cells = (f"`{key}`", _kind(about, schema), _default(key in required, about), _sentence(about.get("description", "")))
            yield f"| {' | '.join(cells)} |"


def _kind(about: Schema, root: Schema | None = None) -> str:
    """What may be written, in words."""
    if choices := about.get("anyOf") or about.get("oneOf"):
        return " or ".join(dict.fromkeys(_kind(each, root) for each in choices if each.get("type") != "null"))
    if "$ref" in about:
        name = about["$ref"].rsplit("/", 1)[-1]
        part = (root or {}).get("$defs", {}).get(name, {})
        return name if "properties" in part else _kind(part, root)
    if "enum" in about or "const" in about:
        return ", ".join(f"`{word}`" for word in about.get("enum", [about.get("const")]))
    if about.get("x-secret"):
        return "secret"
    match about.get("type"):
        case "array":
            return f"list of {_kind(about.get('items', {}), root)}"
        case "object":
            values = about.get("additionalProperties")
            return f"keys with {_kind(values if isinstance(values, dict) else {}, root)}"
        case "string":
            return _FORMATS.get(about.get("format", ""), "secret" if about.get("writeOnly") else _text(about))
        case "integer" | "number" as kind:
            return f"{kind}{_bounds(about)}"
        case "boolean":
            return "true or false"
    return "any value"


def _text(about: Schema) -> str:
    # A pattern such as ^(file|env)$ is a list of words.
    words = re.fullmatch(r"\^\(([a-z|]+)\)\$", about.get("pattern", ""))
    return ", ".join(f"`{word}`" for word in words[1].split("|")) if words else "text"


def _bounds(about: Schema) -> str:
    low, above, high = about.get("minimum"), about.get("exclusiveMinimum"), about.get("maximum")
    words = [f"at least {low:,}"] if low is not None else [f"above {above:,}"] if above is not None else []
    words += [f"at most {high:,}"] if high is not None else []
    return f", {', '.join(words)}" if words else ""


def _default(required: bool, about: Schema) -> str:
    if required:
        return "required"
    value = about.get("default")
    if value in (None, "", [], {}) or isinstance(value, dict | list):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _setting_default(name: str, about: Schema) -> str:
    if Settings.model_fields[name].default_factory:
        return "`/var/lib/fieldline` for root, else `~/.local/share/fieldline`"
    return _default(False, about)


def _sentence(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


if __name__ == "__main__":
    sys.exit(main())
