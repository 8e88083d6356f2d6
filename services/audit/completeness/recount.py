"""Counts again, when audit starts, what came into the log since the counts were last written down in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.audit.completeness.ledger import SNAPSHOT, Ledger
from services.audit.log.leaf import Kind
from services.audit.records import sealer
from services.audit.records.open_records import OpenRecord, RecentRecords
from services.audit.records.stored import StoredEntries, StoredEntry

LOOKED_THROUGH = 1_024  # CONTROL entries of the log itself: of those that come once a second, one in 600 has the counts


def recount(
    ledger: Ledger,
    stored: StoredEntries,
    recent: RecentRecords,
    controls: Sequence[int],
    open_records: Iterable[OpenRecord],
) -> None:
    """`controls`: leaf indexes, the last at the end. Where none of them has counts, the log is from before there were
    any: then it is counted from here on, and nothing held against what no worker told of."""
    first = _restored(ledger, stored, controls)
    if first is None:
        for record in open_records:
            ledger.accepted(record.boot, record.jobs)
        return
    for index in range(first, stored.leaf_count):
        if stored.clear(index).kind in (Kind.ACCEPTED, Kind.END, Kind.ACT) and (leaf := stored.readable(index)):
            _count(ledger, stored, recent, leaf)  # what was erased is in the snapshot that comes before its erasure


def _restored(ledger: Ledger, stored: StoredEntries, controls: Sequence[int]) -> int | None:
    """The first leaf that the snapshot does not know."""
    for index in reversed(controls):
        snapshot = stored.leaf(index).header.get(SNAPSHOT)
        if isinstance(snapshot, dict):
            ledger.restore(snapshot)
            return index + 1
    return None


def _count(ledger: Ledger, stored: StoredEntries, recent: RecentRecords, leaf: StoredEntry) -> None:
    clear, header = leaf.clear, leaf.header
    if clear.kind is Kind.ACT:
        ledger.act(str(header["service"]), str(header["action"]), str(header["target"]), leaf.parts[sealer.DETAIL])
    elif clear.kind is Kind.ACCEPTED:
        ledger.accepted(clear.boot, jobs_of(leaf))
    else:
        # An END that audit wrote itself names no boot: its record's first entry does.
        span = recent.span(clear.record_id)
        first = stored.leaf(span.first) if span else leaf
        ledger.ended(first.clear.boot, jobs_of(first) if span else 1, header)


def jobs_of(accepted: StoredEntry) -> int:
    digests = accepted.header.get("job_digests", [])
    return len(digests) if isinstance(digests, list) else 0
