"""The exclusive canonical form of XML, without comments (https://www.w3.org/TR/xml-exc-c14n/), as far as signatures need it."""

from collections.abc import Mapping
from xml.dom.minidom import Attr, Element, Node

_XMLNS = "http://www.w3.org/2000/xmlns/"
_TEXT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#xD;"})
_VALUE = str.maketrans({"&": "&amp;", "<": "&lt;", '"': "&quot;", "\t": "&#x9;", "\n": "&#xA;", "\r": "&#xD;"})


def canonical(element: Element, without: Element | None = None) -> bytes:
    """The element in that form; `without` is left out, as an enveloped signature leaves out itself."""
    return "".join(_written(element, {}, without)).encode()


def _written(element: Element, known: Mapping[str, str], without: Element | None) -> list[str]:
    attributes = [each for each in _attributes(element) if each.namespaceURI != _XMLNS]
    used = {element.prefix or "": element.namespaceURI or ""}
    used |= {each.prefix: each.namespaceURI or "" for each in attributes if each.prefix and each.prefix != "xml"}
    added = {prefix: uri for prefix, uri in sorted(used.items()) if known.get(prefix, "") != uri}
    attributes.sort(key=lambda each: (each.namespaceURI or "", each.localName))
    spaces = [f' xmlns{":" if prefix else ""}{prefix}="{uri.translate(_VALUE)}"' for prefix, uri in added.items()]
    own = [f' {each.name}="{each.value.translate(_VALUE)}"' for each in attributes]
    parts = [f"<{element.tagName}", *spaces, *own, ">"]
    for child in element.childNodes:
        if child.nodeType in (Node.TEXT_NODE, Node.CDATA_SECTION_NODE):
            parts.append(child.data.translate(_TEXT))
        elif isinstance(child, Element) and child is not without:
            parts += _written(child, {**known, **added}, without)
    return [*parts, f"</{element.tagName}>"]


def _attributes(element: Element) -> list[Attr]:
    found = (element.attributes.item(number) for number in range(element.attributes.length))
    return [each for each in found if isinstance(each, Attr)]
