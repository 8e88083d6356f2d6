"""Several answers to one prompt on one worker: the prompt is computed once, and each answer is as it is alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from streams.jobs import job_id

PROMPT = "so long a question that several blocks of it are kept " * 5


async def test_invariant_11_the_prompt_is_computed_once_and_each_answer_is_the_one_it_is_alone(
    redis_url: str, worker: Any, gateway: Any, make_job: Any, torch_engine: Callable[..., Any]
) -> None:
    """Fails if `Runs._admit` posts every answer at once: each computes the prompt; or lets one wait for ever."""
    engine = torch_engine()

    def jobs(request: str) -> list[Any]:
        return [make_job(job_id(request, n), text=PROMPT, max_tokens=4, tenant=request) for n in range(4)]

    async with worker(redis_url, engine=engine) as running, gateway(redis_url) as queue, asyncio.timeout(60):
        alone = [
            delta.text async for delta in await queue.submit(make_job("r-0", text=PROMPT, max_tokens=4, tenant="0"))
        ]
        whole = engine.load().prompt_tokens
        together = [await queue.submit(job) for job in jobs("r-1")]
        said = ["".join([delta.text async for delta in reply]) for reply in together]
        assert said == ["".join(alone)] * 4
        computed, found = engine.load().prompt_tokens - whole, engine.load().prefix_found
        assert found >= 3 * 64 and computed < 2 * whole
        left = [await queue.submit(job) for job in jobs("r-2")]
        await queue.cancel("r-2")  # the one that the others may be waiting for
        ends = [[delta async for delta in reply][-1] for reply in left[1:]]
        assert not any(end.failure for end in ends) and running.runs.counters["ended_length"] >= 4
