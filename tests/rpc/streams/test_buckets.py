"""The tenants of a class are spread over several streams, which are one queue to everybody else."""

from __future__ import annotations

import asyncio

import pytest
from strongroom.inference.v1 import inference_pb2 as pb

from streams import keys
from streams.additions import JOBS_A_CALL
from streams.depths import Depth
from streams.failures import QueueFull
from streams.jobs import UNKNOWN_COST, seal_job
from streams.worker import ClaimState, Held

BUCKETS = 8


@pytest.fixture
def tenant_of(queue_keys):
    """`tenant_of(bucket)`: a tenant whose jobs wait there."""

    def named(bucket: int, buckets: int = BUCKETS) -> str:
        return next(name for name in map(str, range(1000)) if queue_keys.bucket(name, buckets) == bucket)

    return named


@pytest.fixture
async def spread(redis_url, stack, gateway, seated):
    """`await spread(*numbers of buckets)`: a gateway that sees workers which read so many."""

    async def running(*read: int, **settings):
        for n, buckets in enumerate(read):
            worker = pb.Worker(worker_id=f"seen-{n}", model="echo", tenant_buckets=buckets)
            await (await seated(redis_url, f"seen-{n}", buckets=max(buckets, 1))).queue.announce(worker)
        return await stack.enter_async_context(gateway(redis_url, **settings))

    return running


def lengths(redis, buckets: int = BUCKETS) -> list[int]:
    return [redis.xlen(stream) for stream in keys.work_streams("echo", buckets)["interactive"]]


async def test_a_tenants_jobs_wait_in_one_bucket_and_another_tenants_in_another(
    shared_redis, spread, make_job, tenant_of
):
    queue = await spread(BUCKETS)
    for n in range(6):
        await queue.submit(make_job(f"r-{n}", tenant=tenant_of(2 if n % 3 else 5)))
    with shared_redis.client() as redis:
        assert lengths(redis) == [0, 0, 4, 0, 0, 2, 0, 0]


@pytest.mark.parametrize(("read", "used"), [((BUCKETS,), BUCKETS), ((BUCKETS, 4), 4), ((BUCKETS, 0), 1)])
async def test_gateways_use_no_bucket_that_one_of_the_workers_does_not_read(
    shared_redis, spread, make_job, tenant_of, read, used
):
    """A worker from before there were buckets tells 0 and reads the first. Fails if `Served` takes the most."""
    queue = await spread(*read)
    for bucket in range(BUCKETS):
        await queue.submit(make_job(f"r-{bucket}", tenant=tenant_of(bucket)))
    with shared_redis.client() as redis:
        assert sum(lengths(redis, used)) == BUCKETS


async def test_invariant_6_the_bound_bounds_a_class_whatever_buckets_its_jobs_wait_in(
    spread, seated, redis_url, make_job, tenant_of
):
    """Fails if `submit.lua` compares the length of one stream with the bound."""
    queue = await spread(BUCKETS, bound=4)
    for bucket in range(4):
        await queue.submit(make_job(f"r-{bucket}", tenant=tenant_of(bucket)))
    with pytest.raises(QueueFull):
        await queue.submit(make_job("r-4", tenant=tenant_of(4)))
    await queue.submit(make_job("other", tenant=tenant_of(4), priority="batch"))
    worker = await seated(redis_url, buckets=BUCKETS)
    taken = await worker.ready(1)
    claim = await worker.claim(taken[0])
    await worker.queue.publish([worker.advance(taken[0], claim, ["word"], last=True)])
    await queue.submit(make_job("r-5", tenant=tenant_of(4)))


