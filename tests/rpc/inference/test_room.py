"""A worker whose KV cache is the bound, not its slots: what it claims, sets aside and lets in."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace

from services.inference.engine.echo import EchoEngine
from services.inference.engine.protocol import AlreadyLive, Capacity, EngineFull, Load, StepOutput, Work
from services.inference.engine.scheduler import Scheduler


@dataclass(eq=False)
class Asked:
    work: Work
    arrival: int
    arrived_ns: int
    need: int
    pending: int = 1
    deadline_ns: int = 0

    @property
    def rank(self) -> int:
        return self.work.rank


class NarrowEcho(EchoEngine):
    """Echo behind the scheduler: it answers whom there is room for."""

    def __init__(self, arena: int = 100) -> None:
        super().__init__(slots=4)
        self.scheduler: Scheduler[Asked] = Scheduler(slots=4, tokens=arena)
        self.asked: dict[str, Asked] = {}
        self.together: list[frozenset[str]] = []
        self.arrivals = 0

    def capacity(self) -> Capacity:
        at = self.scheduler
        return Capacity(
            free_slots=at.free_slots, free_tokens=at.free_tokens, max_tokens=at.tokens, slots=4, tokens=at.tokens,
            yields_to=at.yields_to,
        )  # fmt: skip

    def load(self) -> Load:
        return replace(super().load(), waiting=len(self.scheduler.waiting))

    def live(self) -> frozenset[str]:
        return frozenset(self.asked)

    def admit(self, work: Work) -> None:
        if work.request_id in self.asked:
            raise AlreadyLive
        if not self.scheduler.takes(work.rank):
            raise EngineFull
        self.arrivals += 1
        need = self.prompt_tokens(work) + work.sampling.max_tokens
        asked = self.asked[work.request_id] = Asked(work, self.arrivals, time.monotonic_ns(), need)
        self.scheduler.add(asked)

    def cancel(self, request_id: str) -> bool:
        if asked := self.asked.pop(request_id, None):
            self.scheduler.remove(asked, time.monotonic_ns())
            super().cancel(request_id)
        return asked is not None

    def step(self) -> list[StepOutput]:
        plan = self.scheduler.plan(time.monotonic_ns(), lambda decoding: 0)
        for lost in plan.preempted:
            lost.work = replace(lost.work, emitted=tuple(range(self._live[lost.work.request_id].done)))
            super().cancel(lost.work.request_id)
        for asked in plan.admitted:
            super().admit(asked.work)
        self.together.append(super().live())
        outputs = super().step()
        for output in outputs:
            if output.last:
                self.scheduler.remove(self.asked.pop(output.request_id), time.monotonic_ns())
        return outputs


async def test_prompts_that_each_need_the_arena_run_one_after_the_other_and_the_others_go_on(
    redis_url, gateway, worker, make_job
):
    """Fails if `Runs.takes` says yes to all: those that wait for the arena then fill the engine, and others wait."""
    engine = NarrowEcho()
    async with worker(redis_url, engine=engine, steps_per_second=30) as running, gateway(redis_url) as queue:
        heavy = [await queue.submit(make_job(f"heavy-{n}", "w " * 20, max_tokens=70)) for n in range(8)]
        light = [await queue.submit(make_job(f"light-{n}", "one two", max_tokens=3)) for n in range(8)]
        asked = len(engine.together)  # steps: heavy ones ran while the light ones were still being asked
        async with asyncio.timeout(60):
            ended = [[delta async for delta in reply][-1] for reply in light + heavy]
    assert all(delta.finish and not delta.failure for delta in ended)
    assert all(sum(name.startswith("heavy") for name in names) <= 1 for names in engine.together)
    first_light = next(n for n, names in enumerate(engine.together) if "light-0" in names)
    assert len({name for names in engine.together[asked:first_light] for name in names}) <= 3
    assert running.runs.counters["ended_stop"] == 16


async def test_an_urgent_request_is_claimed_though_all_slots_are_taken_and_nobody_loses_a_word(
    redis_url, gateway, worker, make_job
):
    """Fails if `Intake._take_urgent` only waits."""
    engine, words = NarrowEcho(4000), " ".join(f"w{n}" for n in range(400))
    async with worker(redis_url, engine=engine, steps_per_second=150), gateway(redis_url) as queue:
        batch = [await queue.submit(make_job(f"batch-{n}", words, max_tokens=500, priority="batch")) for n in range(4)]
        async with asyncio.timeout(60):
            while len(engine.live()) < 4:
                await asyncio.sleep(0.01)
            urgent = [delta.text async for delta in await queue.submit(make_job("urgent", "one two"))]
            assert len(engine.live()) == 4 and engine.scheduler.preemptions == 1
            answers = ["".join([delta.text async for delta in reply]) for reply in batch]
    assert "".join(urgent) == "one two"
    assert answers == [words] * 4
