"""Torn tails at every byte are told from whole ones and from damage: only what nobody was told of is cut."""

from __future__ import annotations

import pytest
from strongroom.verify import VERIFIES, verify_home

from services.audit.journal.frame import Frame
from services.audit.journal.journal import Journal
from services.audit.journal.segment import JournalCorrupt
from tests.unit.audit.tearing import crashed_after_a_release, gateway_copy, used_of


def test_a_tail_torn_at_any_byte_is_told_from_a_whole_one(audit_log, gateway) -> None:
    writer = audit_log.open()
    writer.commit([gateway.accept("r1")])
    path, whole, start, end = crashed_after_a_release(audit_log, writer, gateway)
    for cut in range(start, end):
        path.write_bytes(whole[:cut] + bytes(len(whole) - cut))
        journal = Journal(audit_log.folders.journal, writer.origin)
        found: list[Frame] = []
        unfinished = journal.scan(lambda _, frame: found.append(frame))  # noqa: B023 (called within the loop)
        journal.close()
        assert len(found) == 2
        assert (unfinished.offset if unfinished else None) == (start if cut > start else None)


def test_a_torn_tail_is_cut_and_recorded(audit_log, gateway) -> None:
    writer = audit_log.open()
    kept = writer.commit([gateway.accept("r1")])
    writer.publish()
    path, whole, start, end = crashed_after_a_release(audit_log, writer, gateway)
    saved = {file: file.read_bytes() for file in audit_log.home.rglob("*") if file.is_file()}
    for cut in [start, start + 1, start + 4, start + 30, (start + end) // 2, end - 1]:
        for file, data in saved.items():
            file.write_bytes(data)
        path.write_bytes(whole[:cut] + bytes(len(whole) - cut))
        writer = audit_log.open()
        header = writer.stored.leaf(writer.tree.size - 1).header
        assert header["event"] == "started"
        assert ("cut" in header) == (cut > start), cut
        assert writer.recorder.open["r1"].releases == 0
        assert writer.commit([gateway_copy(gateway, 0)]) == kept
        audit_log.crash()
        assert verify_home(audit_log.home).exit_code == VERIFIES


def test_damage_before_the_last_group_is_never_cut(audit_log, gateway) -> None:
    writer = audit_log.open()
    writer.commit([gateway.accept("r1")])
    writer.commit([gateway.release("r1", 0)])
    writer.commit([gateway.release("r1", 1)])
    audit_log.crash()
    path = audit_log.segments()[0]
    data = bytearray(path.read_bytes())
    frames = [at for at in range(len(data)) if data[at : at + 4] == b"SRF\x01"]
    data[frames[2] + 60] ^= 1
    path.write_bytes(data)
    with pytest.raises(JournalCorrupt, match=rf"{path.name}, offset {frames[2]}: frame 2"):
        audit_log.open()
    assert path.read_bytes() == data


def test_swapped_frames_are_not_taken_for_a_torn_tail(audit_log, gateway) -> None:
    writer = audit_log.open()
    writer.commit([gateway.accept("r1"), gateway.release("r1", 0), gateway.release("r1", 1)])
    audit_log.crash()
    path = audit_log.segments()[0]
    data = path.read_bytes()
    a, b = [at for at in range(len(data)) if data[at : at + 4] == b"SRF\x01"][2:4]
    end = used_of(data)
    path.write_bytes(data[:a] + data[b:end] + data[a:b] + data[end:])
    with pytest.raises(JournalCorrupt, match="wrong number"):
        audit_log.open()
