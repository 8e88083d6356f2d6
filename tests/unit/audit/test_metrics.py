"""Audit's counters follow what the journal really did."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import CodeType, FrameType

from services.audit.index.files import IndexFolder
from services.audit.index.metrics import watch_index
from services.audit.index.process import IndexProcess
from services.audit.journal.journal import Journal
from services.audit.metrics import AuditMetrics
from services.audit.records.entries import AppendRefused
from services.audit.sequencer import Sequencer, SequencerLimits
from services.audit.witnesses.metrics import watch_witnesses
from services.audit.writer import FaultPoints, Observer, Writer


async def test_every_metric_is_documented_and_every_documented_one_is_there(audit_log, as_documented) -> None:
    metrics = AuditMetrics()
    writer = audit_log.open()
    metrics.watch(writer, Sequencer(writer, SequencerLimits()), audit_log.folders)
    watch_witnesses(metrics, [], lambda: None)
    folder = IndexFolder(audit_log.folders.index, writer.provider)
    watch_index(metrics, IndexProcess({}, folder, writer.custody.keys, lambda: 0), lambda: writer.tree.size)
    as_documented("audit", metrics)


def test_a_group_counts_its_entries_by_kind_and_every_sync(audit_log, gateway, value_of) -> None:
    metrics, synced = AuditMetrics(), []

    def sync(file: int) -> None:
        synced.append(file)
        os.fdatasync(file)

    writer = Writer(
        audit_log.folders,
        audit_log.time.clock(),
        faults=FaultPoints(sync=sync),
        observer=Observer(metrics.group_committed, metrics.answered),
    )
    audit_log.opened.append(writer)
    metrics.watch(writer, Sequencer(writer, SequencerLimits()), audit_log.folders)
    before = value_of(metrics, "strongroom_audit_fsyncs_total")
    writer.commit([gateway.accept("a"), gateway.accept("b"), gateway.release("a", 0), gateway.reject("c")])
    writer.commit([gateway.end("a")])
    assert value_of(metrics, "strongroom_audit_entries_total", kind="ACCEPTED") == 2
    assert value_of(metrics, "strongroom_audit_entries_total") == writer.journal.next_number
    assert value_of(metrics, "strongroom_audit_commit_groups_total") == len(synced) == 3  # "started" is one
    assert value_of(metrics, "strongroom_audit_fsyncs_total") == before + 2
    assert value_of(metrics, "strongroom_audit_commit_group_entries_sum") == writer.journal.next_number
    assert value_of(metrics, "strongroom_audit_open_records") == 1
    assert value_of(metrics, "strongroom_audit_tree_entries") == writer.tree.size
    frames = sum(frame.size for _, frame in writer.journal.frames())
    assert value_of(metrics, "strongroom_audit_journal_bytes_total") == frames


def test_every_fsync_of_a_growing_journal_is_counted(audit_log, gateway) -> None:
    """Segments that grow, finish and start sync too. The interpreter itself says who called fsync from where."""
    writer = audit_log.open()
    counted, calls = writer.journal.syncs, 0

    def seen(frame: FrameType, event: str, called: object) -> None:
        nonlocal calls
        if event == "c_call" and called in (os.fsync, os.fdatasync):
            calls += any(code is Journal.append.__code__ for code in _codes(frame))

    sys.setprofile(seen)
    try:
        for n in range(200):
            writer.commit([gateway.accept(f"r{n}")])
    finally:
        sys.setprofile(None)
    assert len(audit_log.segments()) > 1
    assert writer.journal.syncs - counted == calls > 200


def _codes(frame: FrameType | None) -> Iterator[CodeType]:
    while frame:
        yield frame.f_code
        frame = frame.f_back


def test_a_refused_append_is_counted_by_its_reason(audit_log, gateway, value_of) -> None:
    metrics = AuditMetrics()
    observer = Observer(metrics.group_committed, metrics.answered)
    writer = Writer(audit_log.folders, audit_log.time.clock(), observer=observer)
    audit_log.opened.append(writer)
    [answer] = writer.commit([gateway.release("nobody", 0)])
    assert isinstance(answer, AppendRefused)
    assert value_of(metrics, "strongroom_audit_appends_refused_total", reason="RECORD_UNKNOWN") == 1
    assert value_of(metrics, "strongroom_audit_appends_refused_total") == 1
