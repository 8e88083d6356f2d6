"""RFC 6962 Merkle trees over SHA-256: the log's, held in memory and only ever extended, and small ones made at once."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """Keeps the hash of every complete subtree, so any root or proof costs O(log n) hashes."""

    def __init__(self, leaf_hashes: Sequence[bytes] = ()) -> None:
        # _levels[k] holds, back to back, the hashes of the complete subtrees of 2^k leaves.
        self._levels: list[bytearray] = [bytearray()]
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
        levels[0] += value
        while rest & 1:  # it completes a subtree, whose halves are the last two hashes of this level
            parent = sha256(b"\x01" + levels[level][-2 * HASH_BYTES :]).digest()
            level, rest = level + 1, rest >> 1
            if level == len(levels):
                levels.append(bytearray())
            levels[level] += parent
        self._size += 1

    def root(self, size: int | None = None) -> bytes:
        size = self._size if size is None else size
        self._check_size(size)
        return self._root_of_last(size, size) if size else EMPTY_ROOT

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
                path.append(bytes(self._levels[level][sibling * HASH_BYTES : (sibling + 1) * HASH_BYTES]))
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
        row = self._levels[level] if level < len(self._levels) else bytearray()
        found = bytes(row[start * HASH_BYTES : (start + count) * HASH_BYTES])
        if len(found) != count * HASH_BYTES:
            raise IndexError(f"level {level} has no hashes {start} to {start + count}")
        return found

    def _check_size(self, size: int) -> None:
        if not 0 <= size <= self._size:
            raise IndexError(f"the tree has {self._size} leaves, not {size}")

    def _root_of_last(self, count: int, size: int) -> bytes:
        """Root over the last `count` > 0 of the first `size` leaves, which begin where a subtree of at least that size
        does: it joins the complete subtrees that the bits of `count` name, the smallest, rightmost first."""
        root = b""
        for level in range(count.bit_length()):
            if count >> level & 1:
                at = ((size >> level) - 1) * HASH_BYTES
                left = self._levels[level][at : at + HASH_BYTES]
                root = sha256(b"\x01" + left + root).digest() if root else bytes(left)
        return root


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
