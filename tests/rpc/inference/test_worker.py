"""One worker with the echo engine: what it runs, what it refuses, and how it ends."""

from __future__ import annotations

import asyncio

import pytest
from strongroom.inference.v1 import inference_pb2 as pb

from services.inference.engine.echo import EchoEngine
from streams import keys
from streams.items import ItemSealer
from streams.jobs import seal_job
from streams.seal import QueueKeys
from streams.worker import WorkQueue

QUESTION = "one two three four five six"


async def text(reply) -> str:
    return "".join([delta.text async for delta in reply])


async def deltas(reply) -> list[pb.StepDelta]:
    return [delta async for delta in reply]


async def test_a_question_is_answered_with_counts_and_an_end(redis_url, gateway, worker, make_job):
    async with worker(redis_url), gateway(redis_url) as queue:
        answer = await deltas(await queue.submit(make_job(text=QUESTION)))
    assert "".join(delta.text for delta in answer) == QUESTION
    assert answer[0].HasField("admit_time")
    assert not any(delta.finish for delta in answer[:-1])
    last = answer[-1]
    assert (last.finish, last.input_tokens, last.output_tokens) == (pb.FINISH_STOP, 6, 6)


async def test_many_requests_of_every_class_are_answered_each_with_its_own(redis_url, gateway, worker, make_job):
    async with worker(redis_url), gateway(redis_url) as queue:
        asked = {}
        for n in range(60):
            job = make_job(f"r-{n}", f"{n} is my number", priority=keys.CLASSES[n % 3])
            asked[n] = await queue.submit(job)
        for n, reply in asked.items():
            assert await text(reply) == f"{n} is my number"


async def test_max_tokens_end_an_answer(redis_url, gateway, worker, make_job):
    async with worker(redis_url), gateway(redis_url) as queue:
        answer = await deltas(await queue.submit(make_job(text=QUESTION, max_tokens=2)))
    assert "".join(delta.text for delta in answer) == "one two"
    assert answer[-1].finish == pb.FINISH_LENGTH


async def test_a_prompt_that_does_not_fit_fails_with_its_length(redis_url, gateway, worker, make_job):
    async with worker(redis_url), gateway(redis_url) as queue:
        [last] = await deltas(await queue.submit(make_job(text="word " * 9000)))
    assert (last.finish, last.failure, last.input_tokens) == (pb.FINISH_FAILED, "PROMPT_TOO_LONG", 9001)


@pytest.mark.parametrize(
    ("more", "failure"),
    [({"adapter": "a"}, "ADAPTER_NOT_SERVED"), ({"max_tokens": 0}, "IMPOSSIBLE_SAMPLING")],
)
async def test_what_cannot_be_served_fails_by_name(redis_url, gateway, worker, make_job, more, failure):
    async with worker(redis_url), gateway(redis_url) as queue:
        [last] = await deltas(await queue.submit(make_job(**more)))
    assert (last.finish, last.failure) == (pb.FINISH_FAILED, failure)


def refused(running) -> dict[str, int]:
    return {name: count for name, count in running.runs.counters.items() if name.startswith("refused")}


async def test_invariant_1_forged_expired_and_replayed_jobs_never_reach_the_engine(
    redis_url, shared_redis, gateway, worker, make_job, queue_keys
):
    """Fails if `open_job` does not call `check_ticket`, or `claim.lua` does not refuse a second entry."""
    async with worker(redis_url) as running, gateway(redis_url) as queue:
        assert await text(await queue.submit(make_job("good", "fine"))) == "fine"
        steps = running.runs.engine.load().steps
        with shared_redis.client() as redis:
            for job, sealing in (
                (make_job("forged", key=b"f" * 32), queue_keys),
                (make_job("expired", expires_in=-1), queue_keys),
                (make_job("unsealable"), QueueKeys(b"s" * 32)),
                (make_job("good", "fine"), queue_keys),
            ):
                sealed = seal_job(sealing, job)
                entry = {"id": sealed.request_id, "k": sealed.key_id, "job": sealed.sealed, "deadline": 0}
                redis.xadd(sealed.work, entry)
            redis.xadd(sealed.work, {"id": "empty"})
            async with asyncio.timeout(10):  # Redis drops an entry a moment before its worker counts it
                while len(counted := refused(running)) < 5 or redis.xlen(sealed.work):
                    await asyncio.sleep(0.01)
        assert counted == {
            "refused_ticket_forged": 1,
            "refused_ticket_expired": 1,
            "refused_unknown_key": 1,
            "refused_replay": 1,
            "refused_not_a_job": 1,
        }
        assert running.runs.engine.load().steps == steps


