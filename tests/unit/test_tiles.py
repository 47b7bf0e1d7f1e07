"""A log in tiles and entry bundles, as C2SP tlog-tiles lays it out."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_core.ledger import (
    MAX_ENTRY_BYTES,
    Bundle,
    ProofError,
    Tile,
    TileError,
    changed_bundles,
    changed_tiles,
    consistency_proof,
    decode_entries,
    encode_entries,
    grown_tiles,
    hash_leaf,
    hashes_of,
    inclusion_proof,
    parse_path,
    root_at,
    stored_hashes,
)

TREE = [hash_leaf(b"%d" % number) for number in range(70_000)]
AT = hashes_of(TREE)
SIZES = st.one_of(st.integers(0, 1500), st.integers(65_000, 67_000))


class Shelf:
    """Tiles by level and index, each only as it is now, as a database would hold them."""

    def __init__(self, size: int = 0) -> None:
        self.size = 0
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.read: list[Tile] = []
        self.grow(size)

    def grow(self, new: int) -> None:
        for tile, content in grown_tiles(self.size, TREE[self.size : new], self):
            self.tiles[tile.level, tile.index] = content
        self.size = new

    def __call__(self, tile: Tile) -> bytes:
        self.read.append(tile)
        return self.tiles[tile.level, tile.index]


WHOLE = Shelf(70_000)


def test_the_tiles_of_a_tree_are_those_of_the_specification() -> None:
    tiles = list(changed_tiles(0, 70_000))

    assert [tile for tile in tiles if tile.level == 0] == [*(Tile(0, index) for index in range(273)), Tile(0, 273, 112)]
    assert [tile for tile in tiles if tile.level] == [Tile(1, 0), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert list(changed_tiles(0, 256)) == [Tile(0, 0), Tile(1, 0, 1)]


@pytest.mark.parametrize(
    ("old", "new", "paths"),
    [
        (0, 0, []),
        (7, 7, []),
        (0, 1, ["tile/0/000.p/1"]),
        (1, 255, ["tile/0/000.p/255"]),
        (255, 256, ["tile/0/000", "tile/1/000.p/1"]),
        (256, 257, ["tile/0/001.p/1"]),
        (250, 600, ["tile/0/000", "tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2"]),
        (65_535, 65_536, ["tile/0/255", "tile/1/000", "tile/2/000.p/1"]),
    ],
)
def test_a_tree_that_grows_changes_its_right_edge_only(old: int, new: int, paths: list[str]) -> None:
    assert [tile.path for tile in changed_tiles(old, new)] == paths
    assert [bundle.path for bundle in changed_bundles(old, new)] == [
        path.replace("tile/0/", "tile/entries/") for path in paths if path.startswith("tile/0/")
    ]


@pytest.mark.parametrize(
    ("place", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 999, 1), "tile/0/999.p/1"),
        (Tile(3, 1000), "tile/3/x001/000"),
        (Tile(63, 1234067, 255), "tile/63/x001/x234/067.p/255"),
        (Bundle(5), "tile/entries/005"),
        (Bundle(1234067, 17), "tile/entries/x001/x234/067.p/17"),
    ],
)
def test_a_path_names_one_tile_or_bundle(place: Tile | Bundle, path: str) -> None:
    assert place.path == path
    assert parse_path(path) == place


@given(st.integers(0, 63), st.integers(0, 1 << 56), st.integers(1, 256))
def test_every_path_is_read_back(level: int, index: int, width: int) -> None:
    assert parse_path(Tile(level, index, width).path) == Tile(level, index, width)
    assert parse_path(Bundle(index, width).path) == Bundle(index, width)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/0",
        "tile/0/0000",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/data/000",
        "/tile/0/000",
        "tile/0/000/",
        "tile/0/000\n",
        "tile/0/001/000",
        "tile/0/x000/001",
        "tile/0/x001",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/257",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/\u0660\u0660\u0660",
        "tile/0/../../etc/passwd",
        "tile/0/" + "x001/" * 2000 + "000",
    ],
)
def test_any_other_path_is_refused(path: str) -> None:
    with pytest.raises(TileError, match="is no path of a tile or an entry bundle"):
        parse_path(path)


@given(st.lists(st.integers(0, 700), max_size=6))
def test_tiles_that_grew_in_steps_are_those_of_a_tree_made_at_once(steps: list[int]) -> None:
    shelf, at_once = Shelf(), Shelf(sum(steps))
    for step in steps:
        old = shelf.size
        expected = [(tile.level, tile.index, tile.width) for tile in changed_tiles(old, old + step)]
        grown = grown_tiles(old, TREE[old : old + step], shelf)
        assert [(tile.level, tile.index, tile.width) for tile, _ in grown] == expected
        shelf.grow(old + step)

    assert shelf.tiles == at_once.tiles


@given(SIZES, SIZES, st.data())
def test_proofs_over_tiles_are_those_over_the_tree(one: int, another: int, data: st.DataObject) -> None:
    old, new = sorted((one, another))
    stored = stored_hashes(new, WHOLE)

    assert root_at(new, stored) == root_at(new, AT)
    assert consistency_proof(old, new, stored) == consistency_proof(old, new, AT)
    if new:
        index = data.draw(st.integers(0, new - 1))
        assert inclusion_proof(index, new, stored) == inclusion_proof(index, new, AT)


def test_a_proof_reads_few_tiles() -> None:
    for make in (lambda at: inclusion_proof(30_000, 70_000, at), lambda at: consistency_proof(30_000, 70_000, at)):
        WHOLE.read.clear()
        make(stored_hashes(70_000, WHOLE))
        # On each of three levels: the tile of the way up, and the tile at the right edge.
        assert len(set(WHOLE.read)) == len(WHOLE.read) <= 6


def test_tiles_that_have_grown_since_prove_an_older_tree() -> None:
    assert root_at(1000, stored_hashes(1000, WHOLE)) == root_at(1000, AT)


def test_a_tile_of_the_wrong_length_is_named() -> None:
    for wrong in (b"", TREE[0] * 231, TREE[0] * 232 + b"x", TREE[0] * 257):
        with pytest.raises(TileError, match=r"tile/0/003\.p/232 has .* bytes, its 232 hashes have 7,424"):
            root_at(1000, stored_hashes(1000, lambda tile, wrong=wrong: wrong if tile == Tile(0, 3, 232) else WHOLE(tile)))


def test_a_flipped_bit_in_a_tile_breaks_the_proof_that_needs_it() -> None:
    shelf = Shelf(1000)
    shelf.tiles[0, 3] = bytes([shelf.tiles[0, 3][0] ^ 1]) + shelf.tiles[0, 3][1:]

    assert root_at(1000, stored_hashes(1000, shelf)) != root_at(1000, AT)


def test_hashes_beyond_the_tree_are_not_asked_for() -> None:
    at = stored_hashes(1000, WHOLE)

    for level, index in ((0, 1000), (3, 125), (8, 3), (10, 0), (16, 0), (0, 1 << 70)):
        with pytest.raises(TileError, match="a tree of 1000 leaves has no whole subtree"):
            at(level, index)
    with pytest.raises(ProofError):
        inclusion_proof(1000, 1000, at)


@given(st.lists(st.binary(max_size=300), max_size=256), st.data())
def test_entries_are_read_back_from_their_bundle(entries: list[bytes], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(entries)))

    whole = encode_entries(entries)
    assert whole == encode_entries(entries[:cut]) + encode_entries(entries[cut:])
    assert decode_entries(Bundle(0, len(entries)), whole) == entries
    assert decode_entries(Bundle(0, cut), whole) == entries[:cut]


def test_an_entry_stands_behind_its_length_as_two_bytes() -> None:
    assert encode_entries([b"ab", b"", b"\xff" * 258]) == b"\x00\x02ab" + b"\x00\x00" + b"\x01\x02" + b"\xff" * 258


def test_an_entry_that_is_too_long_is_named_with_its_length() -> None:
    longest = b"x" * MAX_ENTRY_BYTES

    assert decode_entries(Bundle(0, 1), encode_entries([longest])) == [longest]
    with pytest.raises(TileError, match="entry 1 of those to record has 65,536 bytes, and the log takes 65,535 at most"):
        encode_entries([b"short", longest + b"x"])


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x02a", b"\x00\x01a", b"\x00\x01a\x00", b"\x00\x01a\xff\xffb"])
def test_a_bundle_that_ends_too_early_is_named(data: bytes) -> None:
    with pytest.raises(TileError, match=r"tile/entries/007\.p/2 ends within entry [01] of its 2"):
        decode_entries(Bundle(7, 2), data)


def test_a_full_bundle_ends_with_its_last_entry() -> None:
    full = encode_entries([b"x"] * 256)

    assert decode_entries(Bundle(7), full) == [b"x"] * 256
    with pytest.raises(TileError, match="tile/entries/007 goes on after its 256 entries"):
        decode_entries(Bundle(7), full + b"\x00")


def test_a_tile_of_level_0_holds_the_hashes_of_its_entries() -> None:
    entries = [b"%d" % number for number in range(256)]
    ((tile, hashes), _) = grown_tiles(0, [hash_leaf(entry) for entry in entries], Shelf())

    assert tile == Tile(0, 0)
    assert hashes == b"".join(sha256(b"\x00" + entry).digest() for entry in entries)
