"""Invariant 9 by number: whoever leaves, however and whenever, stops what was computed for them.

The gateway is real to the wire, so are Redis and the worker; guard and audit answer when the test lets them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from strongroom.audit.v1 import audit_pb2
from strongroom.gateway.v1 import gateway_pb2 as pb

from services.gateway.queue_client import QueueClient
from services.inference.engine.echo import EchoEngine
from services.inference.pacing import PacedEngine
from services.inference.worker.worker import Seat, Worker
from streams.cancels import CancelReader
from streams.gateway import JobQueue
from streams.keys import WORKER
from streams.seal import QueueKeys
from streams.worker import WorkQueue

WITHIN_SECONDS = 0.1  # the invariant's
STEPS_PER_SECOND = 50
TRIES = 5  # a busy machine may be late once; a way that is always late is a defect
CANCELLED, EXPIRED = audit_pb2.END_STATE_CANCELLED, audit_pb2.END_STATE_EXPIRED
STAGES = ("queued", "prefill", "decode", "filter", "audit away")
WAYS = ("cancel", "disconnect", "deadline")


class WatchedEngine(EchoEngine):
    """Remembers when each step began and whom it held. A prompt takes as many steps as it has chunks."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.steps: list[tuple[float, frozenset[str]]] = []
        self.chunk_words = 100_000
        self._chunks: dict[str, int] = {}

    def step(self) -> Any:
        self.steps.append((time.time(), self.live()))
        prefilling = {name: self._live.pop(name) for name in self.live() if self._prefills(name)}
        outputs = super().step()
        self._live.update(prefilling)
        return outputs

    def _prefills(self, name: str) -> bool:
        self._chunks.setdefault(name, self._live[name].input_tokens // self.chunk_words)
        self._chunks[name] -= 1
        return self._chunks[name] > 0

    def held(self, name: str, after: float = 0.0) -> int:
        return sum(name in live for began, live in self.steps if began > after)


@dataclass
class Path:
    """A door, its worker, and what a test does at them."""

    door: Any
    engine: WatchedEngine
    worker: Worker
    until: Any
    calls: list[Any] = field(default_factory=list)

    async def ask(self, seconds: float = 60.0) -> tuple[Any, str]:
        """More words than a test waits for: 80 s of steps."""
        message = pb.Message(role="user", content="word " * 4000)
        prompt = pb.Prompt(messages=[message], sampling=pb.Sampling(max_tokens=5000))
        request = pb.StreamGenerateRequest(prompt=prompt)
        call = self.door.stub.StreamGenerate(request, metadata=self.door.key(), timeout=seconds)
        self.calls.append(call)
        return call, (await call.read()).started.request_id

    async def reach(self, stage: str, seconds: float) -> tuple[Any, str]:
        """A request that stands there."""
        if stage == "queued":  # its only slot is taken, and stays so
            _, mate = await self.ask()
            await self.until(lambda: self.engine.held(mate))
            return await self.ask(seconds)
        if stage == "filter":
            self.door.guard.filters.clear()
        self.engine.chunk_words = 10 if stage == "prefill" else 100_000
        call, request = await self.ask(seconds)
        if stage == "prefill":
            await self.until(lambda: self.engine.held(request) > 2)
        if stage == "decode":
            assert (await call.read()).delta.text
        if stage == "filter":
            await self.until(lambda: any(item.filter.request_id == request for item in self.door.guard.items))
        if stage == "audit away":
            await call.read()
            self.door.audit.durable.clear()
            before = len(self.door.audit.entries)
            await self.until(lambda: len(self.door.audit.entries) > before)
        return call, request

    def runs(self, request: str) -> bool:
        run = self.worker.runs.get(request)
        return run is not None and not run.ended

    def end_of(self, request: str) -> Any:
        return next((i.end for i in self.door.audit.entries if i.record_id == request and i.HasField("end")), None)


@pytest.fixture
async def path(
    redis_url: str, shared_redis: Any, queue_key: bytes, ticket_key: bytes, door_with: Any, until: Any
) -> AsyncIterator[Path]:
    keys, engine = QueueKeys(queue_key), WatchedEngine(slots=1, model_name="tiny", context_tokens=20_000)
    paced, work = PacedEngine(engine, STEPS_PER_SECOND), WorkQueue(redis_url, "tiny", "worker-0", "boot-0")
    seat, cancels = Seat(worker_id="worker-0", boot_id="boot-0"), CancelReader(redis_url)
    streams = JobQueue(redis_url, keys, "boot-1")
    async with Worker(seat, paced, work, cancels, keys, ticket_key).running() as worker:
        with shared_redis.client() as redis:  # who looks before a worker is there looks again a second later
            await until(lambda: redis.exists(f"{WORKER}worker-0"))
        async with streams:
            queue = QueueClient(streams, "boot-1")
            await until(lambda: queue.models() or None)
            async with door_with(queue) as door:
                path = Path(door, engine, worker, until)
                yield path
                for call in path.calls:
                    call.cancel()
                door.guard.filters.set()
                door.audit.durable.set()


async def leave(path: Path, way: str, call: Any, request: str, deadline: float) -> float:
    """When the caller left, by the wall clock."""
    if way == "deadline":
        await asyncio.sleep(max(deadline - time.time(), 0))
        return deadline
    left = time.time()
    if way == "cancel":
        assert (await path.door.stub.Cancel(pb.CancelRequest(request_id=request), metadata=path.door.key())).cancelled
    else:
        call.cancel()
    return left


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stage", STAGES)
async def test_invariant_9_no_step_that_starts_100_ms_after_the_caller_left_holds_the_request(
    path: Path, stage: str, way: str
) -> None:
    """Fails if `Life._close` does not cancel in the queue, or the worker only looks for tombstones."""
    late: list[int] = []
    for _ in range(TRIES):
        late.append(await steps_too_late(path, stage, way))
        if not late[-1]:
            return
    raise AssertionError(f"steps that began more than {WITHIN_SECONDS} s late: {late}")


async def steps_too_late(path: Path, stage: str, way: str) -> int:
    """How many steps held a request that long after its caller had left. Its record ends as it should in any case."""
    seconds = 2.0 if way == "deadline" else 60.0
    deadline = time.time() + seconds
    call, request = await path.reach(stage, seconds)
    left = await leave(path, way, call, request, deadline)
    await path.until(lambda: not path.runs(request), 20)
    await asyncio.sleep(3 / STEPS_PER_SECOND)
    late = path.engine.held(request, after=left + WITHIN_SECONDS)
    path.door.guard.filters.set()
    path.door.audit.durable.set()
    for each in path.calls:
        each.cancel()
    await path.until(lambda: path.end_of(request) is not None, 20)
    assert path.end_of(request).state == (EXPIRED if way == "deadline" else CANCELLED)
    if stage == "queued":
        assert not path.engine.held(request), "its input was never the model's"
    return late