class Watched(EchoEngine):
    """Remembers who was in each step."""

    def __init__(self, **settings: int) -> None:
        super().__init__(**settings)
        self.steps: list[frozenset[str]] = []

    def step(self):
        self.steps.append(self.live())
        return super().step()


async def test_invariant_9_a_cancelled_request_is_in_no_later_step(redis_url, gateway, worker, make_job):
    """Fails if `Runs._stop` does not cancel in the engine. Four steps a second: at most the one under way has it."""
    engine = Watched()
    async with worker(redis_url, engine=engine, steps_per_second=4), gateway(redis_url) as queue:
        reply, mate = [await queue.submit(make_job(name, "word " * 500)) for name in ("gone", "mate")]
        await reply.next()
        await queue.cancel("gone")
        before = len(engine.steps)
        assert (await deltas(reply))[-1].finish == pb.FINISH_CANCELLED
        seen = mate.items
        while mate.items < seen + 3:
            await mate.next()
    assert sum("gone" in step for step in engine.steps[before:]) <= 1


async def test_a_cancel_is_heard_from_the_stream_alone(redis_url, shared_redis, gateway, worker, make_job):
    async with worker(redis_url, steps_per_second=50), gateway(redis_url) as queue:
        reply = await queue.submit(make_job(text="word " * 500))
        await reply.next()
        with shared_redis.client() as redis:
            redis.xadd(keys.CANCELS, {keys.CANCEL_FIELD: b"\xff"})
            redis.xadd(keys.CANCELS, {keys.CANCEL_FIELD: pb.Cancel(request_id="r-1").SerializeToString()})
        assert (await deltas(reply))[-1].finish == pb.FINISH_CANCELLED


async def test_a_cancel_that_the_stream_lost_is_found_as_a_tombstone(
    redis_url, shared_redis, gateway, worker, make_job
):
    async with worker(redis_url, steps_per_second=50), gateway(redis_url) as queue:
        reply = await queue.submit(make_job(text="word " * 500))
        await reply.next()
        with shared_redis.client() as redis:
            redis.set(keys.CANCELLED + "r-1", 1)
        assert (await deltas(reply))[-1].finish == pb.FINISH_CANCELLED


async def test_a_tombstone_is_found_also_while_a_prompt_makes_nothing_to_publish(
    redis_url, shared_redis, gateway, worker, make_job
):
    """Fails if the publisher waits without limit while it holds nothing."""

    class Prefilling(Watched):
        def step(self):
            self.steps.append(self.live())
            return []

    engine = Prefilling()
    async with worker(redis_url, engine=engine, steps_per_second=50), gateway(redis_url) as queue:
        reply = await queue.submit(make_job())
        async with asyncio.timeout(10):
            while not engine.steps:
                await asyncio.sleep(0.005)
            with shared_redis.client() as redis:
                redis.set(keys.CANCELLED + "r-1", 1)
            [last] = await deltas(reply)
    assert last.finish == pb.FINISH_CANCELLED


async def test_invariant_9_a_cancel_that_is_heard_before_the_claims_answer_keeps_the_request_out(
    redis_url, gateway, worker, make_job
):
    """Fails if `Runs.cancel` forgets what it does not hold: the claim was made before the tombstone."""
    claimed, answered = asyncio.Event(), asyncio.Event()

    class SlowToAnswer(WorkQueue):
        async def claim(self, jobs):
            claims = await super().claim(jobs)
            claimed.set()
            await answered.wait()
            return claims

    engine = Watched()
    async with worker(redis_url, engine=engine, claiming=SlowToAnswer) as running, gateway(redis_url) as queue:
        reply = await queue.submit(make_job("gone", "word " * 500))
        await claimed.wait()
        await queue.cancel("gone")
        async with asyncio.timeout(10):
            while "gone" not in running.runs._unwanted:
                await asyncio.sleep(0.005)
        answered.set()
        [last] = await deltas(reply)
    assert last.finish == pb.FINISH_CANCELLED
    assert not any("gone" in step for step in engine.steps)


