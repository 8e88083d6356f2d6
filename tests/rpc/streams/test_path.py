"""A job's way through Redis and back, with both halves real."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest
from strongroom.inference.v1 import inference_pb2 as pb

from streams import keys
from streams.failures import QueueFull, QueueUnavailable
from streams.gateway import JobQueue
from streams.seal import QueueKeys
from streams.worker import ClaimState

WORDS = ["one ", "two ", "three"]


async def words(reply) -> list[str]:
    return [delta.text async for delta in reply]


async def test_a_job_is_claimed_answered_and_leaves_nothing_waiting(redis_url, shared_redis, gateway, seated, make_job):
    worker = await seated(redis_url)
    async with gateway(redis_url) as queue:
        reply = await queue.submit(make_job(text="hello"))
        [job] = await worker.ready()
        claim = await worker.claim(job)
        assert (claim.state, claim.deliveries, claim.log) == (ClaimState.CLAIMED, 1, ())
        report = await worker.queue.publish([worker.advance(job, claim, WORDS, last=True)])
        assert not (report.stale or report.gaps or report.cancelled or report.orphaned)
        assert await words(reply) == WORDS
    with shared_redis.client() as redis:
        assert redis.xlen(job.entry.work) == 0
        assert redis.xpending(job.entry.work, keys.GROUP)["pending"] == 0
        assert not redis.exists(keys.OUT + "gateway-boot")
        forever = [key for key in redis.scan_iter("sr:*:r-1") if redis.ttl(key) < 0]
        assert not forever


async def test_what_the_gateway_took_is_trimmed_and_nothing_else(redis_url, shared_redis, gateway, seated, make_job):
    worker = await seated(redis_url)
    async with gateway(redis_url) as queue:
        reply = await queue.submit(make_job())
        [job] = await worker.ready()
        claim = await worker.claim(job)
        for n in range(5):
            await worker.queue.publish([worker.advance(job, claim, ["w "], first=n)])
        while reply.items < 5:
            await reply.next()
        with shared_redis.client() as redis:
            async with asyncio.timeout(5):
                while redis.xlen(keys.OUT + "gateway-boot"):
                    await asyncio.sleep(0.01)


async def test_a_job_is_added_once_however_often_it_is_submitted(redis_url, shared_redis, gateway, make_job):
    job = make_job()
    async with gateway(redis_url) as first, gateway(redis_url, "gateway-boot") as again:
        await first.submit(job)
        await again.submit(job)
    with shared_redis.client() as redis:
        assert redis.xlen(keys.work("echo", "interactive", 0)) == 1


async def test_invariant_6_a_full_class_refuses_at_once_and_says_when_to_retry(redis_url, gateway, seated, make_job):
    """Fails if `submit.lua` does not compare the length with the bound."""
    await seated(redis_url)
    async with gateway(redis_url, bound=2) as queue:
        for n in range(2):
            await queue.submit(make_job(f"r-{n}"))
        with pytest.raises(QueueFull) as caught:
            await queue.submit(make_job("r-2"))
        assert caught.value.code == "RESOURCE_EXHAUSTED"
        assert caught.value.retry_after_seconds
        await queue.submit(make_job("r-3", priority="batch"))


async def test_a_full_class_is_known_before_a_request_is_accepted(redis_url, gateway, seated, make_job):
    worker = await seated(redis_url)
    await worker.queue.announce(pb.Worker(worker_id="worker-0", model="echo"))
    async with gateway(redis_url, "g-0", bound=1) as queue:
        queue.require_room("echo", "interactive")
        await queue.submit(make_job())
    async with gateway(redis_url, bound=1) as queue:
        assert [seen.worker_id for seen in queue.workers] == ["worker-0"]
        with pytest.raises(QueueFull):
            queue.require_room("echo", "interactive")
        queue.require_room("echo", "batch")
        two = "at most 1 batch answers may wait or run, and there is no room for 2 more"
        with pytest.raises(QueueFull, match=two):  # for one there is
            queue.require_room("echo", "batch", 2)


async def test_without_redis_a_submit_fails_at_once(make_job, gateway):
    async with gateway("redis://127.0.0.1:1/0") as queue:
        assert not queue.available
        for refused in (lambda: queue.submit(make_job()), lambda: _room(queue)):
            with pytest.raises(QueueUnavailable) as caught:
                await refused()
            assert caught.value.code == "UNAVAILABLE"
            assert caught.value.retry_after_seconds


async def _room(queue) -> None:
    queue.require_room("echo", "interactive")


async def test_invariant_1_another_entry_for_a_claimed_ticket_is_refused_and_the_same_entry_is_not(
    redis_url, shared_redis, gateway, seated, make_job
):
    """Fails if `claim.lua` does not compare the entry with the one that holds the claim."""
    worker = await seated(redis_url)
    async with gateway(redis_url) as queue:
        await queue.submit(make_job())
    [job] = await worker.ready()
    first = await worker.claim(job)
    with shared_redis.client() as redis:
        [(_, fields)] = redis.xrange(job.entry.work)
        redis.xadd(job.entry.work, fields)
    [replayed] = await worker.ready()
    assert (await worker.claim(replayed)).state is ClaimState.REPLAY
    again = await worker.claim(job)
    assert again.state is ClaimState.CLAIMED
    assert again.epoch > first.epoch
    with shared_redis.client() as redis:
        assert redis.xlen(job.entry.work) == 1


async def test_invariant_1_an_ended_ticket_is_refused(redis_url, shared_redis, gateway, seated, make_job):
    """Fails if `publish.lua` does not leave the mark of an ended request."""
    worker = await seated(redis_url)
    async with gateway(redis_url) as queue:
        await queue.submit(make_job())
    with shared_redis.client() as redis:
        [(_, fields)] = redis.xrange(keys.work("echo", "interactive", 0))
    [job] = await worker.ready()
    claim = await worker.claim(job)
    await worker.queue.publish([worker.advance(job, claim, WORDS, last=True)])
    with shared_redis.client() as redis:
        redis.delete(keys.CLAIM + "r-1")  # as after the linger
        redis.xadd(job.entry.work, fields)
        assert redis.pttl(keys.ENDED + "r-1") > 120_000  # until the ticket is void
    [replayed] = await worker.ready()
    assert (await worker.claim(replayed)).state is ClaimState.REPLAY


async def test_invariant_3_nothing_of_a_prompt_or_an_answer_is_in_clear_in_redis(
    redis_url, shared_redis, gateway, seated, make_job
):
    """Fails if `seal_job` or `ItemSealer.seal` writes the plaintext."""
    worker = await seated(redis_url)
    async with gateway(redis_url) as queue:
        await queue.submit(make_job(text="canary-prompt 13800138000", tenant="canary-tenant"))
        await queue.submit(make_job("r-2", text="canary-prompt 13800138000"))
        jobs = await worker.ready()
        claims = [await worker.claim(job) for job in jobs]
        await queue.cancel("r-2")
    advances = [worker.advance(job, claim, ["canary-answer"]) for job, claim in zip(jobs, claims)]
    await worker.queue.publish(advances)
    with shared_redis.client() as redis:
        kept = b"".join(key + redis.dump(key) for key in redis.scan_iter())
        plain = repr([redis.xrange(key) for key in redis.scan_iter(_type="stream")]).encode()
    assert b"sr:tok:r-1" in kept
    for secret in (b"canary", b"13800138000"):
        assert secret not in kept
        assert secret not in plain


async def test_a_cancel_is_a_tombstone_for_work_not_claimed_and_a_word_to_whoever_runs_it(
    redis_url, gateway, seated, make_job
):
    from streams.cancels import CancelReader

    worker, cancels = await seated(redis_url), CancelReader(redis_url)
    await cancels.open()
    async with gateway(redis_url) as queue:
        await queue.submit(make_job("running"))
        [running] = await worker.ready()
        claim = await worker.claim(running)
        await queue.submit(make_job("waiting"))
        await queue.cancel("running")
        await queue.cancel("waiting")
        [waiting] = await worker.ready()
        assert (await worker.claim(waiting)).cancelled
        report = await worker.queue.publish([worker.advance(running, claim, ["word"])])
        assert report.cancelled == {"running"}
    heard = await cancels.wait()
    assert heard == ["running", "waiting"]
    await cancels.aclose()


async def test_jobs_are_read_per_class_and_never_more_than_asked(redis_url, gateway, seated, make_job):
    worker = await seated(redis_url)
    async with gateway(redis_url) as queue:
        for priority in keys.CLASSES:
            for n in range(4):
                await queue.submit(make_job(f"{priority}-{n}", priority=priority))
    entries = await worker.queue.work.read({("interactive", 0): 2, ("batch", 0): 1})
    assert [entry.request_id for entry in entries] == ["interactive-0", "interactive-1", "batch-0"]


async def test_a_restarted_worker_takes_what_its_predecessor_held(redis_url, gateway, seated, make_job):
    before = await seated(redis_url)
    async with gateway(redis_url) as queue:
        reply = await queue.submit(make_job())
        [job] = await before.ready()
        old = await before.claim(job)
        await before.queue.publish([before.advance(job, old, WORDS[:2])])
        after = await seated(redis_url, boot="boot-1")
        [taken] = after.opened(await after.queue.work.predecessors(10))
        new = await after.claim(taken)
        assert (new.deliveries, len(new.log)) == (2, 2)
        late = await before.queue.publish([before.advance(job, old, ["late"], first=2)])
        assert late.stale == {"r-1"}
        await after.queue.publish([after.advance(taken, new, WORDS[2:], first=2, last=True)])
        assert await words(reply) == WORDS


async def test_an_overdue_job_is_taken_over_and_a_renewed_one_is_not(redis_url, gateway, seated, make_job):
    first, second = await seated(redis_url), await seated(redis_url, "worker-1", "boot-1")
    async with gateway(redis_url) as queue:
        await queue.submit(make_job("kept"))
        await queue.submit(make_job("overdue"))
    jobs = {job.body.request_id: job for job in await first.ready()}
    claims = {name: await first.claim(job) for name, job in jobs.items()}
    held = [_held(job, claims[name]) for name, job in jobs.items()]
    await asyncio.sleep(0.12)
    assert await first.queue.renew(held[:1]) == set()
    taken = second.opened(await second.queue.work.overdue(100, 10))
    assert [job.body.request_id for job in taken] == ["overdue"]
    await second.claim(taken[0])
    assert await first.queue.renew(held) == {"overdue"}


async def test_what_is_handed_back_is_free_at_once_and_counts_as_no_crash(redis_url, gateway, seated, make_job):
    first, second = await seated(redis_url), await seated(redis_url, "worker-1", "boot-1")
    async with gateway(redis_url) as queue:
        await queue.submit(make_job())
    [job] = await first.ready()
    claim = await first.claim(job)
    assert await first.queue.hand_back([_held(job, claim)]) == 1
    [taken] = second.opened(await second.queue.work.overdue(60_000, 10))
    assert (await second.claim(taken)).deliveries == 1
    assert await first.queue.hand_back([_held(job, claim)]) == 0


def _held(job, claim):
    from streams.worker import Held

    return Held(request_id=job.body.request_id, epoch=claim.epoch, work=job.entry.work, entry_id=job.entry.entry_id)


async def test_a_gateway_without_a_lease_is_reported(redis_url, gateway, seated, make_job):
    worker = await seated(redis_url)
    async with gateway(redis_url) as queue:
        await queue.submit(make_job())
        [job] = await worker.ready()
        claim = await worker.claim(job)
        assert not (await worker.queue.publish([worker.advance(job, claim, ["a"])])).orphaned
    assert (await worker.queue.publish([worker.advance(job, claim, ["b"], first=1)])).orphaned == {"r-1"}


async def test_a_forged_step_frame_reaches_nobody(redis_url, shared_redis, gateway, seated, make_job):
    worker = await seated(redis_url)
    async with gateway(redis_url) as queue:
        reply = await queue.submit(make_job())
        [job] = await worker.ready()
        claim = await worker.claim(job)
        forger = type(worker)(worker.queue, QueueKeys(b"f" * 32), b"")
        forged = forger.advance(job, claim, ["forged"]).items[0]
        with shared_redis.client() as redis:
            redis.xadd(keys.OUT + "gateway-boot", {keys.FRAME_FIELD: forged})
            redis.xadd(keys.OUT + "gateway-boot", {keys.FRAME_FIELD: b"\xff\xff"})
            redis.xadd(keys.OUT + "gateway-boot", {"other": b"x"})
        await worker.queue.publish([worker.advance(job, claim, WORDS, last=True)])
        assert await words(reply) == WORDS
        queue.forget("r-1")
        assert queue.odd == {"UNKNOWN_KEY": 1, "NOT_A_FRAME": 2}


async def test_the_scripts_survive_a_forgotten_script_cache(redis_url, shared_redis, gateway, seated, make_job):
    worker = await seated(redis_url)
    async with gateway(redis_url) as queue:
        await queue.submit(make_job())
        with shared_redis.client() as redis:
            redis.script_flush()
        [job] = await worker.ready()
        assert (await worker.claim(job)).state is ClaimState.CLAIMED
    assert time.time() * 1000 < job.deadline_ms


async def test_a_cancel_that_redis_refuses_raises_nothing_and_is_told_later(redis_url, shared_redis, gateway):
    """Whoever cancels has an END to write. NOREPLICAS is what a Redis says after a failover."""
    with shared_redis.client() as admin:
        async with gateway(redis_url) as queue:
            admin.config_set("min-replicas-to-write", 1)
            try:
                await queue.cancel("r-1")
            finally:
                admin.config_set("min-replicas-to-write", 0)
            async with asyncio.timeout(5):
                while not admin.exists(keys.CANCELLED + "r-1"):
                    await asyncio.sleep(0.05)


async def test_a_burst_of_submits_is_no_outage(redis_url, gateway, make_job):
    """More at once than there are connections: they wait for one."""
    async with gateway(redis_url, bound=1000) as queue:
        await asyncio.gather(*(queue.submit(make_job(f"r-{n}")) for n in range(300)))
        assert queue.available


async def test_a_cancel_that_a_command_swallows_does_not_keep_the_gateway_from_stopping(redis_url, queue_keys):
    entered = asyncio.Event()

    class Swallowing(JobQueue):
        async def _renew_and_look(self):
            if not self.available:  # the first time
                await super()._renew_and_look()
                return
            entered.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    async with asyncio.timeout(10):
        async with Swallowing(redis_url, queue_keys, "gateway-boot"):
            await entered.wait()
