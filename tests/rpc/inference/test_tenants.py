"""One tenant's flood does not keep another's jobs waiting: a worker's slots are shared by tokens."""

from __future__ import annotations

import asyncio

import pytest

from services.inference.engine.echo import EchoEngine
from services.inference.engine.protocol import Work
from services.inference.worker.deficit_round_robin import QUANTUM
from streams import keys
from streams.jobs import seal_job
from streams.worker import WorkQueue

HEAVY, LIGHT = 900, 100  # tokens that a job may take; echo takes as many as its prompt has words


class Watched(EchoEngine):
    """Notes what it was given, in order."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots=slots)
        self.given: list[str] = []

    def admit(self, work: Work) -> None:
        self.given.append(work.request_id)
        super().admit(work)


async def buckets_known(queue) -> None:
    """A gateway spreads tenants once it has seen how many buckets the workers read."""
    async with asyncio.timeout(20):
        while not queue.workers:
            await asyncio.sleep(0.01)


@pytest.fixture
def tenants(queue_keys) -> tuple[str, str]:
    """Two that have no bucket in common."""
    buckets = {queue_keys.bucket(name, keys.BUCKETS): name for name in map(str, range(20))}
    return tuple(buckets.values())[:2]


async def test_one_job_of_a_tenant_is_claimed_after_a_few_of_the_hundreds_that_another_flooded_in(
    redis_url, gateway, worker, make_job, tenants
):
    """Fails if `DeficitRoundRobin.next` goes on with one bucket while it has jobs, or `seal_job` uses one bucket."""
    flooding, other = tenants
    engine = Watched(slots=2)
    async with worker(redis_url, engine=engine, slots=2, steps_per_second=50), gateway(redis_url) as queue:
        await buckets_known(queue)
        flood = [make_job(f"flood-{n}", "one two three", tenant=flooding, max_tokens=HEAVY) for n in range(300)]
        await asyncio.gather(*map(queue.submit, flood))
        reply = await queue.submit(make_job("other", "one two", tenant=other, max_tokens=HEAVY))
        before = len(engine.given)
        async with asyncio.timeout(60):
            assert "".join([delta.text async for delta in reply]) == "one two"
        # Those looked at before it came, and one turn's worth of tokens; each slot may have had one on its way.
        assert engine.given.index("other") - before <= 5
        assert len(engine.given) < 100


async def test_two_tenants_whose_jobs_differ_get_the_same_number_of_tokens_not_of_jobs(
    redis_url, gateway, worker, make_job, tenants
):
    """Fails if `told_cost` tells the same of every job."""
    cost = {"heavy": HEAVY, "light": LIGHT}
    engine = Watched(slots=1)
    async with gateway(redis_url) as queue:
        async with worker(redis_url, slots=1):
            await buckets_known(queue)
        for tenant, (name, tokens) in zip(tenants, cost.items()):
            jobs = [make_job(f"{name}-{n}", "one", tenant=tenant, max_tokens=tokens) for n in range(100)]
            await asyncio.gather(*map(queue.submit, jobs))
        async with worker(redis_url, slots=1, engine=engine):
            async with asyncio.timeout(60):
                while len(engine.given) < 90:
                    await asyncio.sleep(0.01)
    spent = {"heavy": 0, "light": 0}
    for request in engine.given[:90]:
        spent[request.partition("-")[0]] += cost[request.partition("-")[0]]
        assert abs(spent["heavy"] - spent["light"]) <= QUANTUM + HEAVY, engine.given


async def test_invariant_6_jobs_that_come_to_many_buckets_at_once_are_claimed_as_there_is_room(
    redis_url, shared_redis, worker, make_job, queue_keys
):
    """Fails if `Intake._wait` returns all that it was given."""
    claims: list[int] = []

    class LooksTooEarly(WorkQueue):
        """What it looks at is empty; the jobs come before it waits."""

        def __init__(self, *where, **settings) -> None:
            super().__init__(*where, **settings)
            self.work.heads = nothing

        async def claim(self, jobs):
            claims.append(len(jobs))
            return await super().claim(jobs)

    async def nothing(among, depth):
        return {}

    with shared_redis.client() as redis:
        for n in range(12):
            job = seal_job(queue_keys, make_job(f"r-{n}", "one", tenant=str(n)), lambda model: keys.BUCKETS)
            entry = {"id": job.request_id, "k": job.key_id, "job": job.sealed, "deadline": job.deadline_ms}
            redis.xadd(job.work, entry)
    async with worker(redis_url, slots=2, claiming=LooksTooEarly) as running, asyncio.timeout(60):
        while running.runs.counters["ended_stop"] < 12:
            await asyncio.sleep(0.01)
    assert sum(claims) == 12 and max(claims) <= 2
