"""Receipts: one leaf, its proof, and the openings the caller needs to check its own bytes."""

from __future__ import annotations

from collections.abc import Mapping

from services.audit.log.leaf import LeafEntry
from services.audit.log.merkle import Tree
from services.audit.log.note import SignedCheckpoint, b64
from services.audit.records.fields import Opening

RECEIPT_VERSION = 1
PROOF_HEADER = "c2sp.org/tlog-proof@v1"
DEVELOPMENT_PREFIX = "dev."


def tlog_proof(tree: Tree, index: int, signed: SignedCheckpoint) -> str:
    """C2SP tlog-proof: index, hashes from the leaf upward, an empty line, the checkpoint verbatim."""
    lines = [PROOF_HEADER, f"index {index}", *map(b64, tree.inclusion(index, signed.size))]
    return "\n".join(lines) + "\n\n" + signed.note


def receipt_of(
    record_id: str, leaf: LeafEntry, openings: Mapping[str, Opening], proof: str, origin: str
) -> dict[str, object]:
    return {
        "version": RECEIPT_VERSION,
        "state": "DURABLE",
        "environment": "DEVELOPMENT" if origin.startswith(DEVELOPMENT_PREFIX) else "PRODUCTION",
        "request_id": record_id,
        "leaf": b64(leaf.encode()),
        "tlog_proof": proof,
        "openings": {
            name: {
                "index": opening.index,
                "count": opening.count,
                "salt": b64(opening.salt),
                "siblings": [b64(sibling) for sibling in opening.siblings],
            }
            for name, opening in openings.items()
        },
    }
