"""An engine that dies while its worker lives: what it held goes on elsewhere, and the worker takes no more."""

from __future__ import annotations

import asyncio

from services.inference.engine.echo import EchoEngine
from services.inference.engine.protocol import EngineDied

QUESTION = " ".join(f"w{n}" for n in range(60))


class MortalEcho(EchoEngine):
    """Dies in the step after so many."""

    def __init__(self, steps: int) -> None:
        super().__init__(slots=4)
        self._left = steps

    def step(self):
        self._left -= 1
        if self._left < 0:
            raise EngineDied
        return super().step()


async def test_invariant_8_what_a_dead_engine_held_goes_on_with_another_worker(redis_url, gateway, worker, make_job):
    """Fails if the loop tells a dead engine's requests that they failed, or `drain` does not hand back what is held: a
    lease is an hour here."""
    async with (
        gateway(redis_url) as queue,
        worker(redis_url, engine=MortalEcho(20), lease_seconds=3600) as dying,
    ):
        reply = await queue.submit(make_job(text=QUESTION))
        async with asyncio.timeout(60):
            await dying.engine_died.wait()
        assert dying.not_ready == "the engine died"
        async with worker(redis_url, seat="worker-1", lease_seconds=3600):
            await dying.drain(0)
            async with asyncio.timeout(60):
                assert "".join([delta.text async for delta in reply]) == QUESTION
        assert reply.odd == {}


async def test_a_worker_whose_engine_died_claims_nothing(redis_url, gateway, worker, make_job):
    async with worker(redis_url, engine=MortalEcho(0)) as dying, gateway(redis_url) as queue:
        await queue.submit(make_job("first", text="one two"))
        async with asyncio.timeout(60):
            await dying.engine_died.wait()
        await dying.drain(0)
        assert len(dying.runs) == 0
        second = await queue.submit(make_job("second", text="three four"))
        async with worker(redis_url, seat="worker-1"), asyncio.timeout(60):
            assert "".join([delta.text async for delta in second]) == "three four"
