"""The journal is read by who does not write it: every leaf once, in order, whatever is written meanwhile."""

from __future__ import annotations

import pytest

from services.audit.journal.reading import OFFSET_MASK, JournalReader
from services.audit.journal.segment import JournalCorrupt


def grown(log, gateway, records: int):
    writer = log.open()
    for n in range(records):
        writer.commit([gateway.accept(f"r{n}"), gateway.release(f"r{n}", 0), gateway.end(f"r{n}")])
    return writer


def expected(writer) -> list[tuple[int, bytes]]:
    return [(location, frame.entry.leaf) for location, frame in writer.journal.frames() if frame.entry.leaf]


def found(reader: JournalReader, first: int = 0) -> list[tuple[int, bytes]]:
    return [(each.location, each.entry.leaf) for each in reader.leaves(first)]


def test_every_leaf_is_read_across_segments_and_from_any_place_on(audit_log, gateway) -> None:
    writer = grown(audit_log, gateway, 100)
    reader = JournalReader(audit_log.folders.journal, writer.origin)
    assert found(reader) == []  # it has looked for nothing yet
    reader.look()
    assert len(audit_log.segments()) > 2 and found(reader) == expected(writer)
    for frame in list(reader.leaves())[:: len(expected(writer)) // 7]:
        assert found(reader, frame.following) == [each for each in expected(writer) if each[0] > frame.location]


def test_what_is_written_behind_it_is_found_by_going_on(audit_log, gateway) -> None:
    """Fails if a segment that was begun meanwhile is not looked for, or is counted twice."""
    writer = grown(audit_log, gateway, 1)
    reader = JournalReader(audit_log.folders.journal, writer.origin)
    seen, following = [], 0
    for n in range(40):
        reader.look()
        for frame in reader.leaves(following):
            seen.append((frame.location, frame.entry.leaf))
            following = frame.following
        writer.commit([gateway.accept(f"x{n}"), gateway.end(f"x{n}")])
    assert len(reader.segments) == len(set(reader.segments)) > 1
    assert seen + found(reader, following) == expected(writer)


def test_a_damaged_leaf_is_told_of_and_passed_over(audit_log, gateway) -> None:
    writer = grown(audit_log, gateway, 3)
    reader = JournalReader(audit_log.folders.journal, writer.origin)
    reader.look()
    location = expected(writer)[2][0]
    path = reader.segments[0][1]
    data = bytearray(path.read_bytes())
    data[(location & OFFSET_MASK) + 60] ^= 1
    path.write_bytes(data)
    assert [each.entry is None for each in reader.leaves()].index(True) == 2
    assert reader.entry(location) is None and len(list(reader.leaves())) == writer.tree.size


def test_a_segment_that_ends_early_is_no_end_of_the_log(audit_log, gateway) -> None:
    """Fails if the rest of a segment whose frame headers are damaged is left out in silence."""
    writer = grown(audit_log, gateway, 100)
    reader = JournalReader(audit_log.folders.journal, writer.origin)
    reader.look()
    location = expected(writer)[1][0]
    path = reader.segments[0][1]
    data = bytearray(path.read_bytes())
    data[location & OFFSET_MASK] ^= 1
    path.write_bytes(data)
    with pytest.raises(JournalCorrupt, match="no frame begins here"):
        found(reader)
