"""What an expression may ask for beside the element it stands on."""

from collections.abc import Mapping
from typing import Any, TypeAlias

References: TypeAlias = Mapping[str, tuple[str, str]]
"""What an address inside a bundle (`urn:uuid:…`) stands for: type and id of a resource."""

_NONE: References = {}


class Scope:
    """The resource in hand, the addresses of its bundle, and the number of the row among those of its element."""

    __slots__ = ("references", "resource", "row_index")

    def __init__(self, resource: Any, references: References = _NONE) -> None:
        self.resource = resource
        self.references = references
        self.row_index = 0
