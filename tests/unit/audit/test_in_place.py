"""A journal file that is deleted, replaced or cut under its writer is noticed, and nothing more is acknowledged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.audit.journal.journal import JournalPoisoned
from services.audit.journal.segment import SegmentMoved


def replaced(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)


DISTURBED = {
    "deleted": Path.unlink,
    "replaced": replaced,
    "cut": lambda path: os.truncate(path, 0),  # as a rotation of log files by copying would
}


@pytest.mark.parametrize("how", DISTURBED)
def test_a_journal_that_is_not_in_place_under_the_writer_is_not_acknowledged(audit_log, gateway, how) -> None:
    """Fails if `append` does not look where its name leads to, and how long that is."""
    writer = audit_log.open()
    DISTURBED[how](audit_log.segments()[-1])
    with pytest.raises(SegmentMoved, match=how):
        writer.commit([gateway.accept("r1")])
    with pytest.raises(JournalPoisoned):
        writer.commit([gateway.accept("r2")])


@pytest.mark.parametrize("how", DISTURBED)
def test_a_finished_segment_that_is_not_in_place_is_noticed_too(audit_log, gateway, how) -> None:
    writer = audit_log.open()
    writer.commit([gateway.reject(f"r{n}") for n in range(50)])
    writer.commit([gateway.reject(f"s{n}") for n in range(50)])
    writer.commit([gateway.reject(f"t{n}") for n in range(50)])
    assert len(audit_log.segments()) > 1
    writer.journal.check_in_place()
    DISTURBED[how](audit_log.segments()[0])
    with pytest.raises(SegmentMoved, match=how):
        writer.journal.check_in_place()
