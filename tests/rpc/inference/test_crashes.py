"""kill -9 in the middle of an answer: what the gateway receives equals the undisturbed answer exactly."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest
from strongroom.inference.v1 import inference_pb2 as pb

from streams import keys

# Every word different, so that one doubled, lost or altered shows. At 40 a second this takes three seconds.
QUESTION = " ".join(f"w{n}" for n in range(120))
# Of a worker that is not to end before another process is up: fifteen seconds, of which a busy machine takes a few.
SLOW_STEPS = 8


async def some(reply, words: int) -> str:
    """At least so many more of the answer's words."""
    text = ""
    while len(text.split()) < words:
        deltas = await reply.next()
        assert deltas, "the answer ended"
        text += "".join([delta.text for delta in deltas])
    return text


async def rest(reply) -> str:
    return "".join([delta.text async for delta in reply])


async def both(replies, words: int) -> list[str]:
    return [await some(reply, words) for reply in replies]


@pytest.fixture
def ask(make_job):
    async def asked(queue, count: int) -> list:
        """Each of a tenant of its own, so in several buckets."""
        jobs = [make_job(f"r-{n}", f"{n} {QUESTION}", tenant=f"tenant-{n}") for n in range(count)]
        return [await queue.submit(job) for job in jobs]

    return asked


async def test_invariant_8_another_worker_goes_on_where_a_killed_one_stopped(
    redis_url, shared_redis, gateway, worker_process, ask
):
    """Fails if `Intake._begin` gives the engine no emitted tokens, or `publish.lua` forgets the token log."""
    doomed = worker_process(redis_url, 0, max_steps_per_second=SLOW_STEPS, lease_seconds=1)
    doomed.await_ready()
    async with gateway(redis_url) as queue:
        replies = await ask(queue, 3)
        seen = await both(replies, 5)
        survivor = worker_process(redis_url, 1, max_steps_per_second=400, lease_seconds=1)
        await asyncio.to_thread(survivor.await_ready)
        doomed.send(signal.SIGKILL)
        assert not any(reply.complete for reply in replies)
        answers = [text + await rest(reply) for text, reply in zip(seen, replies)]
    assert answers == [f"{n} {QUESTION}" for n in range(3)]
    assert [reply.odd for reply in replies] == [{}, {}, {}]
    with shared_redis.client() as redis:
        assert not any(map(redis.xlen, keys.work_streams("echo", keys.BUCKETS)["interactive"]))


async def test_invariant_8_a_restarted_worker_goes_on_with_its_own_work(redis_url, gateway, worker_process, ask):
    """Fails if `Intake._connect` does not ask for its predecessor's entries before a lease is over."""
    process = worker_process(redis_url, 0, max_steps_per_second=40, lease_seconds=600)
    await asyncio.to_thread(process.await_ready)
    async with gateway(redis_url) as queue:
        replies = await ask(queue, 2)
        seen = await both(replies, 20)
        process.send(signal.SIGKILL)
        process.wait()
        process.start()
        answers = [text + await rest(reply) for text, reply in zip(seen, replies)]
    assert answers == [f"{n} {QUESTION}" for n in range(2)]


async def test_invariant_8_a_stopped_worker_that_wakes_up_adds_nothing(redis_url, gateway, worker_process, ask):
    """SIGSTOP is the worst death: it comes back and still believes. Fails if `publish.lua` does not fence."""
    sleeper = worker_process(redis_url, 0, max_steps_per_second=SLOW_STEPS, lease_seconds=1)
    sleeper.await_ready()
    async with gateway(redis_url) as queue:
        asked = time.monotonic()
        [reply] = await ask(queue, 1)
        seen = await some(reply, 5)
        survivor = worker_process(redis_url, 1, max_steps_per_second=40, lease_seconds=1)
        await asyncio.to_thread(survivor.await_ready)
        sleeper.send(signal.SIGSTOP)
        most = int(SLOW_STEPS * (time.monotonic() - asked)) + 1  # words that the stopped one can have made
        seen += await some(reply, most + 5 - len(seen.split()))
        sleeper.send(signal.SIGCONT)
        answer = seen + await rest(reply)
        assert answer == f"0 {QUESTION}"
        assert reply.odd == {}
    sleeper.send(signal.SIGTERM)
    assert await asyncio.to_thread(sleeper.wait) == 0
    assert "stale" in sleeper.log or "lease_lost" in sleeper.log


@pytest.mark.parametrize("after_words", [2, 60])
async def test_invariant_8_redis_killed_and_restarted_changes_nothing(
    own_redis, gateway, worker_process, ask, after_words
):
    """Just after the claim, when Redis may forget it, and long after. Fails if `Publisher` takes an item for written
    when the token log is shorter, or if `JobQueue` puts nothing back."""
    process = worker_process(own_redis.url, 0, max_steps_per_second=40, lease_seconds=2)
    await asyncio.to_thread(process.await_ready)
    async with gateway(own_redis.url) as queue:
        replies = await ask(queue, 3)
        seen = await both(replies, after_words)
        own_redis.kill()
        while queue.available:
            await asyncio.sleep(0.01)
        own_redis.start()
        answers = [text + await rest(reply) for text, reply in zip(seen, replies)]
    assert answers == [f"{n} {QUESTION}" for n in range(3)]
    process.send(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait) == 0


