"""A full class tells when there will probably be room: measured in Redis, so for all gateways and workers together."""

from __future__ import annotations

import math

import pytest
from strongroom.inference.v1 import inference_pb2 as pb

from chassis.departures import UNKNOWN_SECONDS
from streams.failures import QueueFull

EVERY_SECONDS = 0.25  # one job ends
BOUND = 4


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Flow:
    """One worker that ends a job whenever the test says so, on the test's clock."""

    def __init__(self, queue, worker, make_job, clock: Clock) -> None:
        self.queue, self.worker, self.clock, self._make_job = queue, worker, clock, make_job
        self._named = 0

    async def submit(self) -> None:
        self._named += 1
        await self.queue.submit(self._make_job(f"r-{self._named}"))

    async def refused(self) -> float:
        with pytest.raises(QueueFull) as full:
            await self.submit()
        return full.value.retry_after_seconds

    async def passes(self, seconds: float) -> None:
        """Jobs end at a steady rate."""
        for _ in range(math.floor(seconds / EVERY_SECONDS + 1e-6)):
            [job] = await self.worker.ready(1)
            claim = await self.worker.claim(job)
            advance = self.worker.advance(job, claim, ["word"], last=True)
            for _ in range(2):  # the answer to the first was lost: it counts once
                await self.worker.queue.publish([advance])
        self.clock.now += seconds


@pytest.fixture
async def flow(redis_url, stack, gateway, seated, make_job):
    clock, worker = Clock(), await seated(redis_url)
    await worker.queue.announce(pb.Worker(worker_id="worker-0", model="echo"))
    queue = await stack.enter_async_context(gateway(redis_url, bound=BOUND, steady_clock=clock))
    made = Flow(queue, worker, make_job, clock)
    for _ in range(BOUND):
        await made.submit()
    return made


async def measured(flow: Flow) -> None:
    for _ in range(8):
        await flow.queue._keep_lease_once()
        await flow.passes(2 * EVERY_SECONDS)
        await flow.submit()
        await flow.submit()
    await flow.queue._keep_lease_once()


async def test_before_anything_is_measured_the_default_is_told(flow):
    assert await flow.refused() == UNKNOWN_SECONDS


async def test_invariant_6_what_is_told_follows_the_measured_rate_and_who_follows_it_finds_room(flow):
    """Fails if `publish.lua` does not count whose end it writes."""
    await measured(flow)
    told = [await flow.refused() for _ in range(3)]
    assert told == pytest.approx([2 * EVERY_SECONDS, 3 * EVERY_SECONDS, 4 * EVERY_SECONDS])
    began = flow.clock.now
    for seconds in told:
        await flow.passes(began + seconds - flow.clock.now)
        await flow.submit()


async def test_before_a_request_is_accepted_it_is_told_no_sooner_than_room_would_be_seen(flow):
    await measured(flow)
    with pytest.raises(QueueFull) as full:
        flow.queue.require_room("echo", "interactive")
    assert full.value.retry_after_seconds == pytest.approx(1.0)
    flow.clock.now += 0.9
    with pytest.raises(QueueFull) as full:
        flow.queue.require_room("echo", "interactive")
    assert full.value.retry_after_seconds < 1.0
    await flow.passes(full.value.retry_after_seconds)
    await flow.queue._keep_lease_once()
    flow.queue.require_room("echo", "interactive")


async def test_a_redis_that_lost_its_counts_is_no_departure(flow, shared_redis):
    await measured(flow)
    with shared_redis.client() as redis:
        redis.delete("sr:left")
    flow.clock.now += 1
    await flow.queue._keep_lease_once()
    assert await flow.refused() == pytest.approx(2 * EVERY_SECONDS)
