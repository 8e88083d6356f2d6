"""What waits in a queue, and for how long: what scaling and alerts go by."""

from __future__ import annotations

import asyncio

import pytest
from strongroom.inference.v1 import inference_pb2 as pb

from streams import keys
from streams.connection import command_client
from streams.depths import Depth, look


@pytest.fixture
async def redis(redis_url):
    client = command_client(redis_url)
    yield client
    await client.aclose()


async def test_a_job_that_runs_is_in_the_queue_but_does_not_wait(redis, redis_url, gateway, seated, make_job):
    worker = await seated(redis_url)
    work = keys.work("echo", "interactive", 0)
    async with gateway(redis_url) as queue:
        await queue.submit(make_job("r-1"))
        await queue.submit(make_job("r-2"))
        [first] = await worker.ready(1)
        await worker.claim(first)
        async with asyncio.timeout(5):
            while not (depth := (await look(redis, [[work]]))[0]).oldest_seconds:
                await asyncio.sleep(0.002)
        assert (depth.jobs, depth.waiting) == (2, 1)


async def test_jobs_without_any_worker_all_wait_and_a_stream_that_is_not_there_is_empty(
    redis, redis_url, gateway, make_job
):
    async with gateway(redis_url) as queue:
        await queue.submit(make_job("r-1"))
        found = await look(redis, list(keys.work_streams("echo", 4).values()))
    assert (found[0].jobs, found[0].waiting, found[2]) == (1, 1, Depth())


async def test_a_model_whose_workers_are_gone_is_still_looked_at(redis_url, shared_redis, gateway, seated, make_job):
    """Else nobody would see the queue that grows because they are gone."""
    worker = await seated(redis_url)
    await worker.queue.announce(pb.Worker(worker_id="worker-0", model="echo"))
    async with gateway(redis_url) as queue:
        await queue.submit(make_job("r-1"))
        with shared_redis.client() as client:
            client.delete(keys.WORKERS)
        async with asyncio.timeout(5):
            while queue.workers or not queue.depth("echo", "interactive").jobs:
                await asyncio.sleep(0.05)
        assert queue.models == ("echo",)
