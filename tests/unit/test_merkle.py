"""Merkle trees: RFC 6962's known vectors, what must never verify, and the same proofs as another implementation's."""

import random
from collections.abc import Iterable
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree
from pymerkle.proof import ConsistencyProof

from fieldline_core.ledger import (
    EMPTY_ROOT,
    Frontier,
    ProofError,
    consistency_proof,
    hash_leaf,
    hash_node,
    hashes_of,
    inclusion_path,
    inclusion_proof,
    root_at,
    root_by_inclusion,
    root_of,
    verify_consistency,
    verify_inclusion,
)

# The reference tests of Certificate Transparency: eight leaves, and the roots of the trees over the first one, two, three …
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
HASHES = [hash_leaf(leaf) for leaf in LEAVES]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
    (6, 7): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
}

SIZE = 2000
OTHER = b"\xab" * 32
SIZES = st.integers(1, 300)
TREE = [hash_leaf(b"%d" % number) for number in range(SIZE)]
AT = hashes_of(TREE)


def raw(hashes: Iterable[str]) -> list[bytes]:
    return [bytes.fromhex(value) for value in hashes]


def test_known_leaves_have_their_known_roots() -> None:
    assert [root_of(HASHES[:size]).hex() for size in range(1, 9)] == ROOTS


def test_an_empty_tree_has_the_hash_of_nothing_as_its_root() -> None:
    assert root_of([]) == Frontier().root() == root_at(0, AT) == EMPTY_ROOT == sha256(b"").digest()


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_known_inclusion_proofs_are_made_and_verified(index: int, size: int) -> None:
    proof = raw(INCLUSION[index, size])

    assert inclusion_path(HASHES[:size], index) == inclusion_proof(index, size, hashes_of(HASHES)) == proof
    verify_inclusion(HASHES[index], index, size, proof, bytes.fromhex(ROOTS[size - 1]))


@pytest.mark.parametrize(("old", "new"), CONSISTENCY)
def test_known_consistency_proofs_are_made_and_verified(old: int, new: int) -> None:
    proof = raw(CONSISTENCY[old, new])

    assert consistency_proof(old, new, hashes_of(HASHES)) == proof
    verify_consistency(old, bytes.fromhex(ROOTS[old - 1]), new, bytes.fromhex(ROOTS[new - 1]), proof)


@given(st.lists(st.integers(0, 40), max_size=8))
def test_a_tree_that_grew_in_steps_has_the_root_of_one_made_at_once(steps: list[int]) -> None:
    frontier = Frontier()
    for step in steps:
        frontier.extend(TREE[frontier.size : frontier.size + step])

        assert frontier.root() == root_of(TREE[: frontier.size]) == root_at(frontier.size, AT)
        assert Frontier.at(frontier.size, AT) == frontier


def test_a_frontier_of_another_size_than_its_hashes_is_refused() -> None:
    with pytest.raises(ProofError, match="made of 2 subtrees, not 1"):
        Frontier(5, [OTHER])


@given(SIZES, st.data())
def test_a_leaf_is_proved_at_its_place_and_at_no_other(size: int, data: st.DataObject) -> None:
    index, other = (data.draw(st.integers(0, size - 1)) for _ in range(2))
    proof, root = inclusion_proof(index, size, AT), root_at(size, AT)

    verify_inclusion(TREE[index], index, size, proof, root)
    if other != index:
        with pytest.raises(ProofError):
            verify_inclusion(TREE[other], index, size, proof, root)
        with pytest.raises(ProofError):
            verify_inclusion(TREE[index], other, size, proof, root)


