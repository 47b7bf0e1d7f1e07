"""Features added to a mapping that somebody wrote, with every other byte of the text left as it is."""

from collections.abc import Sequence

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from fieldline_core.errors import Misconfigured


def features_indent(text: str) -> str:
    """What stands before the dash of each feature; raises Misconfigured where the features are no list of lines."""
    return " " * _features(text).start_mark.column


def with_features(text: str, lines: Sequence[str]) -> str:
    """The text with lines after the mapping's last feature; raises Misconfigured where the features are no list of lines."""
    written = text.splitlines(keepends=True)
    ending = "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"
    place = _last_line(_features(text)) + 1
    if not written[place - 1].endswith(("\n", "\r")):
        written[place - 1] += ending
    return "".join([*written[:place], *(line + ending for line in lines), *written[place:]])


def _features(text: str) -> SequenceNode:
    found = [node for document in yaml.compose_all(text, yaml.SafeLoader) if (node := _value(document)) is not None]
    if len(found) != 1 or not isinstance(found[0], SequenceNode) or found[0].flow_style or not found[0].value:
        raise Misconfigured("the features of this file are not one list with a line, or some, for each: add them by hand")
    return found[0]


def _value(document: Node) -> Node | None:
    """The features of a document that is a mapping."""
    if not isinstance(document, MappingNode):
        return None
    parts = {key.value: value for key, value in document.value if isinstance(key, ScalarNode)}
    return parts.get("features") if "mapping" in parts and "flow" not in parts else None


def _last_line(node: Node) -> int:
    """The line on which the last part of a node ends; a block's own end lies behind the comments that follow it."""
    if isinstance(node, MappingNode | SequenceNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _last_line(last[1] if isinstance(node, MappingNode) else last)
    mark = node.end_mark
    # A text of several lines (|) ends at the beginning of the next one.
    return mark.line - 1 if mark.column == 0 and mark.line > node.start_mark.line else mark.line
