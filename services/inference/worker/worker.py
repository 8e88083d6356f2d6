"""The worker: its tasks, its word to the gateways, and its orderly end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strongroom.inference.v1 import inference_pb2 as pb

from chassis.essential import essential
from services.inference.engine.adapters import AdapterInfo
from services.inference.engine.protocol import Engine, ModelInfo
from services.inference.worker.adapters import Acts, Adapters
from services.inference.worker.demand import Demand
from services.inference.worker.intake import Intake
from services.inference.worker.observer import Observer
from services.inference.worker.prefix_scope import TENANT
from services.inference.worker.publisher import Publisher
from services.inference.worker.runs import Runs
from services.inference.worker.tally import TELL_SECONDS, Audit
from streams.cancels import CancelReader
from streams.connection import out_of_service
from streams.seal import QueueKeys
from streams.worker import WorkQueue

log = logging.getLogger(__name__)

ANNOUNCE_SECONDS = 1.0
DEMAND_SECONDS = 0.5
TAKEOVER_SECONDS = 0.5  # how soon what was handed back goes on
RETRY_SECONDS = 0.25
FLUSH_SECONDS = 2.0  # on the way out, for what is made and not yet published


@dataclass(frozen=True, kw_only=True)
class Seat:
    """Who this worker is and how it holds on to its work."""

    worker_id: str
    boot_id: str
    lease_seconds: float = 5.0
    stall_seconds: float = 30.0  # an engine that steps no more loses its leases, so that others go on


class Worker:
    """Owned by one event loop; `running` must be open."""

    def __init__(
        self,
        seat: Seat,
        engine: Engine,
        queue: WorkQueue,
        cancels: CancelReader,
        queue_keys: QueueKeys,
        ticket_key: bytes,
        *,
        home: Path = Path(),
        clock: Callable[[], float] = time.time,
        observer: Observer | None = None,
        acts: Acts | None = None,
        audit: Audit | None = None,
        prefix_scope: str = TENANT,
    ) -> None:
        self._seat, self._model, self._engine_name = seat, engine.model, engine.name
        self._queue, self._cancels, self._clock, self._audit = queue, cancels, clock, audit
        self.runs = Runs(engine, clock=clock, observer=observer, prefix_scope=prefix_scope)
        self.demand, self.adapters = Demand(), Adapters(engine, self.runs, home, seat.worker_id, acts)
        self._publisher = Publisher(queue, self.runs)
        self._intake = Intake(
            queue, self.runs, queue_keys, ticket_key, self._model.name, self.adapters,
            lease_ms=int(seat.lease_seconds * 1000), before_claiming=cancels.open, clock=clock,
        )  # fmt: skip
        self._draining = False
        self._stopping = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def model(self) -> ModelInfo:
        return self._model

    @property
    def engine_name(self) -> str:
        return self._engine_name

    @property
    def engine_died(self) -> asyncio.Event:
        """Then drain without patience and end the process: what it held goes on elsewhere."""
        return self.runs.engine_died

    @property
    def not_ready(self) -> str:
        """Why no work is taken; empty when it is."""
        if self.engine_died.is_set():
            return "the engine died"
        if self._draining:
            return "draining"
        if self.stalled:
            return "the engine does not step"
        return "" if self._intake.connected else "the queue is away"

    @property
    def stalled(self) -> bool:
        beat = self.runs.engine.heartbeat()
        since = time.monotonic_ns() - beat.last_ns
        return not beat.alive or (beat.busy and since > self._seat.stall_seconds * 1e9)

    def describe(self) -> pb.Worker:
        model = self._model
        worker = pb.Worker(
            worker_id=self._seat.worker_id,
            boot_id=self._seat.boot_id,
            model=model.name,
            engine=self._engine_name,
            attention=f"{model.attention} ({model.attention_reason})",
            context_tokens=model.context_tokens,
            slots=self.runs.slots,
            running=self.runs.running,
            dtype=model.dtype,
            template_digest=bytes.fromhex(model.template_digest),
            adapters=map(as_adapter, self.adapters.loaded),
            vocabulary_tokens=model.vocabulary,
            lacks=model.lacks,
            engine_version=model.version,
            tenant_buckets=self._queue.work.buckets,
            quantization=model.quantization,
            quantization_loss=model.quantization_loss,
            provenance=self.runs.provenance,
        )
        worker.seen_time.FromMilliseconds(int(self._clock() * 1000))
        return worker

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Worker]:
        """Claims and publishes while open; what still runs at the end is handed back."""
        self.runs.open()
        await self.adapters.restore()
        self._spawn("publisher", self._publisher.run())
        self._spawn("intake", self._intake.run())
        self._spawn("leases", self._repeat(self._keep_leases, self._seat.lease_seconds / 3))
        self._spawn("takeover", self._repeat(self._intake.take_over, TAKEOVER_SECONDS))
        self._spawn("announcement", self._repeat(self._announce, ANNOUNCE_SECONDS))
        self._spawn("demand", self._repeat(self._look_for_demand, DEMAND_SECONDS))
        self._spawn("cancels", self._hear_cancels())
        if self._audit:
            self._spawn("tally", self._repeat(self._tell_counts, TELL_SECONDS))
        try:
            yield self
        finally:
            await self.drain(0)
            await self._tell_counts()
            self._stopping.set()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            await self.runs.aclose()
            await self._queue.aclose()
            await self._cancels.aclose()

    async def drain(self, grace_seconds: float) -> int:
        """Claims no more; after the grace hands back what still runs, and says how much that was. Call it again
        with less patience at any time."""
        self._draining = True
        self._intake.stop()
        await self._quietly(self._queue.leave)
        await asyncio.gather(self._tasks["intake"], return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                while len(self.runs):
                    self.runs.room_changed.clear()
                    await self.runs.room_changed.wait()
        return await self._hand_back()

    async def _hand_back(self) -> int:
        """Publishes what is made, then lets go: whoever claims next goes on right after it."""
        if self._publisher.stopped:
            return 0
        ours = [run for run in self.runs if not run.ended]
        for run in ours:
            self.runs.engine.cancel(run.request_id)
        self._publisher.stop()
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await asyncio.gather(self._tasks["publisher"], return_exceptions=True)
        except TimeoutError:
            log.warning("the queue is away: unpublished steps will be made again by another worker")
        held = [run.held for run in ours if self.runs.get(run.request_id) is run]
        if held:
            await self._quietly(lambda: self._queue.hand_back(held))
        for run in self.runs:
            self.runs.drop(run, "handed_back")
        return len(held)

    # Tasks

    def _spawn(self, name: str, task: Coroutine[Any, Any, None]) -> None:
        self._tasks[name] = essential(asyncio.create_task(task, name=name))

    async def _repeat(self, action: Callable[[], Coroutine[Any, Any, None]], every_seconds: float) -> None:
        while not self._stopping.is_set():
            await self._quietly(action)
            with suppress(TimeoutError):
                async with asyncio.timeout(every_seconds):
                    await self._stopping.wait()

    async def _quietly(self, action: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Redis being away is told by publisher and intake; this goes on when it is back."""
        try:
            await action()
        except Exception as error:
            if not out_of_service(error):
                log.error("%s failed: %s", getattr(action, "__name__", "call"), type(error).__name__)

    async def _keep_leases(self) -> None:
        if self.stalled:
            return
        held = [run.held for run in self.runs]
        lost = await self._queue.renew(held) if held else set()
        for job in held:
            run = self.runs.get(job.request_id)
            # An ended one that is gone was published meanwhile.
            if run and not run.ended and run.claim.epoch == job.epoch and job.request_id in lost:
                self.runs.drop(run, "lease_lost")

    async def _announce(self) -> None:
        if not (self._draining or self.stalled):
            await self._queue.announce(self.describe())

    async def _look_for_demand(self) -> None:
        depths = await self._queue.work.depths()
        self._intake.note(depths)
        self.demand.sample(self.runs.running, self.runs.slots, depths)

    async def _tell_counts(self) -> None:
        if self._audit:
            await self.runs.tally.tell(self._audit)

    async def _hear_cancels(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._cancels.open()
                cancelled = await self._cancels.wait()
            except Exception as error:
                if not out_of_service(error):
                    log.error("hearing cancels failed: %s", type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            for request_id in cancelled:
                self.runs.cancel(request_id)


def as_adapter(info: AdapterInfo) -> pb.Adapter:
    return pb.Adapter(name=info.name, digest=bytes.fromhex(info.digest), rank=info.rank, layers=info.layers)
