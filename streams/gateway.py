"""The gateway's half: submits jobs, cancels them, and hands each request the items of its answer.

Three tasks, owned by `JobQueue.running`: the reader of this boot's reply stream, which after every time that Redis was
away puts back what a restarted Redis may have lost; the keeper of its lease, which also trims what was read; and the
submitter.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError
from redis.exceptions import RedisError
from strongroom.inference.v1.inference_pb2 import Cancel, Job, StepFrame, Worker

from chassis.essential import essential
from streams import keys, scripts
from streams.additions import Waiting, addition, by_class
from streams.connection import BLOCK_MS, blocking_client, command_client, out_of_service
from streams.depths import Depth
from streams.failures import QueueUnavailable
from streams.jobs import SealedJob, seal_job
from streams.reply import Reply
from streams.seal import QueueKeys
from streams.served import LOOK_EVERY_SECONDS, Served

log = logging.getLogger(__name__)

LEASE_MS = 5_000
OUT_KEPT_MS = 60_000  # a dead gateway's reply stream
CANCEL_KEPT_MS = 600_000  # a tombstone outlives any deadline that the gateway grants
CANCELS_KEPT = 10_000  # entries, about
FRAMES_A_READ = 256
RETRY_SECONDS = (0.05, 0.1, 0.2, 0.5)


@dataclass(slots=True)
class _Live:
    job: SealedJob
    reply: Reply


class JobQueue:
    """One gateway boot's side of the queue, open while it is entered. Owned by one event loop."""

    def __init__(
        self,
        url: str,
        queue_keys: QueueKeys,
        boot_id: str,
        *,
        bound: int = 1024,
        clock: Callable[[], float] = time.time,
        steady_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`bound`: jobs that may wait or run in one class of one model, its buckets together."""
        self._redis, self._reading = command_client(url), blocking_client(url)
        self._keys, self._boot, self._bound = queue_keys, boot_id, bound
        self._clock = clock
        self._served = Served(bound, steady_clock)
        self._live: dict[str, _Live] = {}
        self._owed_cancels: deque[str] = deque(maxlen=CANCELS_KEPT)
        self._unsubmitted: list[Waiting] = []
        self._submitted = asyncio.Event()
        self._last_entry = "0-0"
        self._available = False
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []  # while open
        self.odd: Counter[str] = Counter()  # what arrived and was not delivered, by reason

    @property
    def available(self) -> bool:
        """Whether Redis answered last time."""
        return self._available

    @property
    def workers(self) -> tuple[Worker, ...]:
        """Workers seen within the last seconds; empty while Redis is away."""
        return self._served.workers if self._available else ()

    def require_room(self, model: str, priority: str, jobs: int = 1) -> None:
        """Before a request of so many jobs is accepted: raises QueueUnavailable or QueueFull, from what is known to
        within a second."""
        if not self._available:
            raise QueueUnavailable
        self._served.require_room(model, priority, jobs)

    @property
    def models(self) -> tuple[str, ...]:
        """Models that workers have served, also those that none does now."""
        return self._served.models

    def depth(self, model: str, priority: str) -> Depth:
        """As of the last second that Redis answered."""
        return self._served.depth(model, priority)

    async def submit(self, job: Job) -> Reply:
        """Adds the job and returns its reply. Raises QueueUnavailable or QueueFull: then nobody will run it. If the
        caller goes away in here, `cancel` it. However the request ends, `forget` it."""
        sealed = seal_job(self._keys, job, self._served.buckets)
        if not self._available:
            raise QueueUnavailable
        reply = Reply(self._keys, sealed.request_id)
        self._live[sealed.request_id] = _Live(sealed, reply)
        added: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._unsubmitted.append((sealed, added))
        self._submitted.set()
        try:
            answer = await added
        except Exception as error:
            self._live.pop(sealed.request_id, None)
            if not out_of_service(error):
                raise
            self._owed_cancels.append(sealed.request_id)  # Redis may have taken it before it went
            self._lost_redis(error)
            raise QueueUnavailable from None
        if answer[0] == b"full":
            self._live.pop(sealed.request_id, None)
            raise self._served.full(sealed.model, sealed.priority, *answer[1:])
        return reply

    def forget(self, request_id: str) -> None:
        """Nobody waits for the reply any more. Call it however the request ended."""
        live = self._live.pop(request_id, None)
        if live is not None and live.reply.odd:
            self.odd.update(live.reply.odd)

    async def cancel(self, request_id: str) -> None:
        """Tells whoever runs the request, or will claim it, to stop; as soon as Redis is there to be told."""
        message = Cancel(request_id=request_id).SerializeToString()
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(keys.CANCELLED + request_id, 1, px=CANCEL_KEPT_MS)
        pipe.xadd(keys.CANCELS, {keys.CANCEL_FIELD: message}, maxlen=CANCELS_KEPT, approximate=True)
        try:
            await pipe.execute()
        except Exception as error:
            # Never raised: whoever cancels has an END to write, which must not depend on Redis.
            self._owed_cancels.append(request_id)
            if out_of_service(error):
                self._lost_redis(error)
            else:
                log.error("a cancel was refused: %s", type(error).__name__)

    async def __aenter__(self) -> JobQueue:
        """Reads replies and keeps the lease while open. Redis may be away at the start."""
        await self._keep_lease_once()
        works = {"reply reader": self._read(), "gateway lease": self._keep_lease(), "submitter": self._submit_waiting()}
        self._tasks = [essential(asyncio.create_task(work, name=name)) for name, work in works.items()]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping = True
        for task in self._tasks[1:]:
            task.cancel()
        self._submitted.set()
        await self._wake_reader()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._leave()

    async def _wake_reader(self) -> None:
        """The reader is never cancelled inside a read: an empty frame ends its wait."""
        try:
            await self._redis.xadd(keys.OUT + self._boot, {keys.FRAME_FIELD: b""})
        except Exception as error:
            log.info("the reader ends by itself: %s", type(error).__name__)

    async def _leave(self) -> None:
        try:
            await self._redis.delete(keys.GATEWAY + self._boot, keys.OUT + self._boot)
        except Exception as error:
            log.warning("could not give the lease back: %s", type(error).__name__)
        await self._redis.aclose()
        await self._reading.aclose()

    async def _submit_waiting(self) -> None:
        """One round trip for all jobs that wait; a lone one goes alone."""
        while not self._stopping:
            await self._submitted.wait()
            self._submitted.clear()
            waiting = [(job, added) for job, added in self._unsubmitted if not added.done()]  # nobody left meanwhile
            self._unsubmitted.clear()
            calls = list(by_class(waiting))
            try:
                answers = await scripts.submit.run_each(
                    self._redis, [self._addition([job for job, _ in call], self._bound) for call in calls]
                )
            except Exception as error:
                for _, added in waiting:
                    if not added.done():
                        added.set_exception(error)
                continue
            for call, answered in zip(calls, answers, strict=True):
                for (_, added), answer in zip(call, answered, strict=True):
                    if not added.done():
                        added.set_result(answer)

    # The reader

    async def _read(self) -> None:
        failures = 0
        while not self._stopping:
            try:
                entries = await self._read_on()
            except (RedisError, OSError) as error:
                self._lost_redis(error)
                await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
                failures += 1
                continue
            for entry_id, fields in entries:
                self._take(fields)
                self._last_entry = entry_id.decode()
            failures = 0
            if not self._available and not entries:  # what Redis still had is taken; now what it may have lost
                await self._found_redis()

    async def _read_on(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        # A reader that has to find out whether Redis is back must not wait for an item to tell.
        block = BLOCK_MS if self._available else None
        streams = await self._reading.xread({keys.OUT + self._boot: self._last_entry}, FRAMES_A_READ, block)
        return streams[0][1] if streams else []

    def _take(self, fields: dict[bytes, bytes]) -> None:
        try:
            frame = StepFrame.FromString(fields[keys.FRAME_FIELD])
        except (DecodeError, KeyError):
            self.odd["NOT_A_FRAME"] += 1
            return
        for item in frame.items:
            live = self._live.get(item.request_id)
            if live is None:
                self.odd["NOBODY_WAITS"] += 1
            else:
                live.reply.feed(item)

    def _lost_redis(self, error: Exception) -> None:
        if self._available:
            log.warning("the queue is away: %s", type(error).__name__)
        self._available = False

    async def _found_redis(self) -> None:
        """Redis is back, and may have lost its last second: what this gateway still waits for is put back."""
        await self._keep_lease_once()
        for live in list(self._live.values()):
            if live.reply.complete or not self._available:
                continue
            try:
                addition = self._addition([live.job], 0, live.reply.token_log())
                [answer] = await scripts.submit.run(self._redis, *addition)
            except (RedisError, OSError) as error:
                self._lost_redis(error)
                return
            if answer[0] == b"added":
                self.odd["ADDED_AGAIN"] += 1
        for request_id in [self._owed_cancels.popleft() for _ in range(len(self._owed_cancels))]:
            await self.cancel(request_id)
        log.info("the queue is back; %d requests wait for answers", len(self._live))

    # The lease

    async def _keep_lease(self) -> None:
        while not self._stopping:  # a cancel inside a command may end that alone
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            if self._available:  # else the reader finds out when Redis is back, and renews at once
                await self._keep_lease_once()

    async def _keep_lease_once(self) -> None:
        try:
            await self._renew_and_look()
            self._available = True
        except Exception as error:
            if not out_of_service(error):
                log.error("keeping the lease failed: %s", type(error).__name__)
            self._lost_redis(error)

    async def _renew_and_look(self) -> None:
        alive_since = int(self._clock() * 1000) - LEASE_MS
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(keys.GATEWAY + self._boot, 1, px=LEASE_MS)
        pipe.pexpire(keys.OUT + self._boot, OUT_KEPT_MS)
        # Exactly what was taken, never by length.
        milliseconds, sequence = self._last_entry.split("-")
        pipe.xtrim(keys.OUT + self._boot, minid=f"{milliseconds}-{int(sequence) + 1}", approximate=False)
        pipe.zrangebyscore(keys.WORKERS, alive_since, "+inf")
        *_, seats = await pipe.execute()
        await self._served.look(self._redis, seats)

    def _addition(self, jobs: Sequence[SealedJob], bound: int, token_log: Sequence[bytes] = ()) -> scripts.Call:
        return addition(self._served.streams(jobs[0].model, jobs[0].priority), jobs, bound, token_log)
