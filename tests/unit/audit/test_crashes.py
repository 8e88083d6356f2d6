"""A crash at every step of a commit, kill -9, a disk that fails: nothing acknowledged is lost, all verifies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from strongroom.verify import VERIFIES, verify_home

from services.audit.journal.journal import JournalPoisoned
from services.audit.records.entries import Accepted, AppendRefused, Ended, Recorded
from services.audit.records.planning import Control
from services.audit.writer import FaultPoints
from tests.unit.audit.tearing import gateway_copy, used_of, zero_after


class Crash(Exception):
    """The process dies here."""


def crash(*_: object) -> None:
    raise Crash


STEPS = {
    "before append": FaultPoints(appending=crash),
    "after append, before fdatasync": FaultPoints(sync=crash),
    "after fdatasync, before the answer": FaultPoints(synced=crash),
    "between tiles and checkpoint": FaultPoints(tiles_written=crash),
}


class Armed:
    """Fault points that stay quiet until the log is open."""

    def __init__(self, faults: FaultPoints) -> None:
        self.armed = False
        self.faults = FaultPoints(
            appending=self._when_armed(faults.appending),
            sync=self._when_armed(faults.sync, os.fdatasync),
            synced=self._when_armed(faults.synced),
            tiles_written=self._when_armed(faults.tiles_written),
        )

    def _when_armed(self, fault: Callable[..., None], otherwise: Callable[..., None] = lambda: None):
        return lambda *args: fault(*args) if self.armed else otherwise(*args)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("lost", [False, True], ids=["pages kept", "pages lost"])
def test_invariant_8_a_crash_at_any_step_loses_nothing_acknowledged(audit_log, gateway, step, lost) -> None:
    """Fails if `commit` settles before `make_durable` has returned."""
    armed = Armed(STEPS[step])
    writer = audit_log.open(armed.faults)
    before = [gateway.accept("r1"), gateway.release("r1", 0), gateway.accept("r2")]
    acknowledged = writer.commit(before)
    writer.publish()
    used = used_of(audit_log.segments()[-1].read_bytes())
    armed.armed = True
    during = [gateway.release("r1", 1), gateway.end("r1"), gateway.accept("r3")]
    with pytest.raises(Crash):
        writer.commit(during)
        writer.publish()
    audit_log.crash()
    if lost and step == "after append, before fdatasync":
        zero_after(audit_log.segments()[-1], used + 512)  # what came later never reached the disk

    assert verify_home(audit_log.home).exit_code == VERIFIES
    writer = audit_log.open()
    again = writer.commit([*before, *during])
    assert again[:3] == acknowledged
    assert [type(answer) for answer in again[3:]] == [Recorded, Ended, Accepted]
    writer.stop()
    report = verify_home(audit_log.home)
    assert (report.exit_code, report.pending) == (VERIFIES, [])
    assert (report.entries["ACCEPTED"], report.entries["RELEASE"], report.entries["END"]) == (3, 2, 1)


@pytest.mark.parametrize("step", ["before append", "after append, before fdatasync", "between tiles and checkpoint"])
def test_a_crash_in_the_very_first_start_is_nothing(audit_log, gateway, step) -> None:
    with pytest.raises(Crash):
        audit_log.open(STEPS[step])
    writer = audit_log.open()
    assert isinstance(writer.commit([gateway.accept("r1")])[0], Accepted)
    writer.stop()
    assert verify_home(audit_log.home).exit_code == VERIFIES


def test_a_failed_fdatasync_is_never_retried(audit_log, gateway) -> None:
    """Linux reports it once and forgets the pages: a second fdatasync would succeed and mean nothing."""
    calls = []

    def failing(descriptor: int) -> None:
        calls.append(descriptor)
        raise OSError(5, "Input/output error")

    armed = Armed(FaultPoints(sync=failing))
    writer = audit_log.open(armed.faults)
    armed.armed = True
    with pytest.raises(OSError, match="Input/output"):
        writer.commit([gateway.accept("r1")])
    for _ in range(2):
        with pytest.raises(JournalPoisoned):
            writer.commit([gateway.accept("r2")])
    assert len(calls) == 1


def started(writer) -> dict[str, object]:
    """What the entry of the newest start says."""
    header = writer.stored.leaf(writer.tree.size - 1).header
    assert header["event"] == "started"
    return header


def test_after_an_unclean_stop_the_last_segment_is_written_anew_and_the_last_group_is_marked(
    audit_log, gateway
) -> None:
    """Fails if `start` goes on in the file as it is: after an fdatasync that failed, its pages tell what the disk need
    not have. The same bytes stand in the new one."""

    def failing(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    armed = Armed(FaultPoints(sync=failing))
    writer = audit_log.open(armed.faults)
    acknowledged = writer.commit([gateway.accept("r1")])
    armed.armed = True
    with pytest.raises(OSError, match="Input/output"):
        writer.commit([gateway.release("r1", 0), gateway.end("r1")])
    path = audit_log.segments()[-1]
    before, content = path.stat().st_ino, path.read_bytes()
    content = content[: used_of(content)]
    writer = audit_log.open()
    assert path.stat().st_ino != before and path.read_bytes().startswith(content)
    assert started(writer)["perhaps_unacknowledged"] == {"first_frame": 2, "entries": 2}
    assert writer.commit([gateway_copy(gateway, 0)]) == acknowledged
    writer.stop()
    assert verify_home(audit_log.home).exit_code == VERIFIES


def test_after_a_clean_stop_nothing_is_written_anew_or_marked(audit_log, gateway) -> None:
    writer = audit_log.open()
    writer.commit([gateway.refuse("r1")])
    writer.stop()
    path = audit_log.segments()[-1]
    before = path.stat().st_ino
    writer = audit_log.open()
    assert path.stat().st_ino == before
    assert "perhaps_unacknowledged" not in started(writer)


def test_tiles_are_rebuilt_and_a_wrong_one_is_recorded(audit_log, gateway) -> None:
    writer = audit_log.open()
    writer.commit([gateway.accept("r1"), gateway.end("r1")])
    writer.stop()
    audit_log.crash()
    tiles = sorted((audit_log.folders.tlog / "tile").rglob("4"))
    assert [path.parent.name for path in tiles] == ["000.p", "000.p"]
    tiles[0].write_bytes(bytes(128))
    tiles[1].unlink()
    writer = audit_log.open()
    assert writer.stored.leaf(4).header["repaired_tiles"] == [tiles[0].relative_to(audit_log.folders.tlog).as_posix()]
    writer.stop()
    assert verify_home(audit_log.home).exit_code == VERIFIES


def test_many_entries_cross_tiles_and_segments(audit_log, gateway) -> None:
    writer = audit_log.open()
    for n in range(300):
        writer.commit([gateway.refuse(f"r{n}")])
        if n % 40 == 0:
            writer.publish()
    writer.commit([Control("rotation")])
    writer.stop()
    audit_log.crash()
    report = verify_home(audit_log.home)
    assert (report.exit_code, report.size, report.segments > 3) == (VERIFIES, 303, True)
    assert (audit_log.folders.tlog / "tile/0/000").exists()
    assert not (audit_log.folders.tlog / "tile/0/000.p").exists()
    assert audit_log.open().tree.size == 304


KILLED = """
    import sys, time
    from pathlib import Path
    from services.audit.records.entries import Accept, Release
    from services.audit.records.planning import Clock
    from services.audit.writer import Folders, Writer
    home = Path(sys.argv[1])
    writer = Writer(Folders(home / "audit", home / "keys"), Clock(time.time, time.monotonic))
    place = {"boot": "boot-1", "record_id": "r1"}
    writer.commit([Accept(**place, sequence=0, tenant="t", caller="c", deadline_ms=1)])
    for n in range(1_000_000):
        writer.commit([Release(**place, sequence=n + 1, n=n, body=b"x" * (n % 500))])
        print(n, flush=True)
        if n % 10 == 0:
            writer.publish()
"""


def test_invariant_8_kill_9_loses_nothing_acknowledged(audit_log) -> None:
    """Fails if `commit` settles before `make_durable` has returned."""
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(audit_log.home)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])
    assert process.stdout is not None
    acknowledged = -1
    for line in process.stdout:
        acknowledged = int(line)
        if acknowledged == 60:
            os.kill(process.pid, signal.SIGKILL)
            break
    acknowledged = max([acknowledged, *map(int, process.stdout.read().split())])
    process.stdout.close()
    process.wait()

    assert verify_home(audit_log.home).exit_code == VERIFIES
    writer = audit_log.open()
    assert writer.recorder.open["r1"].releases >= acknowledged + 1
    assert not isinstance(writer.commit([Control("after")])[0], AppendRefused)
    writer.stop()
    assert verify_home(audit_log.home).exit_code == VERIFIES
