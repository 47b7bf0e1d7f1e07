"""C2SP tlog-tiles: the hashes and entries of a log in immutable pieces of 256, each with a path of its own."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from fieldline_core.ledger.errors import TileError
from fieldline_core.ledger.merkle import HASH_SIZE, HashAt, root_of

HEIGHT = 8
WIDTH = 1 << HEIGHT
MAX_ENTRY_BYTES = 65_535

_PATH = re.compile(r"tile/(entries|[0-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """Hashes side by side, each of a whole subtree of 256 ** level leaves; it is partial where it has fewer than 256."""

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Where it is served, below the log's address."""
        return f"tile/{self.level}/{_place(self.index, self.width)}"


@dataclass(frozen=True, slots=True, order=True)
class Bundle:
    """Entries side by side: those whose hashes are in the tile of level 0 of the same index and width."""

    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Where it is served, below the log's address."""
        return f"tile/entries/{_place(self.index, self.width)}"


ReadTile: TypeAlias = Callable[[Tile], bytes]
"""Gives the hashes of a tile; those that a tile has got since, to the right, may follow."""


def parse_path(path: str) -> Tile | Bundle:
    """The tile or bundle at this path; raises TileError where there can be none."""
    match = _PATH.fullmatch(path)
    if match:
        kind, number, width_text = match.groups()
        index, width = int(number.replace("x", "").replace("/", "")), int(width_text or WIDTH)
        found = Bundle(index, width) if kind == "entries" else Tile(int(kind), index, width)
        # One path for each: no leading x000, no partial tile as wide as a full one.
        if width <= WIDTH and found.path == path:
            return found
    raise TileError(f"{path!r} is no path of a tile or an entry bundle, such as tile/0/x001/234.p/17")


def changed_tiles(old: int, new: int) -> Iterator[Tile]:
    """The tiles, as they are then, that a tree gets or that get wider when it grows from `old` to `new` leaves."""
    level = 0
    while old < new:
        for index in range(old // WIDTH, (new + WIDTH - 1) // WIDTH):
            yield Tile(level, index, min(WIDTH, new - index * WIDTH))
        level, old, new = level + 1, old // WIDTH, new // WIDTH


def changed_bundles(old: int, new: int) -> Iterator[Bundle]:
    """The entry bundles, as they are then, that a log gets or that get longer when it grows from `old` to `new` entries."""
    return (Bundle(tile.index, tile.width) for tile in changed_tiles(old, new) if tile.level == 0)


def grown_tiles(size: int, leaf_hashes: Sequence[bytes], read: ReadTile) -> Iterator[tuple[Tile, bytes]]:
    """The changed tiles and their hashes when these leaves are added to a tree of `size`, whose partial tiles `read` gives."""
    level, hashes = 0, leaf_hashes
    while hashes:
        first, width = divmod(size, WIDTH)
        before = _read(Tile(level, first, width), read) if width else b""
        data, full = before + b"".join(hashes), []
        for number, start in enumerate(range(0, len(data), WIDTH * HASH_SIZE)):
            content = data[start : start + WIDTH * HASH_SIZE]
            tile = Tile(level, first + number, len(content) // HASH_SIZE)
            yield tile, content
            if tile.width == WIDTH:
                full.append(root_of(_hashes(content)))
        level, size, hashes = level + 1, size // WIDTH, full


def stored_hashes(size: int, read: ReadTile) -> HashAt:
    """The hashes of the tree of `size` that is stored in tiles."""
    # A proof meets a tile up to eight times in a row.
    read_once = lru_cache(maxsize=32)(lambda tile: _read(tile, read))

    def hash_at(level: int, index: int) -> bytes:
        tile_level, height = divmod(level, HEIGHT)
        number, offset = divmod(index << height, WIDTH)
        width = min(WIDTH, (size >> HEIGHT * tile_level) - number * WIDTH)
        end = offset + (1 << height)
        if end > width:
            raise TileError(f"a tree of {size} leaves has no whole subtree {index} of {1 << level} leaves")
        data = read_once(Tile(tile_level, number, width))
        return root_of(_hashes(data[offset * HASH_SIZE : end * HASH_SIZE]))

    return hash_at


def _read(tile: Tile, read: ReadTile) -> bytes:
    data, needed = read(tile), tile.width * HASH_SIZE
    if len(data) not in range(needed, WIDTH * HASH_SIZE + 1, HASH_SIZE):
        raise TileError(f"{tile.path} has {len(data):,} bytes, its {tile.width} hashes have {needed:,}: it was changed")
    return data[:needed]


def _hashes(data: bytes) -> list[bytes]:
    return [data[start : start + HASH_SIZE] for start in range(0, len(data), HASH_SIZE)]


def encode_entries(entries: Iterable[bytes]) -> bytes:
    """Entries as a bundle holds them; a bundle that gets longer has the further ones behind it."""
    out = []
    for position, entry in enumerate(entries):
        if len(entry) > MAX_ENTRY_BYTES:
            raise TileError(
                f"entry {position} of those to record has {len(entry):,} bytes, and the log takes {MAX_ENTRY_BYTES:,} at most: "
                "record a digest of what is long, not the whole"
            )
        out += [len(entry).to_bytes(2, "big"), entry]
    return b"".join(out)


def decode_entries(bundle: Bundle, data: bytes) -> list[bytes]:
    """The entries of a bundle; those that it has got since may follow, and are left out."""
    entries: list[bytes] = []
    start = 0
    while len(entries) < bundle.width:
        body = start + 2
        end = body + int.from_bytes(data[start:body], "big")
        if end > len(data):
            raise TileError(f"{bundle.path} ends within entry {len(entries)} of its {bundle.width}: it was changed")
        entries.append(data[body:end])
        start = end
    if bundle.width == WIDTH and start < len(data):
        raise TileError(f"{bundle.path} goes on after its {bundle.width} entries: it was changed")
    return entries


def _place(index: int, width: int) -> str:
    place = f"{index % 1000:03}"
    while index := index // 1000:
        place = f"x{index % 1000:03}/{place}"
    return place if width == WIDTH else f"{place}.p/{width}"


__all__ = [
    "HEIGHT",
    "MAX_ENTRY_BYTES",
    "WIDTH",
    "Bundle",
    "ReadTile",
    "Tile",
    "changed_bundles",
    "changed_tiles",
    "decode_entries",
    "encode_entries",
    "grown_tiles",
    "parse_path",
    "stored_hashes",
]
