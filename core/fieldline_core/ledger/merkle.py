"""Merkle trees of RFC 6962: their roots, and proofs made and verified as RFC 9162 (section 2.1) says."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from hashlib import sha256
from typing import Self, TypeAlias

from fieldline_core.ledger.errors import ProofError

HASH_SIZE = 32
EMPTY_ROOT = sha256(b"").digest()

HashAt: TypeAlias = Callable[[int, int], bytes]
"""`(level, index)` -> the hash of the leaves from `index << level` to `(index + 1) << level`; asked for whole subtrees only."""


def hash_leaf(data: bytes) -> bytes:
    """The hash of a leaf."""
    return sha256(b"\x00" + data).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """The root of the tree over these leaf hashes."""
    level = list(leaf_hashes)
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        # The right edge has no neighbour: it goes up as it is.
        edge = level[-1:] if len(level) % 2 else []
        level = _parents(level) + edge
    return level[0]


def hashes_of(leaf_hashes: Iterable[bytes]) -> HashAt:
    """The hashes of the tree over these leaf hashes, held in memory."""
    levels = [list(leaf_hashes)]
    while len(levels[-1]) > 1:
        levels.append(_parents(levels[-1]))
    return lambda level, index: levels[level][index]


def _parents(hashes: Sequence[bytes]) -> list[bytes]:
    each = iter(hashes)
    # Not by `hash_node`: the call would cost half as much again, for every row of every batch.
    return [sha256(b"\x01" + left + right).digest() for left, right in zip(each, each, strict=False)]


@dataclass(slots=True)
class Frontier:
    """A tree that leaves are appended to: its size, and the roots of the whole subtrees it is made of, largest first."""

    size: int = 0
    edge: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        if len(self.edge) != self.size.bit_count():
            raise ProofError(f"a tree of {self.size} leaves is made of {self.size.bit_count()} subtrees, not {len(self.edge)}")

    @classmethod
    def at(cls, size: int, hash_at: HashAt) -> Self:
        """The frontier of a stored tree as it was at this size."""
        return cls(size, [hash_at(level, index) for level, index in _subtrees(0, size)])

    def append(self, leaf_hash: bytes) -> None:
        """Adds a leaf at the right."""
        edge, filled = self.edge, self.size
        while filled & 1:
            leaf_hash = hash_node(edge.pop(), leaf_hash)
            filled >>= 1
        edge.append(leaf_hash)
        self.size += 1

    def extend(self, leaf_hashes: Iterable[bytes]) -> None:
        """Adds leaves at the right, in order."""
        for leaf_hash in leaf_hashes:
            self.append(leaf_hash)

    def root(self) -> bytes:
        """The root of the tree as it is now."""
        return _fold(self.edge) if self.edge else EMPTY_ROOT


def root_at(size: int, hash_at: HashAt) -> bytes:
    """The root of a stored tree as it was at this size."""
    return Frontier.at(size, hash_at).root()


def inclusion_proof(index: int, size: int, hash_at: HashAt) -> list[bytes]:
    """The proof, from the leaf up, that the leaf at `index` is in the tree of `size`."""
    if not 0 <= index < size:
        raise ProofError(f"a tree of {size} leaves has no leaf {index}")
    start, end, path = 0, size, []
    while end - start > 1:
        middle = _split(start, end)
        if index < middle:
            path.append(_subtree(middle, end, hash_at))
            end = middle
        else:
            path.append(_subtree(start, middle, hash_at))
            start = middle
    return path[::-1]


def inclusion_path(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """The inclusion proof of one leaf in a tree that is made for it; for many leaves, make the tree once by `hashes_of`."""
    return inclusion_proof(index, len(leaf_hashes), hashes_of(leaf_hashes))


def consistency_proof(old: int, new: int, hash_at: HashAt) -> list[bytes]:
    """The proof that the tree of size `new` begins with all of the tree of size `old`."""
    if not 0 <= old <= new:
        raise ProofError(f"a tree of {new} leaves was never a tree of {old}")
    if old in (0, new):
        return []
    start, end, path = 0, new, []
    while old != end:
        middle = _split(start, end)
        if old <= middle:
            path.append(_subtree(middle, end, hash_at))
            end = middle
        else:
            path.append(_subtree(start, middle, hash_at))
            start = middle
    # Where it begins at the very left, it is the old tree itself, whose root the verifier has.
    if start:
        path.append(_subtree(start, end, hash_at))
    return path[::-1]


def _split(start: int, end: int) -> int:
    """Where the left subtree of these leaves ends: after the largest power of two that is less than all of them."""
    return start + (1 << (end - start - 1).bit_length() - 1)


def _subtree(start: int, end: int, hash_at: HashAt) -> bytes:
    return _fold([hash_at(level, index) for level, index in _subtrees(start, end)])


def _subtrees(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The whole subtrees over these leaves, largest first; `start` is where a subtree of that many leaves may begin."""
    while start < end:
        level = (end - start).bit_length() - 1
        yield level, start >> level
        start += 1 << level