async def test_invariant_9_a_request_ends_at_its_deadline(redis_url, gateway, worker, make_job):
    """Fails if `Runs._hold` sets no timer."""
    async with worker(redis_url, steps_per_second=50) as running, gateway(redis_url) as queue:
        reply = await queue.submit(make_job(text="word " * 500, deadline_in=2.0))
        late = await queue.submit(make_job("r-2", deadline_in=-1))
        assert (await deltas(late))[-1].finish == pb.FINISH_EXPIRED
        answer = await deltas(reply)
        assert answer[-1].finish == pb.FINISH_EXPIRED
        assert 1 < len(answer) < 400
        async with asyncio.timeout(10):  # its end reaches us a moment before the worker knows that it is written
            while len(running.runs):
                await asyncio.sleep(0.01)


async def test_invariant_6_a_worker_claims_only_what_its_engine_can_take(
    redis_url, shared_redis, gateway, worker, make_job
):
    """Fails if `Intake._claim_next` asks for more than `Runs.room`."""
    async with worker(redis_url, slots=3, steps_per_second=20) as running, gateway(redis_url) as queue:
        replies = [await queue.submit(make_job(f"r-{n}", QUESTION)) for n in range(12)]
        while not running.runs.running:
            await asyncio.sleep(0.005)
        with shared_redis.client() as redis:
            streams = keys.work_streams("echo", keys.BUCKETS)["interactive"]
            pending = [redis.xpending(stream, keys.GROUP)["pending"] for stream in streams]
        assert 0 < sum(pending) <= 3
        assert running.runs.running <= 3
        assert [await text(reply) for reply in replies] == [QUESTION] * 12


def put_in(redis, job, queue_keys, number: int, waited_seconds: float) -> None:
    """As if it had been submitted that long ago, by Redis' own clock."""
    sealed = seal_job(queue_keys, job)
    seconds, micros = redis.time()
    entry = {"id": sealed.request_id, "k": sealed.key_id, "job": sealed.sealed, "deadline": sealed.deadline_ms}
    redis.xadd(sealed.work, entry, id=f"{int((seconds - waited_seconds) * 1000) + micros // 1000}-{number + 1}")


@pytest.mark.parametrize(("waited", "of_the_first_twelve"), [(0, 1), (600, 6)])
async def test_a_class_whose_oldest_job_has_waited_long_rises(
    redis_url, shared_redis, worker, make_job, queue_keys, waited, of_the_first_twelve
):
    """Fails if `Intake.note` keeps nothing."""
    engine = Watched(slots=1)
    with shared_redis.client() as redis:
        for n in range(12):
            put_in(redis, make_job(f"batch-{n}", "one", priority="batch"), queue_keys, n, waited)
            put_in(redis, make_job(f"interactive-{n}", "one"), queue_keys, n, 0)
    async with worker(redis_url, engine=engine, slots=1) as running:
        async with asyncio.timeout(20):
            while running.runs.counters["ended_stop"] < 24:
                await asyncio.sleep(0.01)
    order = [name for step in engine.steps for name in step]
    assert order[0] == "interactive-0"
    assert sum(name.startswith("batch") for name in order[:12]) == of_the_first_twelve


async def test_a_job_of_the_least_urgent_class_is_not_kept_waiting_by_a_flood_of_the_others(
    redis_url, gateway, worker, make_job
):
    """Two workers of one slot each; fails if `Turns.share` gives every turn to the most urgent class that is busy."""
    async with (
        gateway(redis_url) as queue,
        worker(redis_url, slots=1, steps_per_second=100) as first,
        worker(redis_url, seat="worker-1", slots=1, steps_per_second=100) as second,
    ):
        flood = [await queue.submit(make_job(f"r-{n}", QUESTION)) for n in range(60)]
        assert await text(await queue.submit(make_job("patient", QUESTION, priority="batch"))) == QUESTION
        served = sum(each.runs.counters["ended_stop"] for each in (first, second))
        assert served < 40
        assert not flood[-1].complete