async def test_invariant_6_the_bound_holds_for_jobs_that_wait_to_be_added_together(
    shared_redis, spread, make_job, tenant_of
):
    """Fails if `submit.lua` does not count the jobs that it has added itself."""
    queue = await spread(BUCKETS, bound=4)
    jobs = [make_job(f"r-{n}", tenant=tenant_of(n % BUCKETS)) for n in range(BUCKETS + 1)]
    jobs.append(make_job("other", tenant=tenant_of(0), priority="batch"))
    answers = await asyncio.gather(*map(queue.submit, jobs), return_exceptions=True)
    assert [isinstance(answer, QueueFull) for answer in answers] == [False] * 4 + [True] * (BUCKETS - 3) + [False]
    with shared_redis.client() as redis:
        assert lengths(redis) == [1] * 4 + [0] * 4


async def test_of_jobs_that_are_added_together_each_gets_the_answer_to_itself(
    shared_redis, spread, make_job, tenant_of
):
    """More than one call takes; one of them is in already. Fails if `by_class` mixes up classes or leaves a job out."""
    queue = await spread(BUCKETS, bound=1000)
    await queue.submit(make_job("r-0", tenant=tenant_of(0)))
    jobs = [make_job(f"r-{n}", tenant=tenant_of(n % BUCKETS)) for n in range(2 * JOBS_A_CALL)]
    other = [make_job(f"batch-{n}", tenant=tenant_of(1), priority="batch") for n in range(3)]
    replies = await asyncio.gather(*map(queue.submit, [*other, *jobs]))
    assert [reply.request_id for reply in replies] == [f"batch-{n}" for n in range(3)] + [
        f"r-{n}" for n in range(2 * JOBS_A_CALL)
    ]
    with shared_redis.client() as redis:
        assert lengths(redis) == [2 * JOBS_A_CALL // BUCKETS] * BUCKETS
        assert redis.xlen(keys.work("echo", "batch", 1)) == 3


async def test_how_full_a_class_is_counts_all_its_buckets(redis_url, spread, seated, make_job, tenant_of):
    """Fails if `look.lua` answers for one stream of a group."""
    queue = await spread(BUCKETS)
    for bucket in (1, 3, 6):
        await queue.submit(make_job(f"r-{bucket}", tenant=tenant_of(bucket)))
    worker = await seated(redis_url, buckets=BUCKETS)
    places = {("interactive", 1): 1, ("interactive", 3): 1}
    [first, second] = worker.opened(await worker.queue.work.read(places))
    await worker.queue.publish([worker.advance(first, await worker.claim(first), ["word"], last=True)])
    await worker.claim(second)
    async with asyncio.timeout(10):
        while (depth := queue.depth("echo", "interactive")).left == 0 or not depth.oldest_seconds:
            await asyncio.sleep(0.05)
    assert (depth.jobs, depth.waiting, depth.left) == (2, 1, 1)
    assert queue.depth("echo", "batch") == Depth()


async def test_what_waits_is_told_by_bucket_with_its_cost(redis_url, shared_redis, spread, seated, make_job, tenant_of):
    """Fails if `submit.lua` leaves the cost out, or `heads.lua` tells jobs that somebody was given."""
    queue, worker = await spread(BUCKETS), await seated(redis_url, buckets=BUCKETS)
    for n in range(3):
        await queue.submit(make_job(f"r-{n}", "x" * 400, max_tokens=50 + n, tenant=tenant_of(6)))
    await queue.submit(make_job("light", "x" * 4, max_tokens=1, tenant=tenant_of(1)))
    with shared_redis.client() as redis:  # as an older gateway, and as somebody who may write to Redis
        redis.xadd(keys.work("echo", "batch", 0), {"id": "old"})
        redis.xadd(keys.work("echo", "batch", 0), {"id": "odd", "cost": "-9"})
        redis.xadd(keys.work("echo", "batch", 0), {"id": "odd", "cost": "9" * 30})
    streams = worker.queue.work
    assert await streams.heads(keys.CLASSES, 3) == {
        "interactive": {1: [2], 6: [150, 151, 152]},
        "batch": {0: [UNKNOWN_COST] * 3},
    }
    [given] = await streams.read({("interactive", 6): 1})
    assert (streams.bucket(given), given.cost) == (("interactive", 6), 150)
    assert await streams.heads(["interactive"], 1) == {"interactive": {1: [2], 6: [151]}}


async def test_invariant_8_what_a_dead_worker_held_in_any_bucket_goes_on_and_no_bucket_is_passed_over(
    redis_url, spread, seated, make_job, tenant_of
):
    """Fails if `overdue` begins at the first bucket every time, or `overdue.lua` looks at one stream."""
    queue, dead = await spread(BUCKETS), await seated(redis_url, "dead", buckets=BUCKETS)
    for n in range(3):
        for bucket in (0, 3, 7):
            await queue.submit(make_job(f"{bucket}-{n}", tenant=tenant_of(bucket)))
    for job in await dead.ready():
        await dead.claim(job)
    worker = await seated(redis_url, buckets=BUCKETS)
    await asyncio.sleep(0.06)
    order = []
    for _ in range(9):
        [job] = worker.opened(await worker.queue.work.overdue(50, 1))
        assert (await worker.claim(job)).state is ClaimState.CLAIMED
        order.append(job.body.request_id)
        held = Held(request_id=order[-1], epoch=0, work=job.entry.work, entry_id=job.entry.entry_id)
        await worker.queue.renew([held])
    assert order == ["0-0", "3-0", "7-0", "0-1", "3-1", "7-1", "0-2", "3-2", "7-2"]


async def test_an_entry_that_was_deleted_while_somebody_held_it_is_counted(
    redis_url, shared_redis, spread, seated, make_job, tenant_of
):
    queue, dead = await spread(BUCKETS), await seated(redis_url, "dead", buckets=BUCKETS)
    for n in range(2):
        await queue.submit(make_job(f"r-{n}", tenant=tenant_of(5)))
    [first, _] = await dead.ready()
    with shared_redis.client() as redis:
        redis.xdel(first.entry.work, first.entry.entry_id)
    worker = await seated(redis_url, buckets=BUCKETS)
    found = worker.opened(await worker.queue.work.overdue(0, 10))
    assert [job.body.request_id for job in found] == ["r-1"]
    assert worker.queue.work.vanished == 1


async def test_a_restarted_worker_takes_what_its_predecessor_held_in_all_buckets(
    redis_url, spread, seated, make_job, tenant_of
):
    queue, before = await spread(BUCKETS), await seated(redis_url, buckets=BUCKETS)
    for bucket in (0, 4, 7):
        await queue.submit(make_job(f"r-{bucket}", tenant=tenant_of(bucket)))
    await before.ready()
    after = await seated(redis_url, boot="boot-1", buckets=BUCKETS)
    assert [entry.request_id for entry in await after.queue.work.predecessors(2)] == ["r-0", "r-4"]
    assert [entry.request_id for entry in await after.queue.work.predecessors(10)] == ["r-0", "r-4", "r-7"]


async def test_jobs_of_a_time_with_more_buckets_are_still_read(redis_url, spread, seated, make_job, tenant_of):
    """Fails if `open` makes only as many streams as are set."""
    queue = await spread(BUCKETS)
    await queue.submit(make_job("r-1", tenant=tenant_of(6), priority="batch"))
    worker = await seated(redis_url, "worker-0", buckets=2)
    assert [job.body.request_id for job in await worker.ready()] == ["r-1"]


async def test_jobs_of_a_time_without_buckets_are_still_read(
    redis_url, shared_redis, seated, make_job, queue_keys, tenant_of
):
    """The stream of then is the first bucket's."""
    sealed = seal_job(queue_keys, make_job("old", tenant=tenant_of(6)))
    with shared_redis.client() as redis:
        entry = {"id": sealed.request_id, "k": sealed.key_id, "job": sealed.sealed, "deadline": sealed.deadline_ms}
        redis.xadd("sr:work:echo:interactive:0", entry)
    worker = await seated(redis_url, buckets=BUCKETS)
    [job] = await worker.ready()
    assert (await worker.claim(job)).state is ClaimState.CLAIMED
