"""Whether one checkpoint of a log continues another (RFC 9162, 2.1.4.2), with the standard library alone."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.verify import Checkpoint, Malformed, node_hash

MAX_HASHES = 63  # of a proof between trees of less than 2^63 leaves


def check_consistency(old: Checkpoint, new: Checkpoint, proof: Sequence[bytes]) -> None:
    """Raises Malformed unless `proof` shows that the first `old.size` entries of `new` are those of `old`."""
    if old.size > new.size:
        raise Malformed(f"a log of {new.size} entries does not continue one of {old.size}")
    if old.size in (0, new.size):
        if proof:
            raise Malformed("the proof is too long")
        if old.size == new.size and old.root != new.root:
            raise Malformed(f"two different logs of {old.size} entries")
        return
    if _roots(old, new.size, proof) != (old.root, new.root):
        raise Malformed(f"the first {old.size} entries are not those that were there before")


def _roots(old: Checkpoint, size: int, proof: Sequence[bytes]) -> tuple[bytes, bytes]:
    """What the proof makes of the older and of the newer tree."""
    hashes = list(proof)
    if any(len(each) != 32 for each in hashes):
        raise Malformed("a hash of the proof has not 32 bytes")
    if old.size & (old.size - 1) == 0:  # a complete subtree, whose root the older checkpoint gives itself
        hashes.insert(0, old.root)
    at, last = old.size - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    if not hashes:
        raise Malformed("the proof is too short")
    before = after = hashes[0]
    for each in hashes[1:]:
        if last == 0:
            raise Malformed("the proof is too long")
        if at & 1 or at == last:
            before, after = node_hash(each, before), node_hash(each, after)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            after = node_hash(after, each)
        at, last = at >> 1, last >> 1
    if last:
        raise Malformed("the proof is too short")
    return before, after
