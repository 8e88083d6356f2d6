"""A receipt that opens what was revealed: whoever is handed it can check that this is what was recorded."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from services.audit.log.leaf import Kind
from services.audit.log.merkle import Tree
from services.audit.log.note import SignedCheckpoint
from services.audit.receipts import COSIGNED, DURABLE, receipt_text, tlog_proof
from services.audit.records import sealer
from services.audit.records.fields import Content, Salts, leaves_of
from services.audit.records.stored import StoredEntry


class Log(Protocol):
    """What a proof is made of."""

    origin: str
    tree: Tree
    cosigned: SignedCheckpoint | None

    @property
    def checkpoint(self) -> SignedCheckpoint: ...


def receipt_of(log: Log, index: int, last: StoredEntry, names: Collection[str]) -> str:
    """Of the record whose newest leaf, at `index`, is given: one that opens these of its fields."""
    salts = Salts(last.parts[sealer.SEED])
    content = Content(last.leaves if last.clear.kind is Kind.END else leaves_of(salts, last.fields))
    signed = log.cosigned if log.cosigned and index < log.cosigned.size else log.checkpoint
    openings = {name: content.opening(name, salts) for name in names if name in content}
    state = COSIGNED if signed.cosigned else DURABLE
    proof = tlog_proof(log.tree, index, signed)
    return receipt_text(last.clear.record_id, last.entry.leaf, openings, proof, log.origin, state)
