"""Any order of claims, publishes, repeated calls, lost tails and reads gives the gateway the one answer."""

from __future__ import annotations

from dataclasses import dataclass, field

import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strongroom.inference.v1 import inference_pb2 as pb

from streams import keys
from streams.reply import Reply
from streams.worker import Claim, ClaimState

WORDS = [f"word-{n} " for n in range(12)]

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("claim"), st.integers(0, 2)),
        st.tuples(st.just("publish"), st.integers(0, 2), st.integers(1, 3)),
        st.tuples(st.just("repeat"), st.integers(0, 2), st.integers(1, 3)),
        st.tuples(st.just("lose")),
        st.tuples(st.just("read")),
    ),
    max_size=30,
)


@dataclass
class History:
    """One request, three seats, and what the test knows must be true of it."""

    redis: redis.asyncio.Redis
    seats: list
    job: object
    reply: Reply
    claims: dict[int, Claim] = field(default_factory=dict)
    next: dict[int, int] = field(default_factory=dict)
    epochs: list[int] = field(default_factory=list)
    written: list[tuple[bytes, int]] = field(default_factory=list)  # frame's entry, length of the token log before
    ended: bool = False

    @property
    def out(self) -> str:
        return keys.OUT + self.job.body.gateway_boot_id

    async def claim(self, seat: int) -> None:
        entry = self.job.entry
        await self.redis.xclaim(entry.work, keys.GROUP, f"worker-{seat}", 0, [entry.entry_id])
        claim = await self.seats[seat].claim(self.job)
        assert (claim.state is ClaimState.CLAIMED) != self.ended
        if claim.state is ClaimState.CLAIMED:
            assert all(claim.epoch > earlier for earlier in self.epochs)
            self.epochs.append(claim.epoch)
            self.claims[seat], self.next[seat] = claim, len(claim.log)

    async def publish(self, seat: int, count: int, times: int = 1) -> None:
        if seat not in self.claims:
            return
        first = self.next[seat]
        part = WORDS[first : first + count]
        last = first + len(part) == len(WORDS)
        if not part:
            return
        advance = self.seats[seat].advance(self.job, self.claims[seat], part, first=first, last=last)
        for _ in range(times):
            length, frames = await self._lengths()
            report = await self.seats[seat].queue.publish([advance])
            newest = self.claims[seat].epoch == self.epochs[-1]
            assert bool(report.stale) != newest
            if report.stale:
                assert (length, frames) == await self._lengths(), "a fenced worker wrote"
                del self.claims[seat]
                return
            if report.gaps:
                self.next[seat] = report.gaps["r-1"]
                return
            if (await self._lengths())[1] > frames:
                [(entry, _)] = await self.redis.xrevrange(self.out, count=1)
                self.written.append((entry, length))
        self.next[seat] = first + len(part)
        self.ended = self.ended or last

    async def lose(self) -> None:
        """What a killed Redis does: the last call is as if it had never been, in the log and in the stream."""
        if self.ended or not self.written:
            return
        entry, length = self.written.pop()
        await self.redis.xdel(self.out, entry)
        await self.redis.ltrim(keys.TOKENS + "r-1", 0, length - 1) if length else await self.redis.delete(
            keys.TOKENS + "r-1"
        )

    async def read(self) -> None:
        for entry, fields in await self.redis.xrange(self.out):
            for item in pb.StepFrame.FromString(fields[keys.FRAME_FIELD]).items:
                self.reply.feed(item)
            await self.redis.xdel(self.out, entry)

    async def _lengths(self) -> tuple[int, int]:
        return await self.redis.llen(keys.TOKENS + "r-1"), await self.redis.xlen(self.out)


@given(STEPS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_invariant_8_no_text_is_doubled_lost_or_altered(
    redis_url, shared_redis, seated, gateway, make_job, queue_keys, steps
):
    """Fails if `publish.lua` does not compare the epoch, or writes items below the length of the token log again."""
    with shared_redis.client() as client:
        client.flushall()
    seats = [await seated(redis_url, f"worker-{n}", f"boot-{n}") for n in range(3)]
    async with gateway(redis_url) as queue:
        await queue.submit(make_job(gateway="watched"))
    [job] = await seats[0].ready()
    async with redis.asyncio.Redis.from_url(redis_url, protocol=2) as client:
        history = History(client, seats, job, Reply(queue_keys, "r-1"))
        for name, *arguments in steps:
            if name == "repeat":
                await history.publish(*arguments, times=2)
            else:
                await getattr(history, name)(*arguments)
        while not history.ended:
            await history.claim(0)
            await history.publish(0, len(WORDS))
        await history.read()
        assert [delta.text async for delta in history.reply] == WORDS
