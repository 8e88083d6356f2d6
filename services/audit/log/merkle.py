"""RFC 6962 Merkle trees over SHA-256: the log's, which is only ever extended, and small ones made at once."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from services.audit.log.rows import Row, Scratch

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


class TreeDamaged(Exception):
    """What was read back of the tree does not lead to its root. A start makes the tree anew from the journal."""


class Tree:
    """Keeps the hash of every complete subtree, so any root or proof costs O(log n) hashes. The newest of them, and so
    the root of all, are in memory; older ones in the scratch."""

    def __init__(self, leaf_hashes: Sequence[bytes] = (), scratch: Scratch | None = None) -> None:
        self._scratch = scratch
        self._levels = [Row(HASH_BYTES, scratch)]  # the k-th: of the complete subtrees of 2^k leaves
        self._size = 0
        for value in leaf_hashes:
            self.append(value)

    @property
    def size(self) -> int:
        return self._size

    def append(self, value: bytes) -> None:
        if len(value) != HASH_BYTES:
            raise ValueError(f"a leaf hash has {HASH_BYTES} bytes, not {len(value)}")
        levels, level, rest = self._levels, 0, self._size
        levels[0].append(value)
        while rest & 1:  # it completes a subtree, whose halves are the last two hashes of this level
            parent = sha256(b"\x01" + levels[level].pair()).digest()
            level, rest = level + 1, rest >> 1
            if level == len(levels):
                levels.append(Row(HASH_BYTES, self._scratch))
            levels[level].append(parent)
        self._size += 1

    def root(self, size: int | None = None) -> bytes:
        size = self._size if size is None else size
        self._check_size(size)
        return self._root_of_last(size, size) if size else EMPTY_ROOT

    def past_root(self, size: int) -> bytes:
        """Root of the first `size` leaves, to be signed again. What was read back for it leads to the root of all."""
        root = self.root(size)
        if size and not consistent((size, root), (self._size, self.root()), self.consistency(size, self._size)):
            raise TreeDamaged(f"what the scratch files hold of the tree's first {size} leaves is not what was written")
        return root

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Proof that leaf `index` is in the tree of `size` leaves, leaf sibling first."""
        self._check_size(size)
        if not 0 <= index < size:
            raise IndexError(f"leaf {index} is not in a tree of {size}")
        path = []
        level, last = 0, size - 1  # index and last node of a level; a node without a sibling moves up as it is
        while last:
            sibling = index ^ 1
            if (sibling + 1) << level <= size:
                path.append(self._levels[level][sibling])
            elif sibling <= last:
                path.append(self._root_of_last(size - (sibling << level), size))
            index, last, level = index >> 1, last >> 1, level + 1
        return path

    def consistency(self, old: int, size: int) -> list[bytes]:
        """Proof that the tree of `size` leaves begins with that of `old` (RFC 6962, 2.1.2). Empty if they are one tree,
        and of an empty one, with which every tree begins."""
        self._check_size(size)
        if not 0 <= old <= size:
            raise IndexError(f"a tree of {size} does not begin with one of {old}")
        path, start, end = [], 0, size  # `old` ends in, or with, the subtree over these leaves
        while 0 < old != end:
            half = 1 << (end - start - 1).bit_length() - 1
            if old <= start + half:
                path.append(self._root_of_last(end - start - half, end))
                end = start + half
            else:
                start += half
                path.append(self._root_of_last(half, start))
        if start:
            path.append(self._root_of_last(end - start, end))
        return path[::-1]

    def hashes(self, level: int, start: int, count: int) -> bytes:
        """`count` hashes of complete subtrees of 2^level leaves, back to back: the content of a tile."""
        return self._levels[level].values(start, count)

    def _check_size(self, size: int) -> None:
        if not 0 <= size <= self._size:
            raise IndexError(f"the tree has {self._size} leaves, not {size}")

    def _root_of_last(self, count: int, size: int) -> bytes:
        """Root over the last `count` > 0 of the first `size` leaves, which begin where a subtree of at least that size
        does: it joins the complete subtrees that the bits of `count` name, the smallest, rightmost first."""
        root = b""
        for level in range(count.bit_length()):
            if count >> level & 1:
                left = self._levels[level][(size >> level) - 1]
                root = sha256(b"\x01" + left + root).digest() if root else left
        return root


def consistent(old: tuple[int, bytes], new: tuple[int, bytes], proof: Sequence[bytes]) -> bool:
    """Whether the tree of the new size and root begins with the old one, whose size is not 0 (RFC 9162, 2.1.4.2)."""
    (old_size, old_root), (new_size, new_root) = old, new
    if old_size == new_size:
        return not proof and old_root == new_root
    node, last = old_size - 1, new_size - 1  # index of the newest node of both trees in a level
    while node & 1:
        node, last = node >> 1, last >> 1
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    older = newer = path[0] if path else b""
    for value in path[1:]:
        if node & 1 or node == last:
            older, newer = node_hash(value, older), node_hash(value, newer)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            newer = node_hash(newer, value)
        node, last = node >> 1, last >> 1
    return last == 0 and older == old_root and newer == new_root


def rows_of(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """All nodes of a small tree, the leaves first, the root alone in the last row."""
    rows = [list(leaves)]
    while len(row := rows[-1]) > 1:
        above = [node_hash(row[at], row[at + 1]) for at in range(0, len(row) - 1, 2)]
        if len(row) & 1:
            above.append(row[-1])
        rows.append(above)
    return rows


def path_in(rows: Sequence[Sequence[bytes]], index: int) -> list[bytes]:
    """From leaf `index` upward, the siblings; a node that has none moves up as it is."""
    path = []
    for row in rows[:-1]:
        if index ^ 1 < len(row):
            path.append(row[index ^ 1])
        index >>= 1
    return path
