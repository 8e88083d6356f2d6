"""The sequencer: takes everything that waits, has it committed as one group, and answers. It never sleeps to gather.

Ownership: the event loop owns the line of waiting items and takes one group at a time through the writer's steps; one
writer thread waits for the disk; one publisher thread writes tiles and checkpoint behind.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from services.audit.disk_thread import DiskThread
from services.audit.group import Durable
from services.audit.journal.segment import SegmentMoved
from services.audit.records.entries import Busy, Outcome, Unavailable, item_size
from services.audit.records.planning import Control, Decision, Item, Presence, Reap
from services.audit.writer import Writer

log = logging.getLogger(__name__)

# A group within these is prepared on the loop: a few milliseconds at most.
INLINE_ITEMS, INLINE_BYTES = 256, 256 * 1024
_OWN_ITEM_BYTES = 64


@dataclass(frozen=True)
class SequencerLimits:
    waiting_items: int = 8_192
    waiting_bytes: int = 64 * 1024 * 1024
    group_items: int = 4_096
    group_bytes: int = 16 * 1024 * 1024
    publish_seconds: float = 1.0  # at most one checkpoint file in this time
    reap_seconds: float = 1.0
    heartbeat_seconds: float = 60.0
    room_seconds: float = 1.0  # until it is looked whether the journal is in place, and has room


Done = Callable[[Outcome | Exception], None]


class _Waiting(NamedTuple):
    item: Item
    size: int
    done: Done


@dataclass
class Counters:
    """Since start; `syncs` is also the number of groups."""

    items: int = 0
    groups: int = 0


class Sequencer:
    def __init__(self, writer: Writer, limits: SequencerLimits) -> None:
        self._writer, self._limits = writer, limits
        self._line: deque[_Waiting] = deque()
        self._line_bytes = 0
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._unpublished = asyncio.Event()
        self._disk = DiskThread("audit-writer")
        self._publish_thread = ThreadPoolExecutor(1, "audit-publisher")
        self._stopping = False
        self.failed = asyncio.Event()  # nothing can be made durable any more: the process has to end
        self.counters = Counters()

    @classmethod
    @asynccontextmanager
    async def running(cls, writer: Writer, limits: SequencerLimits | None = None) -> AsyncIterator[Sequencer]:
        sequencer = cls(writer, limits or SequencerLimits())
        sequencer._disk.start()
        commits = asyncio.create_task(sequencer._commit_groups())
        behind = [
            asyncio.create_task(sequencer._publish_behind()),
            asyncio.create_task(sequencer._reap_lost_gateways()),
            asyncio.create_task(sequencer._beat()),
            asyncio.create_task(sequencer._look_after_journal()),
        ]
        try:
            yield sequencer
        finally:
            await sequencer._stop(commits, behind)

    async def append(self, item: Item) -> Outcome:
        """Returns once the item is durable. Raises AppendRefused, Busy or Unavailable."""
        if self._full:
            raise Busy(f"{len(self._line)} items wait")
        return await self._enqueued(item)

    def _enqueued(self, item: Item) -> asyncio.Future[Outcome]:
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.enqueue(item, partial(_resolve, answer))
        return answer

    def enqueue(self, item: Item, done: Done, size: int | None = None) -> None:
        """Puts the item in line, whose order is the log's; `done` is called on the loop once it is durable, or cannot
        be. A stream asks for `room` before it takes more."""
        if self.failed.is_set() or self._stopping:
            raise Unavailable("audit is stopping" if self._stopping else "the journal cannot be written")
        if size is None:
            size = _OWN_ITEM_BYTES if isinstance(item, Decision | Reap | Presence | Control) else item_size(item)
        self._line.append(_Waiting(item, size, done))
        self._line_bytes += size
        self._arrived.set()

    async def room(self) -> None:
        """Waits while the line is full. A stream's items are never turned away: their numbers may have no gap."""
        while self._full and not self._stopping:
            self._taken.clear()
            await self._taken.wait()

    @property
    def waiting_items(self) -> int:
        return len(self._line)

    @property
    def _full(self) -> bool:
        return len(self._line) >= self._limits.waiting_items or self._line_bytes >= self._limits.waiting_bytes

    def _take_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        size = 0
        while self._line and len(group) < self._limits.group_items:
            if group and size + self._line[0].size > self._limits.group_bytes:
                break
            waiting = self._line.popleft()
            size += waiting.size
            group.append(waiting)
        self._line_bytes -= size
        self._taken.set()
        return group

    async def _commit_groups(self) -> None:
        while not self._stopping:
            await self._arrived.wait()
            self._arrived.clear()
            while group := self._take_group():
                try:
                    answers = await self._committed(group)
                except Exception:
                    log.exception("a group did not become durable; stopping")
                    self._fail([*group, *self._line])
                    return
                self._deliver(group, answers)
                await asyncio.sleep(0)  # these replies leave, and what has come meanwhile joins the next group

    async def _committed(self, waiting: list[_Waiting]) -> list[Outcome | Exception]:
        """What is small is prepared and settled here, where it costs no change of threads; only the disk is waited for
        on the writer's. Large contents, and answers that are read back from the journal, would hold up the loop."""
        items, writer = [each.item for each in waiting], self._writer
        small = len(waiting) <= INLINE_ITEMS and sum([each.size for each in waiting]) <= INLINE_BYTES
        group = writer.prepare(items) if small else await self._disk.run(writer.prepare, items)
        durable = await self._disk.run(writer.make_durable, group) if group.entries else Durable([], 0.0)
        if group.reads:
            return await self._disk.run(writer.settle, group, durable)
        return writer.settle(group, durable)

    def _deliver(self, group: list[_Waiting], answers: list[Outcome | Exception]) -> None:
        self.counters.items += len(group)
        self.counters.groups += 1
        self._unpublished.set()
        for waiting, answer in zip(group, answers, strict=True):
            _tell(waiting, answer)

    def _fail(self, waiting: list[_Waiting]) -> None:
        self.failed.set()
        self._line.clear()
        for each in waiting:
            _tell(each, Unavailable("the journal cannot be written"))

    async def _publish_behind(self) -> None:
        loop, failing = asyncio.get_running_loop(), False
        while True:
            await self._unpublished.wait()
            self._unpublished.clear()
            try:
                await loop.run_in_executor(self._publish_thread, self._writer.publish)
                failing = False
            except Exception:  # a bug too: the journal is whole, and the next round writes what is missing
                if not failing:
                    log.exception("tiles and checkpoint could not be written; trying until they are")
                self._unpublished.set()
                failing = True
            await asyncio.sleep(self._limits.publish_seconds)

    async def _reap_lost_gateways(self) -> None:
        while True:
            await asyncio.sleep(self._limits.reap_seconds)
            try:
                await self._enqueued(Reap())
            except Unavailable:
                return

    async def _beat(self) -> None:
        """So that a time in which the log was not kept shows: two heartbeats are further apart than they should be."""
        while True:
            await asyncio.sleep(self._limits.heartbeat_seconds)
            try:
                await self._disk.run(self._writer.journal.check_in_place)
                await self._enqueued(self._writer.heartbeat())
            except SegmentMoved:
                self._lost_journal()
                return
            except Unavailable:
                return

    async def _look_after_journal(self) -> None:
        while True:
            await asyncio.sleep(self._limits.room_seconds)
            try:
                if told := await self._disk.run(self._writer.room.look):
                    await self._enqueued(told)
            except Unavailable:
                return
            except Exception:
                self._lost_journal()
                return

    def _lost_journal(self) -> None:
        log.exception("the journal is not as it was written; stopping")
        self._fail([*self._line])

    async def _stop(self, commits: asyncio.Task[None], behind: list[asyncio.Task[None]]) -> None:
        """Commits what waits, then writes the last entry and publishes it, so that nothing is pending."""
        self._stopping = True
        self._arrived.set()
        self._taken.set()
        await commits
        for task in behind:
            task.cancel()
        await asyncio.gather(*behind, return_exceptions=True)
        self._disk.stop()
        self._publish_thread.shutdown()
        if not self.failed.is_set():
            await asyncio.to_thread(self._writer.stop)


def _tell(waiting: _Waiting, answer: Outcome | Exception) -> None:
    try:
        waiting.done(answer)
    except Exception:  # a bug in one answer: the others are durable too, and are told
        log.exception("the answer to an item failed")


def _resolve(answer: asyncio.Future[Outcome], outcome: Outcome | Exception) -> None:
    if answer.done():  # the caller has gone; the entry stays
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
