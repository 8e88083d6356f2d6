"""The names of audit's metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from chassis.metrics import Label, Metrics
from services.audit.completeness.counts import Difference
from services.audit.completeness.counts import Kind as Differing
from services.audit.journal.frame import Entry
from services.audit.journal.room import free_bytes
from services.audit.log.leaf import Kind
from services.audit.publishing import CHECKPOINT
from services.audit.records.entries import AppendRefused, Outcome, Refusal
from services.audit.sequencer import Sequencer
from services.audit.writer import Folders, Writer

KIND = Label("kind", tuple(kind.name for kind in Kind))
DIFFERENCE = Label("kind", tuple(kind.value for kind in Differing))
REASON = Label("reason", tuple(refusal.name for refusal in Refusal))
GROUP_ENTRIES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
COMMIT_SECONDS = (0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 5.0)


class AuditMetrics(Metrics):
    """`group_committed` and `answered` count as groups are committed; the rest is read when it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._entries = self.counters("strongroom_audit_entries_total", "Journal entries made durable.", KIND)
        self._group_entries = self.histogram(
            "strongroom_audit_commit_group_entries", "Entries that one commit made durable together.", GROUP_ENTRIES
        )
        self._commit_seconds = self.histogram(
            "strongroom_audit_commit_seconds",
            "Writing a group and its fdatasync, until it is durable.",
            COMMIT_SECONDS,
        )
        self._groups = self.counter("strongroom_audit_commit_groups_total", "Groups made durable.")
        self._refused = self.counters("strongroom_audit_appends_refused_total", "Appends refused.", REASON)

    def group_committed(self, entries: Sequence[Entry], seconds: float) -> None:
        self._groups.inc()
        self._group_entries.observe(len(entries))
        self._commit_seconds.observe(seconds)
        for kind, count in Counter([entry.kind for entry in entries]).items():
            self._entries.of(kind.name).inc(count)

    def answered(self, answers: Sequence[Outcome | Exception]) -> None:
        for answer in answers:
            if isinstance(answer, AppendRefused):
                self._refused.of(answer.refusal.name).inc()

    def watch(self, writer: Writer, sequencer: Sequencer, folders: Folders) -> None:
        self.counted(
            "strongroom_audit_fsyncs_total", "Every fdatasync and fsync of the journal.", lambda: writer.journal.syncs
        )
        self.counted(
            "strongroom_audit_journal_bytes_total",
            "Bytes of frames appended to the journal.",
            lambda: writer.journal.bytes_written,
        )
        self.gauge(
            "strongroom_audit_open_records",
            "Records accepted and not ended.",
            lambda: len(writer.recorder.open),
        )
        self.gauge("strongroom_audit_tree_entries", "Leaves of the Merkle tree.", lambda: writer.tree.size)
        self.gauge(
            "strongroom_audit_checkpoint_entries",
            "Leaves that the published checkpoint covers.",
            lambda: writer.publisher.published,
        )
        self.gauge(
            "strongroom_audit_checkpoint_timestamp_seconds",
            "When the checkpoint was last published, in Unix time; 0 if never.",
            lambda: _modified(folders.tlog / CHECKPOINT),
        )
        self.gauge(
            "strongroom_audit_waiting_items", "Items in line for the next group.", lambda: sequencer.waiting_items
        )
        self.gauge(
            "strongroom_audit_disk_free_bytes",
            "What is free for audit on the disk that holds the journal.",
            lambda: free_bytes(folders.journal),
        )
        self.gauge(
            "strongroom_audit_journal_full",
            "1 while no new request is accepted, because the disk has too little room; 2 while no text is released "
            "either, so that what was accepted ends.",
            lambda: writer.journal.room,
        )
        self.gauge_by(
            "strongroom_audit_open_differences",
            "By how much the workers' counts differ from the log's, by kind, where nobody has explained it.",
            DIFFERENCE,
            lambda: _by_kind(writer.open_differences()),
        )
        self.gauge(
            "strongroom_audit_reserve_bytes",
            "What entries of accepted requests may still take when the disk is full.",
            lambda: writer.journal.reserve_bytes,
        )


def _by_kind(differences: Sequence[Difference]) -> dict[str, float]:
    found = dict.fromkeys((kind.value for kind in Differing), 0.0)
    for each in differences:
        found[each.kind.value] += each.count
    return found


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
