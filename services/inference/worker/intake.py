"""Claims from the streams what the engine can take, and lets nothing near it that audit does not vouch for."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from strongroom.inference.v1 import inference_pb2 as pb

from services.inference.worker.adapters import Adapters
from services.inference.worker.picking import Pick, Picking
from services.inference.worker.run import Run
from services.inference.worker.runs import Runs
from streams.connection import out_of_service
from streams.depths import Depth
from streams.items import ItemSealer, open_log
from streams.jobs import Entry, NotAJob, OpenedJob, open_job
from streams.keys import CLASSES
from streams.seal import QueueKeys, SealError
from streams.ticket import TicketRefused
from streams.worker import Claim, ClaimState, WorkQueue

log = logging.getLogger(__name__)

MAX_DELIVERIES = 2  # tries: a job whose worker died in each of them is taken to be the cause
POISON = "POISON"
RETRY_SECONDS = 0.25
LOOK_SECONDS = 0.25  # between looks for work that fits, or that others give way to
# Jobs that one look picks. What waits first is told with them, in every bucket as many: Redis reads the whole entries.
MOST_AT_ONCE = 8


class Intake:
    """Owned by the event loop. `run` ends after `stop`, at the latest when its blocking read does."""

    def __init__(
        self,
        queue: WorkQueue,
        runs: Runs,
        queue_keys: QueueKeys,
        ticket_key: bytes,
        model: str,
        adapters: Adapters,
        *,
        lease_ms: int,
        before_claiming: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`before_claiming` makes sure that no cancel of what is claimed then goes unheard."""
        self._queue, self._runs, self._keys, self._ticket_key = queue, runs, queue_keys, ticket_key
        self._model, self._adapters, self._lease_ms, self._clock = model, adapters, lease_ms, clock
        self._before_claiming = before_claiming
        self._picking = Picking()
        self._stopping = False
        self._first = True
        self._takeover_from = 0.0  # monotonic; before it, leases that a Redis outage let lapse are left alone
        self._look_aside_from = math.inf  # monotonic; there is something that did not fit, until then left to others
        self.connected = False

    def stop(self) -> None:
        self._stopping = True
        self._runs.room_changed.set()

    async def run(self) -> None:
        while not self._stopping:
            try:
                await self._claim_next()
            except Exception as error:
                self._lost(error)
                await asyncio.sleep(RETRY_SECONDS)

    async def take_over(self) -> None:
        """Takes jobs whose worker has not renewed them. Called every third of a lease."""
        if self._stopping or not self.connected or not self._runs.room or time.monotonic() < self._takeover_from:
            return
        try:
            await self._take(await self._queue.work.overdue(self._lease_ms, self._runs.room))
        except Exception as error:
            self._lost(error)

    def note(self, depths: Mapping[str, Depth]) -> None:
        """How long each class has kept somebody waiting, for whose turn it is."""
        self._picking.note({priority: depth.oldest_seconds for priority, depth in depths.items()})

    async def _claim_next(self) -> None:
        if not self.connected:
            await self._connect()
        if not self._runs.room:
            await self._take_urgent()
            return
        entries = await self._earlier() or await self._ready(self._runs.room)
        await self._take(entries or await self._wait())

    async def _wait(self) -> list[Entry]:
        """One may have come to every bucket since it was looked at: what there is no room for is handed back, and is
        next here if no other worker takes it. Jobs come in batches: what came with the first is claimed with it."""
        entries, room = await self._queue.work.wait(), max(self._runs.room, 1)
        if len(entries) > room:
            await self._queue.hand_back(entries[room:])
            self._look_aside_from = time.monotonic()
        return entries[:room] + (await self._ready(room - len(entries)) if entries else [])

    async def _take_urgent(self) -> None:
        """While there is no room: the classes that others give way to are looked at now and again."""
        urgent = CLASSES[: self._runs.yields_to]
        entries = await self._ready(1, urgent) if urgent else ()
        if entries:
            await self._take(entries)
            return
        self._runs.room_changed.clear()
        if not self._runs.room and not self._stopping:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS if urgent else None):
                    await self._runs.room_changed.wait()

    async def _earlier(self) -> list[Entry]:
        """What was set aside for lack of room goes before what is new, one at a time."""
        if time.monotonic() < self._look_aside_from:
            return []
        entries = await self._queue.work.overdue(self._lease_ms, 1)
        if not entries:
            self._look_aside_from = math.inf
        return entries

    async def _connect(self) -> None:
        await self._queue.work.open()
        await self._before_claiming()
        self.note(await self._queue.work.depths())
        self._takeover_from = time.monotonic() + (0 if self._first else self._lease_ms / 1000)
        self.connected = True
        if self._first:  # what this seat's last process held; fencing makes it safe should it still live
            self._first = False
            await self._take(await self._queue.work.predecessors(self._runs.room))

    async def _ready(self, room: int, among: Sequence[str] = CLASSES) -> list[Entry]:
        """What waits, for as much room as there is; does not block."""
        found: list[Entry] = []
        while room > len(found):
            count = min(room - len(found), MOST_AT_ONCE)
            picks = self._picking.pick(await self._queue.work.heads(among, count), count)
            entries = await self._queue.work.read(Counter((pick.priority, pick.bucket) for pick in picks))
            self._picking.settle(picks, [Pick(*self._queue.work.bucket(entry), entry.cost) for entry in entries])
            found += entries
            if len(entries) < count:  # nothing more waits, or others are faster
                break
        return found

    async def _take(self, entries: Sequence[Entry]) -> None:
        jobs = [job for entry in entries if (job := await self._believed(entry))]
        for job, claim in zip(jobs, await self._queue.claim(jobs) if jobs else (), strict=True):
            if claim.state is ClaimState.CLAIMED:
                await self._begin(job, claim)
            else:
                self._count(f"refused_{claim.state}", job.entry)

    async def _believed(self, entry: Entry) -> OpenedJob | None:
        try:
            return open_job(entry, self._keys, self._ticket_key, int(self._clock() * 1000))
        except (SealError, TicketRefused, NotAJob) as refusal:
            self._count(f"refused_{refusal.reason.lower()}", entry)
            await self._queue.drop(entry)
            return None

    async def _begin(self, job: OpenedJob, claim: Claim) -> None:
        if self._stopping:
            await self._queue.hand_back([job.entry])
            return
        sealer = ItemSealer(self._keys, job.body.request_id, claim.epoch)
        admitted_ns = int(self._clock() * 1e9)
        try:
            emitted = open_log(self._keys, job.body.request_id, claim.log)
        except SealError:
            run = Run(job, claim, sealer, (), admitted_ns=admitted_ns)
            self._runs.finish_unstarted(run, pb.FINISH_FAILED, "TOKEN_LOG_UNREADABLE")
            return
        run = Run(job, claim, sealer, emitted, admitted_ns=admitted_ns)
        finish, failure = self._verdict(job, claim)
        if failure == POISON:
            await self._queue.set_aside(job, claim.deliveries - 1, failure)
            self._count("dead_letter", job.entry)
        if finish:
            self._runs.finish_unstarted(run, finish, failure)
        elif self._adapters.undecided(job.body.adapter) or not self._runs.takes(run):
            await self._set_aside(job.entry)
        else:
            self._runs.start(run)

    async def _set_aside(self, entry: Entry) -> None:
        """Another worker may have room now, or this one soon."""
        await self._queue.hand_back([entry])
        self._look_aside_from = time.monotonic() + LOOK_SECONDS

    def _verdict(self, job: OpenedJob, claim: Claim) -> tuple[pb.Finish.ValueType, str]:
        """How it ends without being run, if it does."""
        if claim.cancelled:
            return pb.FINISH_CANCELLED, ""
        if job.deadline_ms <= self._clock() * 1000:
            return pb.FINISH_EXPIRED, ""
        if claim.deliveries > MAX_DELIVERIES:
            return pb.FINISH_FAILED, POISON
        if job.body.model != self._model:
            return pb.FINISH_FAILED, "MODEL_NOT_SERVED"
        if job.body.adapter and not self._adapters.serve(job.body.adapter, job.body.adapter_digest):
            return pb.FINISH_FAILED, "ADAPTER_NOT_SERVED"
        return pb.FINISH_UNSPECIFIED, ""

    def _count(self, reason: str, entry: Entry) -> None:
        self._runs.counters[reason] += 1
        log.warning("entry %s: %s", entry.entry_id, reason)

    def _lost(self, error: Exception) -> None:
        if not out_of_service(error):
            log.error("claiming failed: %s", type(error).__name__)
        elif self.connected:
            log.warning("the queue is away: %s", type(error).__name__)
        self.connected = False
