"""The tree against RFC 6962's published vectors and against a slow obvious second implementation."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.audit.log.merkle import EMPTY_ROOT, Tree, leaf_hash, path_in, rows_of
from services.audit.log.tiles import Tile, index_path, tiles_of

# The reference leaves and roots of the certificate-transparency test suite.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def slow_root(hashes: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return sha256(b"\x01" + slow_root(hashes[:k]) + slow_root(hashes[k:])).digest()


def slow_path(index: int, hashes: list[bytes]) -> list[bytes]:
    """RFC 6962, 2.1.1, word for word."""
    if len(hashes) == 1:
        return []
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    if index < k:
        return [*slow_path(index, hashes[:k]), slow_root(hashes[k:])]
    return [*slow_path(index - k, hashes[k:]), slow_root(hashes[:k])]


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_rfc_6962(size: int) -> None:
    tree = Tree([leaf_hash(leaf) for leaf in LEAVES[:size]])
    assert tree.root().hex() == ROOTS[size]


@given(st.lists(st.binary(max_size=8), max_size=70), st.data())
def test_every_root_and_proof_equals_the_slow_implementation(leaves: list[bytes], data: st.DataObject) -> None:
    hashes = [leaf_hash(leaf) for leaf in leaves]
    tree = Tree(hashes)
    size = data.draw(st.integers(0, len(hashes)))
    assert tree.root(size) == slow_root(hashes[:size])
    if size:
        index = data.draw(st.integers(0, size - 1))
        assert tree.inclusion(index, size) == slow_path(index, hashes[:size])


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=70), st.integers(0, 6))
def test_subtree_hashes_are_the_roots_of_their_leaves(hashes: list[bytes], level: int) -> None:
    tree = Tree(hashes)
    width = 1 << level
    for index in range(len(hashes) // width):
        assert tree.hashes(level, index, 1) == slow_root(hashes[index * width : (index + 1) * width])


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=20), st.data())
def test_a_small_tree_is_the_same_tree(hashes: list[bytes], data: st.DataObject) -> None:
    rows = rows_of(hashes)
    assert rows[-1] == [slow_root(hashes)]
    index = data.draw(st.integers(0, len(hashes) - 1))
    assert path_in(rows, index) == slow_path(index, hashes)


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert Tree().root() == EMPTY_ROOT


def test_a_tree_refuses_what_it_does_not_have() -> None:
    tree = Tree([bytes(32)] * 3)
    for refused in (lambda: tree.root(4), lambda: tree.inclusion(3, 3), lambda: tree.hashes(0, 2, 2)):
        with pytest.raises(IndexError):
            refused()
    with pytest.raises(ValueError, match="32 bytes"):
        tree.append(b"short")


def test_tile_paths_group_the_index_by_thousands() -> None:
    assert [index_path(index) for index in (0, 67, 1067, 1234067)] == ["000", "067", "x001/067", "x001/x234/067"]
    assert Tile(1, 0, 17).path == "tile/1/000.p/17"
    assert Tile(-1, 1067, 256).path == "tile/entries/x001/067"


def test_a_tree_of_70000_has_the_tiles_of_the_specification() -> None:
    paths = [tile.path for tile in tiles_of(70_000)]
    by_level = {level: [path for path in paths if path.startswith(f"tile/{level}/")] for level in ("entries", 0, 1, 2)}
    assert {level: len(found) for level, found in by_level.items()} == {"entries": 274, 0: 274, 1: 2, 2: 1}
    assert (by_level[0][-1], by_level[1][-1], by_level[2][-1]) == (
        "tile/0/273.p/112",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
    )
    assert [tile.path for tile in tiles_of(256)] == ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]


@given(st.integers(0, 70_000), st.integers(0, 600))
def test_new_tiles_are_those_the_smaller_tree_does_not_have(above: int, more: int) -> None:
    new = {tile.path for tile in tiles_of(above + more, above)}
    assert new == {tile.path for tile in tiles_of(above + more)} - {tile.path for tile in tiles_of(above)}