@given(SIZES, st.data())
def test_a_changed_inclusion_proof_never_holds(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof, root = inclusion_proof(index, size, AT), root_at(size, AT)

    for changed in changes(proof, root, data):
        with pytest.raises(ProofError):
            verify_inclusion(TREE[index], index, size, changed, root)
    for leaf, at, of, to in (
        (OTHER, index, size, root),
        (TREE[index], index, size, OTHER),
        (TREE[index], index, size, EMPTY_ROOT),
        (TREE[index], index + 1, size, root),
        (TREE[index], index, 2 * size, root),
        (TREE[index], index ^ 2, size, root),
    ):
        with pytest.raises(ProofError):
            verify_inclusion(leaf, at, of, proof, to)


@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_a_changed_consistency_proof_never_holds(one: int, another: int, data: st.DataObject) -> None:
    old, new = sorted((one, another))
    proof, old_root, new_root = consistency_proof(old, new, AT), root_at(old, AT), root_at(new, AT)

    verify_consistency(old, old_root, new, new_root, proof)
    for changed in [*changes(proof, old_root, data), *changes(proof, new_root, data)]:
        with pytest.raises(ProofError):
            verify_consistency(old, old_root, new, new_root, changed)
    for before, after in ((OTHER, new_root), (old_root, OTHER), (EMPTY_ROOT, new_root)):
        with pytest.raises(ProofError):
            verify_consistency(old, before, new, after, proof)
    if old < new:
        with pytest.raises(ProofError):
            verify_consistency(old, new_root, new, old_root, proof)
        with pytest.raises(ProofError):
            verify_consistency(new, new_root, old, old_root, proof)


def changes(proof: list[bytes], root: bytes, data: st.DataObject) -> list[list[bytes]]:
    """The proof with a hash more, less, in another place, and with one bit of one hash flipped."""
    changed = [[*proof, root], [root, *proof], [*proof, b""], [b"", *proof]]
    if proof:
        place, bit = data.draw(st.integers(0, len(proof) - 1)), data.draw(st.integers(0, 255))
        flipped = (int.from_bytes(proof[place], "big") ^ 1 << bit).to_bytes(32, "big")
        changed += [proof[1:], proof[:-1], [*proof[:place], flipped, *proof[place + 1 :]], [proof[0], *proof], []]
    if len(proof) > 1:
        changed += [proof[::-1]]
    return changed


def test_an_inner_node_cannot_pass_for_a_leaf() -> None:
    left, right = HASHES[0], HASHES[1]

    assert hash_leaf(left + right) != hash_node(left, right)


def test_no_leaf_is_in_an_empty_tree() -> None:
    for index, size in ((0, 0), (1, 1), (2, 1), (-1, 1)):
        with pytest.raises(ProofError, match=f"a tree of {size} leaves has no leaf {index}"):
            inclusion_proof(index, size, AT)
        with pytest.raises(ProofError, match=f"a tree of {size} leaves has no leaf {index}"):
            root_by_inclusion(OTHER, index, size, [])


def test_a_larger_tree_cannot_pass_for_a_smaller_one_of_its_root() -> None:
    root = root_at(2, AT)

    with pytest.raises(ProofError, match="too long"):
        verify_inclusion(TREE[1], 0, 1, [TREE[0]], root)
    with pytest.raises(ProofError, match="too long"):
        verify_consistency(1, TREE[0], 2, root_at(3, AT), [TREE[1], TREE[2]])


def test_hashes_of_another_length_are_refused() -> None:
    with pytest.raises(ProofError, match="holds a hash of 4 bytes"):
        verify_inclusion(b"leaf", 0, 1, [], b"leaf")
    with pytest.raises(ProofError, match="holds a hash of 4 bytes"):
        verify_consistency(1, b"root", 1, b"root", [])


def test_a_tree_is_consistent_with_itself_only_where_the_roots_are_the_same() -> None:
    root = root_at(7, AT)

    assert consistency_proof(7, 7, AT) == []
    verify_consistency(7, root, 7, root, [])
    with pytest.raises(ProofError, match="forked or changed"):
        verify_consistency(7, root, 7, OTHER, [])
    with pytest.raises(ProofError, match="must be empty"):
        verify_consistency(7, root, 7, root, [root])


def test_every_tree_begins_with_the_empty_one_and_needs_no_proof_of_that() -> None:
    root = root_at(7, AT)

    assert consistency_proof(0, 7, AT) == consistency_proof(0, 0, AT) == []
    verify_consistency(0, EMPTY_ROOT, 7, root, [])
    verify_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, [])
    with pytest.raises(ProofError, match="must be empty"):
        verify_consistency(0, EMPTY_ROOT, 7, root, [root])
    for old_root, new, new_root in ((OTHER, 7, root), (EMPTY_ROOT, 0, OTHER), (OTHER, 0, OTHER)):
        with pytest.raises(ProofError, match="empty tree"):
            verify_consistency(0, old_root, new, new_root, [])