async def test_a_job_that_killed_two_workers_ends_as_poison_and_leaves_a_letter_without_content(
    redis_url, shared_redis, gateway, worker, make_job
):
    """Fails if `MAX_DELIVERIES` is 3."""
    work = keys.work("echo", "interactive", 0)
    async with gateway(redis_url) as queue:
        reply = await queue.submit(make_job())
        with shared_redis.client() as redis:
            redis.xgroup_create(work, keys.GROUP, id="0", mkstream=True)
            redis.xreadgroup(keys.GROUP, "dead", {work: ">"})
            [[_, [(entry, _)]]] = redis.xreadgroup(keys.GROUP, "dead", {work: "0"})  # as the seat's next process would
            redis.xclaim(work, keys.GROUP, "dead", 0, [entry], idle=60_000, justid=True)
        async with worker(redis_url) as running:
            [last] = await deltas(reply)
            assert running.runs.counters["dead_letter"] == 1
    assert (last.finish, last.failure) == (pb.FINISH_FAILED, "POISON")
    with shared_redis.client() as redis:
        [(_, letter)] = redis.xrevrange(keys.DEAD, count=1)
    told = {b"id": b"r-1", b"work": work.encode(), b"reason": b"POISON", b"deliveries": b"2", b"worker": b"worker-0"}
    assert letter == told


async def test_a_token_log_that_does_not_open_ends_the_request(
    redis_url, shared_redis, gateway, worker, make_job, queue_keys
):
    async with gateway(redis_url) as queue:
        reply = await queue.submit(make_job())
        before = ItemSealer(queue_keys, "r-1", epoch=1).seal(0, pb.StepDelta(token_ids=[0], text="one"))
        reply.feed(pb.StepFrame.FromString(before).items[0])
        with shared_redis.client() as redis:
            redis.rpush(keys.TOKENS + "r-1", b"garbage")
        async with worker(redis_url):
            [_, last] = await deltas(reply)
    assert (last.finish, last.failure) == (pb.FINISH_FAILED, "TOKEN_LOG_UNREADABLE")


async def test_a_draining_worker_takes_no_work_and_hands_back_what_runs(redis_url, gateway, worker, make_job):
    question = "word " * 200
    async with gateway(redis_url) as queue, worker(redis_url, steps_per_second=50) as first:
        reply = await queue.submit(make_job(text=question))
        await reply.next()
        async with worker(redis_url, seat="worker-1", lease_seconds=60, steps_per_second=500):
            assert await first.drain(0) == 1
            assert first.not_ready == "draining"
            assert first.describe().running == 0
            seen = [delta.text for delta in await reply.next()]
            rest = [delta.text async for delta in reply]
    assert reply.odd == {}
    assert question.endswith("".join(seen + rest))


async def test_a_drain_waits_for_what_runs(redis_url, gateway, worker, make_job):
    async with gateway(redis_url) as queue, worker(redis_url, steps_per_second=50) as running:
        reply = await queue.submit(make_job(text=QUESTION))
        first = await reply.next()
        assert await running.drain(10) == 0
        assert "".join([delta.text for delta in first] + [delta.text async for delta in reply]) == QUESTION


async def test_a_worker_says_what_it_serves_and_takes_it_back(redis_url, gateway, worker):
    async with worker(redis_url, slots=5) as running:
        async with asyncio.timeout(5), gateway(redis_url) as queue:
            while not queue.workers:
                await queue._keep_lease_once()
            [seen] = queue.workers
        assert (seen.worker_id, seen.model, seen.engine, seen.slots) == ("worker-0", "echo", "echo", 5)
        assert seen.boot_id == running.describe().boot_id
    async with gateway(redis_url) as queue:
        assert not queue.workers


async def test_invariant_3_a_whole_answer_leaves_nothing_in_clear(redis_url, shared_redis, gateway, worker, make_job):
    """Fails if `Run._seal` or the announcement writes text to Redis."""
    async with worker(redis_url, steps_per_second=200), gateway(redis_url) as queue:
        reply = await queue.submit(make_job(text="canary " * 50))
        await reply.next()
        with shared_redis.client() as redis:
            kept = b"".join(key + redis.dump(key) for key in redis.scan_iter())
        await text(reply)
        with shared_redis.client() as redis:
            kept += b"".join(key + redis.dump(key) for key in redis.scan_iter())
    assert keys.TOKENS.encode() in kept
    assert b"canary" not in kept
