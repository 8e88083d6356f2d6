"""Receipts: one leaf, its proof, and the openings the caller needs to check its own bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring as quoted

from services.audit.log.merkle import Tree
from services.audit.log.note import SignedCheckpoint, b64
from services.audit.records.fields import Opening

RECEIPT_VERSION = 1
DURABLE, COSIGNED = "DURABLE", "COSIGNED"
PROOF_HEADER = "c2sp.org/tlog-proof@v1"
DEVELOPMENT_PREFIX = "dev."


def tlog_proof(tree: Tree, index: int, signed: SignedCheckpoint) -> str:
    """C2SP tlog-proof: index, hashes from the leaf upward, an empty line, the checkpoint verbatim."""
    lines = [PROOF_HEADER, f"index {index}", *map(b64, tree.inclusion(index, signed.size))]
    return "\n".join(lines) + "\n\n" + signed.note


def receipt_text(
    record_id: str, leaf: bytes, openings: Mapping[str, Opening], proof: str, origin: str, state: str = DURABLE
) -> str:
    """RFC 8785 JSON, written as it stands: the names are in order, and base64 needs no escapes."""
    environment = "DEVELOPMENT" if origin.startswith(DEVELOPMENT_PREFIX) else "PRODUCTION"
    shown = ",".join([f'"{name}":{_opening(openings[name])}' for name in sorted(openings)])
    return (
        f'{{"environment":"{environment}","leaf":"{b64(leaf)}","openings":{{{shown}}},'
        f'"request_id":{quoted(record_id)},"state":"{state}","tlog_proof":{quoted(proof)},"version":{RECEIPT_VERSION}}}'
    )


def _opening(opening: Opening) -> str:
    siblings = _strings(opening.siblings)
    return f'{{"count":{opening.count},"index":{opening.index},"salt":"{b64(opening.salt)}","siblings":[{siblings}]}}'


def _strings(values: Iterable[bytes]) -> str:
    return ",".join([f'"{b64(value)}"' for value in values])
