"""Finds connectors, ours and other people's, by the entry points of installed packages."""

from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from fieldline_core.errors import Misconfigured

GROUP = "fieldline.connectors"
"""The entry-point group in which a package names its connectors."""


def connector_names() -> list[str]:
    """The names of the installed connectors, in alphabetical order; nothing is loaded."""
    return sorted(_points())


def connector_classes() -> dict[str, type[Any]]:
    """Every installed connector by its name, in alphabetical order."""
    return {name: _loaded(point) for name, point in sorted(_points().items())}


def connector_class(name: str) -> type[Any]:
    """The connector of that name; raises Misconfigured, with the name that was probably meant, where there is none."""
    points = _points()
    if name not in points:
        near = get_close_matches(name, points, n=1)
        meant = f"did you mean {near[0]}?" if near else f"installed are {', '.join(sorted(points))}"
        raise Misconfigured(f"there is no connector {name!r}: {meant}")
    return _loaded(points[name])


@cache
def _points() -> dict[str, EntryPoint]:
    # Kept, since the metadata of every installed package is looked through, and a process asks many times.
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        # One package may be listed twice (an editable install beside its metadata); two packages may not share a name.
        if points.setdefault(point.name, point).value != point.value:
            both = f"{points[point.name].value}, {point.value}"
            raise Misconfigured(f"two packages offer a connector {point.name!r} ({both}): remove one")
    return points


def _loaded(point: EntryPoint) -> type[Any]:
    try:
        found: type[Any] = point.load()
    except (ImportError, AttributeError) as error:
        package = point.dist.name if point.dist else point.value
        raise Misconfigured(f"the connector {point.name!r} of {package} cannot be loaded: {error}") from error
    return found
