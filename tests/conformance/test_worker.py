"""What a worker makes of every engine: an answer over the queue, its spans, a deadline, a drain that loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from strongroom.inference.v1 import inference_pb2 as pb

from services.inference.engine.protocol import Engine

LONG = 500  # tokens: vLLM makes some hundred in a step of a paced worker
QUESTION = "one two three four five six seven eight nine ten eleven twelve"


@pytest.fixture
def ask(engine: Engine, make_job: Callable[..., pb.Job]) -> Callable[..., pb.Job]:
    def make(request_id: str = "r-1", **more: Any) -> pb.Job:
        return make_job(request_id, QUESTION, model=engine.model.name, **({"max_tokens": 12} | more))

    return make


class Lent:
    """The engine for one worker, which closes what it was given."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def close(self) -> None:
        for request_id in self._engine.live():
            self._engine.cancel(request_id)


async def deltas(reply: Any) -> list[pb.StepDelta]:
    return [delta async for delta in reply]


@pytest.mark.feature("trace", "record")
async def test_an_answer_comes_with_counts_spans_and_an_end(
    redis_url: str, engine: Engine, gateway: Any, worker: Any, ask: Any, spans: Any
) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    async with worker(redis_url, engine=Lent(engine)) as running, gateway(redis_url) as queue:
        told = await deltas(await queue.submit(ask(traceparent=f"00-{trace}-b7ad6b7169203331-01")))
        described = running.describe()
    assert sum(len(delta.token_ids) for delta in told) == told[-1].output_tokens == 12
    assert told[-1].input_tokens > 0
    assert [bool(delta.finish) for delta in told] == [False] * (len(told) - 1) + [True]
    assert (described.engine, described.model) == (engine.name, engine.model.name)
    assert list(described.lacks) == list(engine.model.lacks)
    found = {span.name: span for span in spans() if f"{span.context.trace_id:032x}" == trace}
    assert {"queue wait", "prefill", "decode"} <= found.keys()
    assert found["prefill"].end_time == found["decode"].start_time
    label = f"{engine.name} {engine.model.version}".strip()
    assert found["decode"].attributes["strongroom.engine"] == label
    assert f"{described.engine} {described.engine_version}".strip() == label  # what gateways put into the record


@pytest.mark.feature("deadline")
async def test_invariant_9_a_request_ends_at_its_deadline(
    redis_url: str, engine: Engine, gateway: Any, worker: Any, ask: Any
) -> None:
    """Fails if `Runs._hold` sets no timer. At the deadline the answer is far from its end."""
    slow = worker(redis_url, engine=Lent(engine), steps_per_second=4)
    async with slow as running, gateway(redis_url) as queue:
        told = await deltas(await queue.submit(ask(deadline_in=0.3, max_tokens=LONG)))
        assert told[-1].finish == pb.FINISH_EXPIRED
        assert told[-1].output_tokens < LONG
        await running.drain(5)
    assert engine.live() == frozenset()


@pytest.mark.feature("drain")
async def test_invariant_8_what_a_drained_worker_hands_back_goes_on_and_is_the_answer_that_one_gives(
    redis_url: str, engine: Engine, gateway: Any, worker: Any, ask: Any
) -> None:
    """Fails if an engine leaves `Work.emitted` out: tokens are then doubled."""
    async with worker(redis_url, engine=Lent(engine)), gateway(redis_url) as queue:
        whole = await deltas(await queue.submit(ask("whole", max_tokens=LONG)))
    async with gateway(redis_url, boot="gateway-boot") as queue:
        async with worker(redis_url, engine=Lent(engine), steps_per_second=8, seat="worker-1") as first:
            reply = await queue.submit(ask("cut", max_tokens=LONG))
            told = [*await reply.next(), *await reply.next()]
            await first.drain(0)
        assert not told[-1].finish
        async with worker(redis_url, engine=Lent(engine), seat="worker-2"):
            told += await deltas(reply)
    assert "".join(delta.text for delta in told) == "".join(delta.text for delta in whole)
    assert [token for delta in told for token in delta.token_ids] == [
        token for delta in whole for token in delta.token_ids
    ]


@pytest.mark.feature("errors")
async def test_what_an_engine_refuses_fails_by_name(
    redis_url: str, engine: Engine, gateway: Any, worker: Any, make_job: Any
) -> None:
    async with worker(redis_url, engine=Lent(engine)), gateway(redis_url) as queue:
        job = make_job(text="word " * 9000, model=engine.model.name)
        [last] = await deltas(await queue.submit(job))
    assert (last.finish, last.failure) == (pb.FINISH_FAILED, "PROMPT_TOO_LONG")
    assert last.input_tokens >= 9000