def _fold(hashes: Sequence[bytes]) -> bytes:
    return reduce(lambda right, left: hash_node(left, right), reversed(hashes))


def root_by_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof leads to; raises ProofError where the proof cannot be one of that leaf and size."""
    if not 0 <= index < size:
        raise ProofError(f"a tree of {size} leaves has no leaf {index}")
    _check_hashes("inclusion proof", leaf_hash, *proof)
    root = leaf_hash
    for sibling, at_left in _climb(index, size - 1, proof):
        root = hash_node(sibling, root) if at_left else hash_node(root, sibling)
    return root


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Raises ProofError unless the leaf is at `index` in the tree of that size and root."""
    if root_by_inclusion(leaf_hash, index, size, proof) != root:
        raise ProofError(
            f"the inclusion proof of leaf {index} in the tree of {size} does not lead to its root: "
            "the leaf, the proof or the root is not the one that was recorded"
        )


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Raises ProofError unless the tree of size `new` begins with all of the tree of size `old`."""
    if not 0 <= old <= new:
        raise ProofError(f"a tree of {new} leaves cannot have grown from one of {old}")
    _check_hashes("consistency proof", old_root, new_root, *proof)
    for size, root in ((old, old_root), (new, new_root)):
        if size == 0 and root != EMPTY_ROOT:
            raise ProofError("the root given for an empty tree is not the empty tree's")
    if old in (0, new):
        if proof:
            raise ProofError(f"the consistency proof from {old} to {new} leaves must be empty")
        roots = old_root, old_root if old else new_root
    else:
        roots = _roots_by_consistency(old, old_root, new, proof)
    if roots != (old_root, new_root):
        raise ProofError(f"the tree of {new} leaves does not begin with the tree of {old}: the log was forked or changed")


def _roots_by_consistency(old: int, old_root: bytes, new: int, proof: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The old and the new root that the proof leads to (RFC 9162, 2.1.4.2)."""
    if not proof:
        raise ProofError(f"the consistency proof from {old} to {new} leaves is empty")
    # The old tree is a whole subtree of the new one where its size is a power of two, and is then left out of the proof.
    first, *rest = [old_root, *proof] if old.bit_count() == 1 else proof
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    before = after = first
    for sibling, at_left in _climb(node, last, rest):
        before = hash_node(sibling, before) if at_left else before
        after = hash_node(sibling, after) if at_left else hash_node(after, sibling)
    return before, after


def _climb(node: int, last: int, proof: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each hash of a proof, and whether it stands at the left of the path up from `node` (RFC 9162's fn; `last` is its sn)."""
    for sibling in proof:
        if not last:
            raise ProofError("the proof is too long for trees of these sizes")
        at_left = bool(node & 1) or node == last
        yield sibling, at_left
        # The right edge has no neighbour on some levels, and the proof no hash.
        while at_left and node and not node & 1:
            node, last = node >> 1, last >> 1
        node, last = node >> 1, last >> 1
    if last:
        raise ProofError("the proof is too short for trees of these sizes")


def _check_hashes(what: str, *hashes: bytes) -> None:
    for value in hashes:
        if len(value) != HASH_SIZE:
            raise ProofError(f"the {what} holds a hash of {len(value)} bytes, each has {HASH_SIZE}")


__all__ = [
    "EMPTY_ROOT",
    "HASH_SIZE",
    "Frontier",
    "HashAt",
    "consistency_proof",
    "hash_leaf",
    "hash_node",
    "hashes_of",
    "inclusion_path",
    "inclusion_proof",
    "root_at",
    "root_by_inclusion",
    "root_of",
    "verify_consistency",
    "verify_inclusion",
]
