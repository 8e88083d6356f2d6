"""A disk that fills under audit: new records are refused, accepted ones end, and with room again all goes on."""

from __future__ import annotations

import errno
import resource
from dataclasses import dataclass

import pytest
from strongroom.verify import VERIFIES, verify_home

from services.audit.journal.journal import MIB, JournalFull, JournalLimits, JournalPoisoned
from services.audit.journal.reserve import Reserve
from services.audit.journal.room import Room
from services.audit.records.entries import Accepted, Act, AppendRefused, Ended, Recorded, Refusal
from services.audit.records.planning import Control
from services.audit.surroundings import FaultPoints

KIB = 1024
LIMITS = JournalLimits(segment_bytes=64 * KIB, chunk_bytes=8 * KIB, reserve_bytes=64 * KIB)
TEXT = b"x" * 2_000


@dataclass
class Disk:
    """Takes nothing more while it is full. `error` is what it says then; `free` what it tells who asks."""

    full: bool = False
    error: int = errno.ENOSPC
    free: int = 1 << 40

    def take(self, size: int = 0) -> None:
        if self.full:
            raise OSError(self.error, "by the test")

    @property
    def faults(self) -> FaultPoints:
        return FaultPoints(growing=self.take, free=lambda folder: self.free)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def log_on(audit_log, disk):
    audit_log.journal = LIMITS
    return audit_log


def refusal_of(answer) -> Refusal:
    assert isinstance(answer, AppendRefused), answer
    return answer.refusal


def release_until(writer, gateway, record_id, holds) -> int:
    """Releases text until that holds; how many."""
    for n in range(500):
        if holds():
            return n
        [answer] = writer.commit([gateway.release(record_id, n, TEXT)])
        assert answer == Recorded()
    raise AssertionError("it never held")


def test_what_was_accepted_ends_from_the_reserve_and_nothing_new_is_accepted(log_on, disk, gateway) -> None:
    """Fails if `_find_place` lets the full disk's error through."""
    writer = log_on.open(disk.faults)
    writer.commit([gateway.accept("r1"), gateway.accept("r2")])
    disk.full = True
    released = release_until(writer, gateway, "r1", lambda: writer.journal.room is Room.NO_NEW_RECORDS)
    assert released >= 2, "the reserve is for when nothing else is left"
    refused, refusal, rejected = writer.commit([gateway.accept("r3"), gateway.refuse("r4"), gateway.reject("r5")])
    assert {refusal_of(each) for each in (refused, refusal, rejected)} == {Refusal.JOURNAL_FULL}
    assert refused.retry_after_seconds > 0
    assert "free some space" in str(refused)
    ends = writer.commit([gateway.release("r1", released, TEXT), gateway.end("r1"), gateway.end("r2"), Control("x")])
    assert [type(answer) for answer in ends] == [Recorded, Ended, Ended, Recorded]
    assert verify_home(log_on.home).exit_code == VERIFIES

    told = writer.room.look()
    assert told is not None and told.detail["room"] == "NO_NEW_RECORDS"
    disk.full = False
    told = writer.room.look()
    assert told is not None and told.detail["room"] == "ALL"
    assert isinstance(writer.commit([told, gateway.accept("r6")])[1], Accepted)
    assert writer.journal.reserve_bytes == LIMITS.reserve_bytes
    writer.stop()
    report = verify_home(log_on.home)
    assert (report.exit_code, report.pending) == (VERIFIES, [])
    writer = log_on.open(disk.faults)
    assert list(writer.recorder.open) == ["r6"]


def test_the_last_of_the_reserve_is_for_the_ends(log_on, disk, gateway) -> None:
    """Fails if `_release` does not ask for room: text would take what the ends need."""
    writer = log_on.open(disk.faults)
    writer.commit([gateway.accept("r1"), gateway.accept("r2")])
    disk.full = True
    n = release_until(writer, gateway, "r1", lambda: writer.journal.room is Room.ENDS)
    act = Act(service="audit", actor="reviewer", action="RECORD_VIEWED")
    for item in (gateway.release("r1", n, TEXT), act):
        [answer] = writer.commit([item])
        assert refusal_of(answer) is Refusal.JOURNAL_FULL
    ends = writer.commit([gateway.end("r1", releases=n), gateway.end("r2")])
    assert [type(answer) for answer in ends] == [Ended, Ended]


def test_a_reserve_that_is_used_up_fails_closed_and_loses_nothing(log_on, disk, gateway) -> None:
    writer = log_on.open(disk.faults)
    before = writer.commit([gateway.accept("r1")])
    disk.full = True
    controls = 0
    with pytest.raises(JournalFull):
        while True:
            writer.commit([Control("x", {"text": "y" * 3_000})])
            controls += 1
    with pytest.raises(JournalPoisoned):
        writer.commit([gateway.end("r1")])
    disk.full = False
    writer = log_on.open(disk.faults)
    assert writer.tree.size == 1 + len(before) + controls + 1  # "started" twice
    assert isinstance(writer.commit([gateway.end("r1")])[0], AppendRefused)  # its number was never durable: a gap
    writer.stop()
    assert verify_home(log_on.home).exit_code == VERIFIES


