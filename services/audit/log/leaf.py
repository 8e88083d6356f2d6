"""The leaf entry: 98 bytes that commit to everything an entry of the journal says."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

LEAF_VERSION = 1
LEAF_BYTES = 98
NO_HASH = bytes(32)


class Kind(IntEnum):
    ACCEPTED = 1
    REFUSED = 2
    REJECTED = 3
    RELEASE = 4
    END = 5
    ACT = 6
    CONTROL = 7


class LeafEntry(NamedTuple):
    """header: salted, over the metadata. sealed: of the journal's bytes. content: root over the named fields."""

    kind: Kind
    header: bytes
    sealed: bytes
    content: bytes

    def encode(self) -> bytes:
        return bytes((LEAF_VERSION, self.kind)) + self.header + self.sealed + self.content


_LEAF_KINDS = frozenset(Kind) - {Kind.RELEASE}


def decode_leaf(data: bytes) -> LeafEntry:
    if len(data) != LEAF_BYTES or data[0] != LEAF_VERSION or data[1] not in _LEAF_KINDS:
        raise ValueError("not a leaf entry")
    return LeafEntry(Kind(data[1]), data[2:34], data[34:66], data[66:98])
