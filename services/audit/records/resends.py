"""Answers an item that is durable already, exactly as it was answered the first time."""

from __future__ import annotations

import json

from services.audit.log.leaf import Kind
from services.audit.log.merkle import leaf_hash
from services.audit.log.note import SignedCheckpoint
from services.audit.records import sealer
from services.audit.records.entries import (
    Accept,
    AppendRefused,
    KeyHolder,
    Outcome,
    Recorded,
    Refusal,
    RequestItem,
    item_digest,
)
from services.audit.records.fields import Content, Salts, leaves_of
from services.audit.records.recorder import Recorder
from services.audit.records.stored import StoredEntries, StoredEntry
from services.audit.sealing.keytree import KeyErased


def answer_again(recorder: Recorder, stored: StoredEntries, item: RequestItem, signed: SignedCheckpoint) -> Outcome:
    location = recorder.boots.location(item.boot, item.sequence)
    if location is None:
        raise AppendRefused(Refusal.DUPLICATE_TOO_OLD)
    try:
        durable = stored.at(location)
    except KeyErased:
        raise AppendRefused(Refusal.RECORD_ERASED) from None
    # Of an item that was refused there is no digest: whatever comes in its place is refused as it was.
    if durable.clear.kind is not Kind.CONTROL and durable.parts.get(sealer.ITEM) != item_digest(item):
        raise AppendRefused(Refusal.DUPLICATE_DIFFERS)
    if sealer.REFUSAL in durable.parts:
        raise _refusal_of(durable)
    match durable.clear.kind:
        case Kind.ACCEPTED:
            assert isinstance(item, Accept)  # the digest covers the item's type
            return recorder.accepted(item, leaf_hash(durable.entry.leaf), signed)
        case Kind.REFUSED | Kind.END:
            return receipt_of_stored(recorder, stored.leaf_index(location), durable, signed)
        case _:
            return Recorded()


def receipt_of_stored(recorder: Recorder, index: int, durable: StoredEntry, signed: SignedCheckpoint) -> Outcome:
    salts = Salts(durable.parts[sealer.SEED])
    leaves = durable.leaves if durable.clear.kind is Kind.END else leaves_of(salts, durable.fields)
    return recorder.receipt(durable.clear.record_id, index, durable.entry.leaf, salts, Content(leaves), signed)


def _refusal_of(durable: StoredEntry) -> AppendRefused:
    stored = json.loads(durable.parts[sealer.REFUSAL])
    holder = KeyHolder(stored["holder"], stored["same_request"]) if stored["holder"] else None
    return AppendRefused(Refusal[stored["refusal"]], detail=stored["detail"], holder=holder)
