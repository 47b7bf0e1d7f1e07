"""YAML that people write: read within bounds, with the line and column of every part kept for what is found in it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from fieldline_core.findings import Finding, Location, path_text

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
MAX_PARTS = 50_000
MAX_PLAIN_LENGTH = 100
"""Numbers and dates longer than this are refused: reading a number of a million digits takes minutes."""


@dataclass(frozen=True, slots=True)
class Source:
    """One YAML document: its data, and where each part of it stands."""

    data: Any
    file: str = ""
    places: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    texts: Mapping[str, ScalarNode] = field(default_factory=dict)
    lines: Sequence[str] = ()

    def place(self, path: str) -> tuple[int, int]:
        """Line and column of a path, or of the nearest part around it that is written down."""
        while path and path not in self.places:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.places.get(path, (0, 0))

    def locate(self, finding: Finding) -> Finding:
        """The finding with its file, line and column."""
        line, column = self.place(finding.path)
        node = self.texts.get(finding.path)
        if node is not None and finding.offset is not None:
            line, column = self._inside(node, finding.offset)
        return replace(finding, file=self.file, line=line, column=column)

    def _inside(self, node: ScalarNode, offset: int) -> tuple[int, int]:
        """Line and column of a character of a text."""
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        if node.style == "|":
            before = node.value[:offset]
            line += 1 + before.count("\n")
            written = self.lines[line - 1] if line <= len(self.lines) else ""
            return line, 1 + len(written) - len(written.lstrip()) + offset - (before.rfind("\n") + 1)
        # A text that goes on over several lines has its line breaks folded away: its beginning is named.
        folded = node.start_mark.line != node.end_mark.line
        return (line, column) if folded else (line, column + offset + (node.style in ("'", '"')))


class _Refused(Exception):
    def __init__(self, message: str, at: Node | yaml.Event, path: Location = ()) -> None:
        super().__init__(message)
        mark = at.start_mark
        self.line, self.column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        self.path = path


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses aliases (a few lines of them unfold to gigabytes) and bounds depth and parts."""

    depth = 0
    parts = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _Refused("aliases (*name) are not read: write the value out", event)
        self.depth, self.parts = self.depth + 1, self.parts + 1
        if self.depth > MAX_DEPTH or self.parts > MAX_PARTS:
            bound = f"{MAX_DEPTH} levels deep" if self.depth > MAX_DEPTH else f"{MAX_PARTS} parts long"
            raise _Refused(f"the document is more than {bound}", event)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def parse(text: str | bytes, file: str = "") -> tuple[list[Source], list[Finding]]:
    """The documents of a YAML text (`---` parts them), and what keeps it from being read."""
    size = len(text) if isinstance(text, bytes) else len(text.encode(errors="surrogatepass"))
    if size > MAX_BYTES:
        return [], [Finding("yaml", "", f"the text has {size} bytes, at most {MAX_BYTES} are read", file=file)]
    try:
        return list(_documents(text, file)), []
    except _Refused as refused:
        return [], [Finding("yaml", path_text(refused.path), str(refused), line=refused.line, column=refused.column, file=file)]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        message = f"this is not YAML: {error.problem}."
        return [], [Finding("yaml", "", message, _remedy(text, error), line=line, column=column, file=file)]
    except yaml.YAMLError as error:
        return [], [Finding("yaml", "", f"this is not YAML: {getattr(error, 'reason', 'unreadable')}", file=file)]


def _remedy(text: str | bytes, error: yaml.MarkedYAMLError) -> str:
    """What to do where a formula's own signs (quotes, brackets, colons) were taken for YAML's."""
    lines = (text if isinstance(text, str) else text.decode(errors="replace")).splitlines()
    for mark in (error.problem_mark, error.context_mark):
        around = lines[max(0, mark.line - 1) : mark.line + 1] if mark else []
        if any("formula:" in line or "reason:" in line for line in around):
            return "A formula with quotes, brackets or colons goes on the line below, indented, after `formula: |`."
    return ""


def _documents(text: str | bytes, file: str) -> Iterator[Source]:
    loader = _Loader(text)
    lines = (text if isinstance(text, str) else text.decode(errors="replace")).splitlines()
    try:
        while loader.check_node() and (node := loader.get_node()):
            places: dict[str, tuple[int, int]] = {}
            texts: dict[str, ScalarNode] = {}
            yield Source(_value(loader, node, (), places, texts), file, places, texts, lines)
    finally:
        loader.dispose()


def _value(
    loader: _Loader, node: Node, path: Location, places: dict[str, tuple[int, int]], texts: dict[str, ScalarNode]
) -> Any:
    places.setdefault(path_text(path), (node.start_mark.line + 1, node.start_mark.column + 1))
    if not isinstance(node, ScalarNode) and node.tag not in ("tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"):
        raise _Refused("tags (!name) are not read", node, path)
    if isinstance(node, SequenceNode):
        return [_value(loader, part, (*path, position), places, texts) for position, part in enumerate(node.value)]
    if isinstance(node, MappingNode):
        return _mapping(loader, node, path, places, texts)
    if isinstance(node, ScalarNode):
        texts[path_text(path)] = node
    return _scalar(loader, node, path)


def _mapping(
    loader: _Loader, node: MappingNode, path: Location, places: dict[str, tuple[int, int]], texts: dict[str, ScalarNode]
) -> dict[Any, Any]:
    data: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, ScalarNode):
            raise _Refused("a key is a word or a number", key_node, path)
        key = _scalar(loader, key_node, path)
        if key in data:
            raise _Refused(f"the key {key_node.value!r} stands here twice", key_node, path)
        here = (*path, str(key))
        places[path_text(here)] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
        data[key] = _value(loader, value_node, here, places, texts)
    return data


def _scalar(loader: _Loader, node: Node, path: Location) -> Any:
    if node.tag != "tag:yaml.org,2002:str" and len(node.value) > MAX_PLAIN_LENGTH:
        raise _Refused("this number is too long", node, path)
    try:
        return loader.construct_object(node, deep=True)
    except yaml.constructor.ConstructorError as error:
        raise _Refused(f"{error.problem}", node, path) from None
    except (ValueError, OverflowError):
        raise _Refused("this looks like a number or a date, but is none: write it in quotes if it is text", node, path) from None


__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_PARTS", "Source", "parse"]
