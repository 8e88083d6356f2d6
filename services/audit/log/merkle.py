"""RFC 6962 Merkle tree over SHA-256, held in memory and only ever extended."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def largest_power_below(n: int) -> int:
    """The largest power of two smaller than n, where RFC 6962 splits a tree of n > 1 leaves."""
    return 1 << ((n - 1).bit_length() - 1)


class Tree:
    """Keeps the hash of every complete subtree, so any root or proof costs O(log n) hashes."""

    def __init__(self, leaf_hashes: Sequence[bytes] = ()) -> None:
        # _levels[k] holds, back to back, the hashes of the complete subtrees of 2^k leaves.
        self._levels: list[bytearray] = [bytearray()]
        for value in leaf_hashes:
            self.append(value)

    @property
    def size(self) -> int:
        return len(self._levels[0]) // HASH_BYTES

    def append(self, value: bytes) -> None:
        if len(value) != HASH_BYTES:
            raise ValueError(f"a leaf hash has {HASH_BYTES} bytes, not {len(value)}")
        level = 0
        self._levels[0] += value
        while (len(self._levels[level]) // HASH_BYTES) % 2 == 0:
            row = self._levels[level]
            parent = node_hash(bytes(row[-2 * HASH_BYTES : -HASH_BYTES]), bytes(row[-HASH_BYTES:]))
            level += 1
            if level == len(self._levels):
                self._levels.append(bytearray())
            self._levels[level] += parent

    def root(self, size: int | None = None) -> bytes:
        size = self.size if size is None else size
        self._check_size(size)
        return self._range(0, size) if size else EMPTY_ROOT

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Proof that leaf `index` is in the tree of `size` leaves, leaf sibling first."""
        self._check_size(size)
        if not 0 <= index < size:
            raise IndexError(f"leaf {index} is not in a tree of {size}")
        return self._path(index, 0, size)

    def hashes(self, level: int, start: int, count: int) -> bytes:
        """`count` hashes of complete subtrees of 2^level leaves, back to back: the content of a tile."""
        row = self._levels[level] if level < len(self._levels) else bytearray()
        found = bytes(row[start * HASH_BYTES : (start + count) * HASH_BYTES])
        if len(found) != count * HASH_BYTES:
            raise IndexError(f"level {level} has no hashes {start} to {start + count}")
        return found

    def _check_size(self, size: int) -> None:
        if not 0 <= size <= self.size:
            raise IndexError(f"the tree has {self.size} leaves, not {size}")

    def _range(self, start: int, end: int) -> bytes:
        count = end - start
        if count & (count - 1) == 0:  # start is a multiple of count: every split point is a power of two
            level = count.bit_length() - 1
            at = (start >> level) * HASH_BYTES
            return bytes(self._levels[level][at : at + HASH_BYTES])
        middle = start + largest_power_below(count)
        return node_hash(self._range(start, middle), self._range(middle, end))

    def _path(self, index: int, start: int, end: int) -> list[bytes]:
        if end - start == 1:
            return []
        middle = start + largest_power_below(end - start)
        if index < middle:
            return [*self._path(index, start, middle), self._range(middle, end)]
        return [*self._path(index, middle, end), self._range(start, middle)]
