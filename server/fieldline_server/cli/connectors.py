"""Commands on connectors, the kinds of systems that connections reach."""

from typing import Annotated, Any

import typer

from fieldline_server.cli.app import topic
from fieldline_server.cli.session import AsJson
from fieldline_server.cli.show import note, show_json, show_rows

connectors = topic("connectors", "Connectors: the kinds of systems that can be reached, and their settings.")
_ABILITIES = {
    "Discovers": "discover", "Source": "read", "Lookup": "look up", "Sink": "write", "Polls": "poll", "Hook": "receive",
    "Feed": "hear changes", "Subscribes": "be told of changes",
}  # fmt: skip
_PARTS = {"Config": "settings of the connection", "Query": "query of a source", "Target": "target of a write"}


@connectors.command("list")
def list_all(as_json: AsJson = False) -> None:
    """Lists the installed connectors and what each can do."""
    from fieldline_connectors.registry import connector_classes

    rows = [{"name": name, "can": _abilities(kind), "about": _first_line(kind)} for name, kind in connector_classes().items()]
    show_rows(rows, ("name", "can", "about"), as_json=as_json, none="no connector is installed")


@connectors.command()
def show(name: Annotated[str, typer.Argument(help="A connector, such as odbc.")], as_json: AsJson = False) -> None:
    """Shows what is written about a connector: settings, queries and targets."""
    from fieldline_connectors.registry import connector_class

    kind = connector_class(name)
    parts = {part: _settings(getattr(kind, part)) for part in _PARTS if hasattr(kind, part)}
    if as_json:
        show_json({"name": name, "can": _abilities(kind), "about": _first_line(kind), "settings": parts})
        return
    note(_first_line(kind))
    for part, rows in parts.items():
        typer.echo(f"\n{_PARTS[part]}")
        show_rows(rows, ("key", "value", "default", "what_it_does"), as_json=False, none="none")


def _abilities(kind: type[Any]) -> list[str]:
    from fieldline_core import ports

    return [word for port, word in _ABILITIES.items() if _offers(kind, getattr(ports, port))]


def _offers(kind: type[Any], ability: type) -> bool:
    verbs = [name for name in vars(ability) if not name.startswith("_") and callable(getattr(ability, name))]
    return all(hasattr(kind, name) for name in verbs)


def _first_line(kind: type[Any]) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0]


def _settings(model: type[Any]) -> list[dict[str, Any]]:
    """The keys of a pydantic model, those of its parts under their path, as they stand in its JSON schema."""
    schema = model.model_json_schema()
    return list(_rows(schema, schema.get("$defs", {}), ""))


def _rows(schema: dict[str, Any], parts: dict[str, Any], above: str) -> Any:
    for key, about in schema.get("properties", {}).items():
        default = "required" if key in schema.get("required", ()) else _default(about)
        words = " ".join(str(about.get("description", "")).split())
        yield {"key": above + key, "value": _kind(about, parts), "default": default, "what_it_does": words}
        inner = _object_of(about, parts)
        if inner is not None and above.count(".") < 3:
            yield from _rows(inner, parts, f"{above}{key}.")


def _object_of(about: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any] | None:
    """The schema of a value that has keys of its own."""
    for choice in (about, about.get("items", {}), *about.get("anyOf", ()), *about.get("allOf", ())):
        found = parts.get(choice.get("$ref", "").rpartition("/")[2], {})
        if found.get("properties"):
            return dict(found)
    return None


def _kind(about: dict[str, Any], parts: dict[str, Any]) -> str:
    if about.get("x-secret"):
        return "secret"
    choices = about.get("anyOf") or about.get("oneOf")
    if choices:
        return " or ".join(dict.fromkeys(_kind(each, parts) for each in choices if each.get("type") != "null"))
    if "$ref" in about:
        return _kind(parts.get(about["$ref"].rpartition("/")[2], {}), parts)
    if "enum" in about or "const" in about:
        return ", ".join(str(word) for word in about.get("enum", [about.get("const")]))
    words = {"string": "text", "object": "keys", "array": "list", None: "any"}
    return words.get(about.get("type"), str(about.get("type")))


def _default(about: dict[str, Any]) -> str:
    default = about.get("default")
    return "" if default is None or default in ([], {}, "") else str(default)