def test_a_log_never_gets_shorter() -> None:
    with pytest.raises(ProofError, match="was never a tree of 8"):
        consistency_proof(8, 7, AT)
    with pytest.raises(ProofError, match="cannot have grown from one of 8"):
        verify_consistency(8, root_at(8, AT), 7, root_at(7, AT), [])


def test_a_forked_log_cannot_be_proved_consistent() -> None:
    fork = hashes_of([*TREE[:90], OTHER, *TREE[91:]])

    with pytest.raises(ProofError, match="does not begin with the tree of 100"):
        verify_consistency(100, root_at(100, AT), 200, root_at(200, fork), consistency_proof(100, 200, fork))


@pytest.fixture(scope="module")
def reference() -> InmemoryTree:
    """The same tree in pymerkle."""
    tree = InmemoryTree("sha256")
    for number in range(SIZE):
        tree.append_entry(b"%d" % number)
    return tree


def compare_inclusion(reference: InmemoryTree, size: int) -> None:
    root = reference.get_root(size)
    for index, leaf in enumerate(TREE[:size]):
        proof = inclusion_proof(index, size, AT)
        assert [leaf, *proof] == reference.prove_inclusion(index + 1, size).path
        verify_inclusion(leaf, index, size, proof, root)


def compare_consistency(reference: InmemoryTree, old: int, new: int) -> None:
    proof = consistency_proof(old, new, AT)
    assert proof == in_order_of_rfc(reference.prove_consistency(old, new))
    verify_consistency(old, reference.get_root(old), new, reference.get_root(new), proof)


def in_order_of_rfc(proof: ConsistencyProof) -> list[bytes]:
    """The RFC's proof: pymerkle's goes on down to a leaf on the right of the old tree, and always holds the old tree's hash."""
    path, inside = list(proof.path), list(proof.subset)
    if proof.prior_size == proof.size:
        return []
    if not inside[0]:
        # What lies to the right of the old tree, up to the subtree that stands beside it.
        beside = inside.index(1)
        right = path[0]
        for sibling in path[1:beside]:
            right = hash_node(right, sibling)
        path = [path[beside], right, *path[beside + 1 :]]
    return path[1:] if proof.prior_size.bit_count() == 1 else path


def test_all_roots_are_those_of_another_implementation(reference: InmemoryTree) -> None:
    frontier = Frontier()
    for size, leaf in enumerate(TREE, start=1):
        frontier.append(leaf)
        assert frontier.root() == root_at(size, AT) == reference.get_root(size)


@pytest.mark.parametrize("size", [*range(1, 66), 127, 128, 129, 255, 256, 257, 511, 512, 513, 777, 1023, 1024, 1025, 1999, 2000])
def test_inclusion_proofs_are_those_of_another_implementation(reference: InmemoryTree, size: int) -> None:
    compare_inclusion(reference, size)


def test_consistency_proofs_are_those_of_another_implementation(reference: InmemoryTree) -> None:
    pairs = [(old, new) for new in range(1, 40) for old in range(1, new + 1)] + sampled_pairs(2000)
    for old, new in pairs:
        compare_consistency(reference, old, new)


@pytest.mark.soak
def test_all_two_million_inclusion_proofs_are_those_of_another_implementation(reference: InmemoryTree) -> None:
    for size in range(1, SIZE + 1):
        compare_inclusion(reference, size)


@pytest.mark.soak
def test_fifty_thousand_consistency_proofs_are_those_of_another_implementation(reference: InmemoryTree) -> None:
    for old, new in sampled_pairs(50_000):
        compare_consistency(reference, old, new)


def sampled_pairs(count: int) -> list[tuple[int, int]]:
    """Pairs of sizes, none of them twice, the same at every run."""
    source = random.Random(6962)
    pairs: set[tuple[int, int]] = set()
    while len(pairs) < count:
        old, new = sorted((source.randint(1, SIZE), source.randint(1, SIZE)))
        pairs.add((old, new))
    return sorted(pairs)