@pytest.mark.parametrize("error", [errno.EROFS, errno.EIO])
def test_what_is_no_lack_of_room_is_not_answered_from_the_reserve(log_on, disk, gateway, error) -> None:
    writer = log_on.open(disk.faults)
    writer.commit([gateway.accept("r1")])
    disk.full, disk.error = True, error
    with pytest.raises(OSError, match="by the test"):
        writer.commit([gateway.release("r1", n, TEXT) for n in range(10)])
    with pytest.raises(JournalPoisoned):
        writer.commit([gateway.end("r1")])
    disk.full = False
    writer = log_on.open(disk.faults)
    assert "r1" in writer.recorder.open
    writer.stop()
    assert verify_home(log_on.home).exit_code == VERIFIES


def test_a_crash_in_the_reserve_is_like_any_other(log_on, disk, gateway) -> None:
    writer = log_on.open(disk.faults)
    accepted = gateway.accept("r1")
    [before] = writer.commit([accepted])
    disk.full = True
    n = release_until(writer, gateway, "r1", lambda: writer.journal.room is Room.NO_NEW_RECORDS)
    log_on.crash()
    assert verify_home(log_on.home).exit_code == VERIFIES
    disk.full = False
    writer = log_on.open(disk.faults)
    assert writer.commit([accepted]) == [before]
    assert writer.recorder.open["r1"].releases == n
    assert (log_on.folders.journal / "reserve").stat().st_size == LIMITS.reserve_bytes


def test_below_the_high_water_mark_new_records_wait_for_a_quarter_more(audit_log, disk, gateway) -> None:
    """Long before the disk is full. Fails if `HighWater.look` knows one mark only: it would flap around that."""
    audit_log.journal = JournalLimits(must_be_free_bytes=256 * MIB)
    disk.free = 256 * MIB
    writer = audit_log.open(disk.faults)
    assert isinstance(writer.commit([gateway.accept("r1")])[0], Accepted)
    told = []
    for free in (256 * MIB - 1, 256 * MIB, 320 * MIB - 1):
        disk.free = free
        told.append(writer.room.look())
        refused, released = writer.commit([gateway.accept(f"at{free}"), gateway.release("r1", len(told) - 1)])
        assert refusal_of(refused) is Refusal.JOURNAL_FULL
        assert released == Recorded()
    assert "255 MiB are free on it, and 256 MiB must be" not in str(refused)
    assert "319 MiB are free on it, and 256 MiB must be" in str(refused)
    assert [each is not None for each in told] == [True, False, False]
    disk.free = 320 * MIB
    assert writer.room.look() is not None
    answers = writer.commit([gateway.accept("r2"), gateway.end("r1")])
    assert [type(answer) for answer in answers] == [Accepted, Ended]


def test_keys_tiles_and_checkpoint_fit_on_a_full_disk(log_on, disk, gateway) -> None:
    """What was set aside for them is let go of. Fails if `publish` does not write through `Spare`."""
    log_on.spare_bytes = 16 * KIB
    taken = []

    def full_while_set_aside() -> None:
        taken.append(log_on.folders.spare.exists())
        if disk.full and taken[-1]:
            raise OSError(errno.ENOSPC, "by the test")

    writer = log_on.open(FaultPoints(writing=full_while_set_aside))
    writer.commit([gateway.accept("r1")])
    disk.full = True
    writer.commit([gateway.end("r1")])
    writer.publish()
    assert taken[-2:] == [True, False] or not taken[-1]
    assert writer.publisher.published == writer.tree.size
    writer.room.look()
    assert log_on.folders.spare.stat().st_size == 16 * KIB


def test_keys_that_did_not_fit_leave_no_half_row(audit_log, gateway) -> None:
    """Fails if `_append` leaves what it wrote: the next row would begin in the middle of that line. The kernel itself
    refuses here, by a limit on the size of files."""
    writer = audit_log.open()
    writer.commit([gateway.accept("r1")])
    limits, before = resource.getrlimit(resource.RLIMIT_FSIZE), largest_table(audit_log)
    gateway.caller = "another"
    group = writer.prepare([gateway.accept("r2")])
    resource.setrlimit(resource.RLIMIT_FSIZE, (before + 10, limits[1]))
    try:
        with pytest.raises(OSError, match="large"):
            writer._keytree.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    answers = writer.settle(group, writer.make_durable(group))
    assert isinstance(answers[0], Accepted)
    writer = audit_log.open()
    assert {"r1", "r2"} == set(writer.recorder.open)


def largest_table(log) -> int:
    return max(path.stat().st_size for path in log.folders.wrapped_keys.glob("*/*.jsonl"))


def test_a_reserve_of_another_size_is_made_anew(tmp_path) -> None:
    path = tmp_path / "reserve"
    Reserve(path, 8 * KIB).make()
    assert path.stat().st_size == 8 * KIB
    for size in (4 * KIB, 16 * KIB):
        made = Reserve(path, size)
        assert made.make() and made.there
        assert path.stat().st_size == made.held_bytes == size
