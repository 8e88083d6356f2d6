"""What a worker counts, with the real engine loop over the echo engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strongroom.inference.v1 import inference_pb2 as pb

from services.inference.engine.echo import EchoEngine
from services.inference.metrics import InferenceMetrics
from services.inference.worker.demand import Demand
from services.inference.worker.observer import Observer
from services.inference.worker.run import Run
from services.inference.worker.worker import Seat, Worker
from streams.cancels import CancelReader
from streams.depths import Depth
from streams.items import ItemSealer
from streams.jobs import Entry, OpenedJob
from streams.seal import QueueKeys
from streams.worker import Claim, ClaimState, WorkQueue

NOWHERE = "redis://127.0.0.1:1/0"
KEYS = QueueKeys(b"k" * 32)
QUEUED_NS = 1_800_000_000 * 10**9


@pytest.fixture
async def metrics() -> AsyncIterator[InferenceMetrics]:
    made = InferenceMetrics()
    observer = Observer(made.stepped, made.first_token, made.ended)
    queue = WorkQueue(NOWHERE, "echo", "0", "boot")
    worker = Worker(
        Seat(worker_id="0", boot_id="boot"), EchoEngine(), queue, CancelReader(NOWHERE), KEYS, b"t" * 32,
        clock=lambda: QUEUED_NS / 1e9 + 2, observer=observer,
    )  # fmt: skip
    made.watch(worker)
    made.runs = worker.runs  # type: ignore[attr-defined]
    worker.runs.open()
    yield made
    await worker.runs.aclose()
    await queue.aclose()


def claimed(text: str, emitted: tuple[int, ...] = (), model: str = "echo") -> Run:
    body = pb.JobBody(request_id="r-canary", gateway_boot_id="g", model=model, priority="batch")
    body.messages.add(role="user", content=text)
    body.sampling.max_tokens, body.sampling.top_p = 100, 1.0
    body.deadline_time.FromNanoseconds(QUEUED_NS + 10**12)
    entry = Entry(work="w", entry_id="1-0", request_id=body.request_id, key_id="k", sealed=b"")
    job = OpenedJob(entry=entry, body=body, queued_ns=QUEUED_NS, kept_until_ms=0)
    claim = Claim(state=ClaimState.CLAIMED, epoch=1, deliveries=1)
    sealer = ItemSealer(KEYS, body.request_id, 1)
    return Run(job, claim, sealer, emitted, admitted_ns=QUEUED_NS + 2 * 10**9)


async def ended(metrics: InferenceMetrics, run: Run) -> None:
    metrics.runs.start(run)  # type: ignore[attr-defined]
    async with asyncio.timeout(5):
        while not run.ended:
            await asyncio.sleep(0.001)


async def test_every_metric_is_documented_and_every_documented_one_is_there(metrics, as_documented) -> None:
    as_documented("inference", metrics)


async def test_a_request_is_counted_by_its_phases_and_tokens(metrics, value_of) -> None:
    await ended(metrics, claimed("one two three four"))
    model = {"gen_ai_request_model": "echo", "gen_ai_provider_name": "strongroom"}
    assert value_of(metrics, "gen_ai_server_time_to_first_token_seconds_count", **model) == 1
    assert value_of(metrics, "gen_ai_server_time_to_first_token_seconds_sum") >= 2  # it had waited two seconds
    assert value_of(metrics, "gen_ai_server_request_duration_seconds_count", error_type="", **model) == 1
    assert value_of(metrics, "gen_ai_server_time_per_output_token_seconds_count", **model) == 1
    assert value_of(metrics, "strongroom_inference_queue_seconds_sum", priority="batch") == pytest.approx(2)
    for phase in ("prefill", "decode"):
        assert value_of(metrics, f"strongroom_inference_{phase}_seconds_count") == 1
    for kind, tokens in (("prompt", 4), ("output", 4), ("computed", 8), ("useful", 8)):
        assert value_of(metrics, f"strongroom_inference_{kind}_tokens_total") == tokens
    steps = value_of(metrics, "strongroom_inference_steps_total")
    assert value_of(metrics, "strongroom_inference_step_seconds_count") == steps == 4
    assert value_of(metrics, "strongroom_inference_events_total", event="ended_stop") == 1
    assert value_of(metrics, "strongroom_inference_engine_alive") == 1
    # 18 bytes of prompt are 4 tokens, 100 the longest answer.
    assert value_of(metrics, "strongroom_inference_claimed_tokens_total", priority="batch") == 104


async def test_an_answer_that_another_worker_began_has_no_first_token_here(metrics, value_of) -> None:
    await ended(metrics, claimed("one two three four", emitted=(0, 1)))
    assert value_of(metrics, "strongroom_inference_queue_seconds_count") == 0
    assert value_of(metrics, "gen_ai_server_request_duration_seconds_count") == 1


async def test_a_failure_is_counted_by_its_reason(metrics, value_of) -> None:
    run = claimed("word")
    metrics.runs.finish_unstarted(run, pb.FINISH_FAILED, "POISON")  # type: ignore[attr-defined]
    assert value_of(metrics, "strongroom_inference_failures_total", reason="POISON") == 1
    assert value_of(metrics, "gen_ai_server_request_duration_seconds_count", error_type="POISON") == 1


def waiting(**jobs: int) -> dict[str, Depth]:
    return {priority: Depth(count, count, 1.0) for priority, count in jobs.items()}


def test_fill_is_the_share_of_the_slots_that_had_demand() -> None:
    demand = Demand()
    demand.sample(0, 8, waiting(batch=0))
    assert demand.samples == 0, "an idle worker has no fill, neither good nor bad"
    demand.sample(2, 8, waiting(batch=0))
    assert (demand.fill, demand.samples) == (1.0, 1)  # little to do, and all of it runs
    demand.sample(0, 8, waiting(interactive=1, batch=3))
    assert (demand.fill, demand.samples) == (1.0, 2)  # work waits and nothing runs
    demand.sample(4, 8, waiting(batch=100))
    assert (demand.fill, demand.samples) == (1.5, 3)
    assert demand.waiting == {"batch": 100}


def test_a_job_on_its_way_to_a_worker_is_not_yet_demand() -> None:
    demand = Demand()
    demand.sample(0, 8, {"interactive": Depth(1, 1, 0.001)})
    assert (demand.samples, demand.waiting) == (0, {"interactive": 1})


@given(st.lists(st.tuples(st.integers(0, 16), st.integers(1, 8), st.integers(0, 50))))
def test_fill_never_exceeds_the_number_of_samples(samples) -> None:
    demand = Demand()
    for active, slots, jobs in samples:
        demand.sample(active, slots, waiting(batch=jobs))
    assert 0 <= demand.fill <= demand.samples <= len(samples)
