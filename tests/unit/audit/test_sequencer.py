"""The sequencer: one group for all that waits, bounds, and what happens when the disk fails."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest
from strongroom.verify import VERIFIES, verify_home

from services.audit.journal.journal import MIB, JournalLimits
from services.audit.records.entries import Accepted, Act, Busy, Ended, Recorded, Unavailable
from services.audit.sequencer import INLINE_BYTES, Sequencer, SequencerLimits
from services.audit.writer import FaultPoints, Writer


class Gate:
    """An fdatasync that waits until the test lets it through, so that a test decides what waits meanwhile."""

    def __init__(self) -> None:
        self.closed = False
        self.entered = threading.Event()
        self.passed = threading.Event()
        self.count = 0

    def sync(self, descriptor: int) -> None:
        self.count += 1
        if self.closed:
            self.entered.set()
            assert self.passed.wait(10)
        os.fdatasync(descriptor)


async def test_what_waits_becomes_one_group_with_one_fdatasync(audit_log, gateway) -> None:
    gate = Gate()
    async with Sequencer.running(audit_log.open(FaultPoints(sync=gate.sync))) as sequencer:
        before = gate.count
        gate.closed = True
        first = asyncio.create_task(sequencer.append(gateway.accept("r0")))
        await asyncio.to_thread(gate.entered.wait, 10)
        rest = [asyncio.create_task(sequencer.append(gateway.accept(f"r{n}"))) for n in range(1, 50)]
        await asyncio.sleep(0)
        gate.closed = False
        gate.passed.set()
        answers = await asyncio.gather(first, *rest)
    assert all(isinstance(answer, Accepted) for answer in answers)
    assert gate.count - before == 3  # the lone one, the 49 together, and the clean stop's last entry


async def test_invariant_2_nothing_is_answered_before_it_is_durable(audit_log, gateway) -> None:
    """Fails if `_committed` settles before `make_durable` has returned."""
    gate = Gate()
    async with Sequencer.running(audit_log.open(FaultPoints(sync=gate.sync))) as sequencer:
        await sequencer.append(gateway.accept("r1"))
        gate.closed = True
        release = asyncio.create_task(sequencer.append(gateway.release("r1", 0)))
        await asyncio.to_thread(gate.entered.wait, 10)
        assert not release.done()
        gate.closed = False
        gate.passed.set()
        assert await release == Recorded()


async def test_what_waits_for_the_disk_is_not_shown_yet(audit_log, gateway) -> None:
    """Readers do not wait for the disk either. Fails if `Span.durable` returns the whole span."""
    gate = Gate()
    writer = audit_log.open(FaultPoints(sync=gate.sync))
    async with Sequencer.running(writer) as sequencer:
        await asyncio.gather(*(sequencer.append(gateway.accept(name)) for name in ("r1", "r2")))
        size = writer.checkpoint.size
        gate.closed = True
        writing = [asyncio.create_task(sequencer.append(item)) for item in (gateway.end("r1"), gateway.accept("r3"))]
        await asyncio.to_thread(gate.entered.wait, 10)
        assert writer.checkpoint.size == size
        assert [record.state for record in writer.records.summaries(None, 10)[0]] == ["OPEN", "OPEN"]
        shown = writer.records.receipt("r1")
        assert shown is not None
        assert (shown[0].state, shown[1]) == ("OPEN", None)
        assert writer.records.record("r3") is None
        gate.closed = False
        gate.passed.set()
        await asyncio.gather(*writing)
        assert [record.state for record in writer.records.summaries(None, 10)[0]] == ["OPEN", "COMPLETED", "OPEN"]


async def test_a_small_group_is_prepared_on_the_loop_and_a_large_one_beside_it(audit_log, gateway) -> None:
    """Fails if `_committed` prepares every group on the loop: a large one would hold up every stream."""
    threads: list[str] = []

    def random(size: int) -> bytes:
        threads.append(threading.current_thread().name)
        return os.urandom(size)

    writer = Writer(audit_log.folders, audit_log.time.clock(), random=random)
    audit_log.opened.append(writer)
    async with Sequencer.running(writer) as sequencer:
        threads.clear()
        await sequencer.append(gateway.accept("r1"))
        assert set(threads) == {threading.main_thread().name}
        threads.clear()
        await sequencer.append(gateway.release("r1", 0, b"x" * INLINE_BYTES))
        assert len(threads) == 1
        assert threads[0].startswith("audit-writer")


async def test_one_answer_that_fails_keeps_no_other_from_its_own(audit_log, gateway) -> None:
    answers: list[object] = []

    def failing(answer: object) -> None:
        raise KeyError("gone")

    async with Sequencer.running(audit_log.open()) as sequencer:
        sequencer.enqueue(gateway.accept("r1"), failing)
        sequencer.enqueue(gateway.accept("r2"), answers.append)
        await sequencer.append(gateway.accept("r3"))
    assert [type(answer) for answer in answers] == [Accepted]


async def test_more_acts_than_may_wait_are_turned_away(audit_log) -> None:
    gate = Gate()
    limits = SequencerLimits(waiting_items=2)
    act = Act(service="guard", actor="guard", action="POLICY_LOADED")
    async with Sequencer.running(audit_log.open(FaultPoints(sync=gate.sync)), limits) as sequencer:
        gate.closed = True
        running = asyncio.create_task(sequencer.append(act))
        await asyncio.to_thread(gate.entered.wait, 10)
        waiting = [asyncio.create_task(sequencer.append(act)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await sequencer.append(act)
        gate.closed = False
        gate.passed.set()
        await asyncio.gather(running, *waiting)
        assert await sequencer.append(act) == Recorded()


async def test_a_stream_waits_for_room_instead_of_being_turned_away(audit_log, gateway) -> None:
    gate = Gate()
    limits = SequencerLimits(waiting_items=2)
    async with Sequencer.running(audit_log.open(FaultPoints(sync=gate.sync)), limits) as sequencer:
        gate.closed = True
        answers: list[object] = []
        sequencer.enqueue(gateway.accept("r0"), answers.append)
        await asyncio.to_thread(gate.entered.wait, 10)
        for n in range(1, 4):
            sequencer.enqueue(gateway.accept(f"r{n}"), answers.append)
        room = asyncio.create_task(sequencer.room())
        await asyncio.sleep(0)
        assert not room.done()
        gate.closed = False
        gate.passed.set()
        await room
    assert [type(answer) for answer in answers] == [Accepted] * 4


async def test_a_failed_disk_fails_everything_and_asks_for_a_restart(audit_log, gateway) -> None:
    gate = Gate()
    broken = threading.Event()

    def sync(descriptor: int) -> None:
        gate.sync(descriptor)
        if broken.is_set():
            raise OSError(5, "Input/output error")

    async with Sequencer.running(audit_log.open(FaultPoints(sync=sync))) as sequencer:
        await sequencer.append(gateway.accept("r1"))
        broken.set()
        gate.closed = True
        failing = asyncio.create_task(sequencer.append(gateway.release("r1", 0)))
        await asyncio.to_thread(gate.entered.wait, 10)
        behind = asyncio.create_task(sequencer.append(gateway.release("r1", 1)))
        await asyncio.sleep(0)
        gate.passed.set()
        for task in (failing, behind):
            with pytest.raises(Unavailable):
                await task
        assert sequencer.failed.is_set()
        with pytest.raises(Unavailable):
            await sequencer.append(gateway.end("r1"))


async def test_a_journal_that_is_deleted_while_nothing_is_written_is_noticed(audit_log, gateway) -> None:
    """Fails if only an append looks whether its file is in place."""
    async with Sequencer.running(audit_log.open(), SequencerLimits(room_seconds=0.01)) as sequencer:
        await sequencer.append(gateway.accept("r1"))
        audit_log.segments()[-1].unlink()
        await asyncio.wait_for(sequencer.failed.wait(), 30)
        with pytest.raises(Unavailable):
            await sequencer.append(gateway.end("r1"))


async def test_what_there_is_room_for_is_told_by_the_log_itself(audit_log) -> None:
    free = [1 << 40]
    audit_log.journal = JournalLimits(must_be_free_bytes=MIB)
    writer = audit_log.open(FaultPoints(free=lambda folder: free[0]))
    async with Sequencer.running(writer, SequencerLimits(room_seconds=0.01)):
        for bytes_free, rooms in ((0, ["NO_NEW_RECORDS"]), (1 << 40, ["NO_NEW_RECORDS", "ALL"])):
            free[0] = bytes_free
            async with asyncio.timeout(30):
                while told_of_room(writer) != rooms:
                    await asyncio.sleep(0.01)


def told_of_room(writer: Writer) -> list[object]:
    headers = [writer.stored.leaf(index).header for index in range(writer.stored.leaf_count)]
    return [header["room"] for header in headers if header["event"] == "room"]


async def test_a_clean_stop_leaves_nothing_pending(audit_log, gateway) -> None:
    async with Sequencer.running(audit_log.open()) as sequencer:
        await asyncio.gather(*(sequencer.append(gateway.accept(f"r{n}")) for n in range(20)))
        ended = await sequencer.append(gateway.end("r3"))
        assert isinstance(ended, Ended)
        release = asyncio.create_task(sequencer.append(gateway.release("r4", 0)))
        await asyncio.sleep(0)
    assert await release == Recorded()
    report = verify_home(audit_log.home)
    assert (report.exit_code, report.pending) == (VERIFIES, [])


async def test_a_running_folder_verifies_at_any_moment(audit_log, gateway) -> None:
    limits = SequencerLimits(publish_seconds=0.01)
    async with Sequencer.running(audit_log.open(), limits) as sequencer:
        for n in range(30):
            await asyncio.gather(*(sequencer.append(gateway.refuse(f"r{n}-{k}")) for k in range(7)))
            if n % 3 == 0:
                report = await asyncio.to_thread(verify_home, audit_log.home)
                assert report.problems == []