async def test_invariant_8_a_redis_that_lost_its_last_items_gets_the_same_ones_again(
    own_redis, gateway, worker_process, ask
):
    """Fails if `Publisher._apply` takes what came back as a gap for written; with this lease nobody else helps."""
    process = worker_process(own_redis.url, 0, max_steps_per_second=40, lease_seconds=600)
    await asyncio.to_thread(process.await_ready)
    async with gateway(own_redis.url) as queue:
        replies = await ask(queue, 2)
        seen = await both(replies, 10)
        whole = own_redis.log_length()
        more = await both(replies, 30)
        own_redis.kill(keep=whole)
        own_redis.start()
        answers = [first + then + await rest(reply) for first, then, reply in zip(seen, more, replies)]
        assert all(reply.odd["REPEATED"] >= 3 for reply in replies)
        assert queue.odd["ADDED_AGAIN"] == 0
    assert answers == [f"{n} {QUESTION}" for n in range(2)]


@pytest.mark.parametrize("lost", ["claim", "job"])
async def test_invariant_8_a_redis_that_lost_claim_or_job_is_given_what_the_gateway_saw(
    own_redis, gateway, worker_process, ask, lost
):
    """Fails if `submit.lua` does not put the token log back: the worker would start over, from other random numbers
    perhaps."""
    async with gateway(own_redis.url) as queue:
        whole = own_redis.log_length()
        replies = await ask(queue, 2)
        if lost == "claim":
            whole = own_redis.log_length()
        process = worker_process(own_redis.url, 0, max_steps_per_second=40, lease_seconds=1)
        seen = await both(replies, 40)
        own_redis.kill(keep=whole)
        own_redis.start()
        answers = [first + await rest(reply) for first, reply in zip(seen, replies)]
        assert queue.odd["ADDED_AGAIN"] == (2 if lost == "job" else 0)
        if lost == "job":  # it came back together with its token log, so nothing was made twice
            assert [reply.odd["REPEATED"] for reply in replies] == [0, 0]
    assert answers == [f"{n} {QUESTION}" for n in range(2)]
    assert process.log.count("dropped") == 2


async def test_a_redis_that_lost_everything_gets_the_jobs_back(own_redis, gateway, worker_process, ask):
    process = worker_process(own_redis.url, 0, max_steps_per_second=40, lease_seconds=1)
    await asyncio.to_thread(process.await_ready)
    async with gateway(own_redis.url) as queue:
        replies = await ask(queue, 2)
        seen = await both(replies, 20)
        with own_redis.client() as redis:
            redis.flushall()
        own_redis.kill()
        own_redis.start()
        answers = [text + await rest(reply) for text, reply in zip(seen, replies)]
        assert queue.odd["ADDED_AGAIN"] == 2
    assert answers == [f"{n} {QUESTION}" for n in range(2)]


async def test_sigterm_hands_back_what_does_not_end_in_time(redis_url, gateway, worker_process, ask):
    leaving = worker_process(redis_url, 0, max_steps_per_second=SLOW_STEPS, lease_seconds=60, drain_seconds=0)
    leaving.await_ready()
    async with gateway(redis_url) as queue:
        [reply] = await ask(queue, 1)
        seen = await some(reply, 5)
        staying = worker_process(redis_url, 1, max_steps_per_second=400, lease_seconds=60)
        await asyncio.to_thread(staying.await_ready)
        leaving.send(signal.SIGTERM)
        assert not reply.complete
        assert await asyncio.to_thread(leaving.wait) == 0
        assert seen + await rest(reply) == f"0 {QUESTION}"


async def test_a_request_whose_gateway_is_gone_ends(redis_url, shared_redis, gateway, worker, make_job):
    from services.inference.worker import publisher

    job = make_job(text=QUESTION, gateway="another-boot")
    async with gateway(redis_url) as queue:
        await queue.submit(job)
    clock = iter(range(0, 10_000, 3))  # each look at the clock is three seconds later
    async with worker(redis_url, steps_per_second=40) as running:
        running._publisher._clock = lambda: float(next(clock))
        async with asyncio.timeout(5):
            while not running.runs.counters["ended_failed"] or len(running.runs):
                await asyncio.sleep(0.01)
    with shared_redis.client() as redis:
        [*_, (_, fields)] = redis.xrange(keys.OUT + "another-boot")
        [item] = pb.StepFrame.FromString(fields[keys.FRAME_FIELD]).items[-1:]
        assert item.request_id == "r-1"
        assert 0 < redis.pttl(keys.OUT + "another-boot") <= 60_000
        assert redis.exists(keys.ENDED + "r-1")
    assert publisher.ORPHAN_SECONDS == 10.0
