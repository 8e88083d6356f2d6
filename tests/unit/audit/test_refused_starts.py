"""A log that is not as it was left, or whose keys are not its own, is not written to."""

from __future__ import annotations

import os

import pytest

from services.audit.journal.segment import JournalCorrupt
from services.audit.known_checkpoints import LogDiverged
from services.audit.sealing.provider import KeyUnusable
from tests.unit.audit.tearing import used_of, zero_after


def test_entries_that_were_published_and_are_gone_stop_the_start(audit_log, gateway) -> None:
    writer = audit_log.open()
    writer.commit([gateway.accept("r1")])
    used = used_of(audit_log.segments()[-1].read_bytes())
    writer.commit([gateway.end("r1")])
    writer.publish()
    audit_log.crash()
    zero_after(audit_log.segments()[-1], used)
    before = audit_log.segments()[-1].read_bytes()
    with pytest.raises(LogDiverged, match="the journal holds 2"):
        audit_log.open()
    assert audit_log.segments()[-1].read_bytes() == before


def test_a_missing_segment_stops_the_start(audit_log, gateway) -> None:
    writer = audit_log.open()
    for n in range(120):
        writer.commit([gateway.accept(f"r{n}"), gateway.end(f"r{n}")])
    audit_log.crash()
    assert len(audit_log.segments()) >= 3
    audit_log.segments()[1].unlink()
    with pytest.raises(JournalCorrupt, match="missing or renamed"):
        audit_log.open()


def test_a_forged_checkpoint_stops_the_start(audit_log) -> None:
    audit_log.open()
    audit_log.crash()
    path = audit_log.folders.tlog / "checkpoint"
    path.write_text(path.read_text().replace("\n1\n", "\n0\n"))
    with pytest.raises(LogDiverged, match="signature fails"):
        audit_log.open()


@pytest.mark.parametrize("name", ["log-signing", "audit-provider"])
@pytest.mark.parametrize("damage", ["missing", "too open", "too short", "another"])
def test_invariant_7_a_key_that_cannot_be_used_stops_the_start(audit_log, name, damage) -> None:
    """Fails if `open_keys` makes a new key when the log exists."""
    audit_log.open()
    audit_log.crash()
    path = audit_log.folders.keys / name
    if damage == "missing":
        path.unlink()
    elif damage == "too open":
        path.chmod(0o640)
    else:
        path.write_bytes(os.urandom(32 if damage == "another" else 31))
    with pytest.raises(KeyUnusable) as refused:
        audit_log.open()
    if damage != "another":
        assert str(path) in str(refused.value)


@pytest.mark.parametrize("gone", ["tlog/log.vkey", "keys/log.json"])
def test_invariant_7_lost_log_files_stop_the_start(audit_log, gone) -> None:
    """Fails if an existing log without its name or its wrapped keys is taken for a new one."""
    audit_log.open()
    audit_log.crash()
    (audit_log.folders.audit / gone).unlink()
    with pytest.raises(KeyUnusable, match=gone.split("/")[1]):
        audit_log.open()


def test_one_writer_at_a_time(audit_log) -> None:
    from services.audit.journal.journal import JournalLocked
    from services.audit.writer import Writer

    audit_log.open()
    with pytest.raises(JournalLocked):
        Writer(audit_log.folders, audit_log.time.clock())
