"""What the gateway counts of a request: once, when it is over, by how it ended."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import generate_latest

from chassis.failures import ServiceError, Unavailable
from services.gateway.metrics import GatewayMetrics
from services.gateway.requests.account import Observer
from services.gateway.requests.admission import Admission
from services.gateway.requests.conductor import Conductor
from services.gateway.requests.outcome import CANCELLED, FLAG, REFUSE, End, Filtered, Screening, Step
from services.gateway.requests.question import Message, Profile, Question
from services.gateway.requests.rejections import Rejections
from streams.gateway import JobQueue
from streams.seal import QueueKeys

REQUESTS = "strongroom_gateway_requests_total"


class Counted:
    """A conductor over neighbours in memory, and what it counts."""

    def __init__(self, bench) -> None:  # type: ignore[no-untyped-def]
        self.bench, self.metrics, self.admission = bench, GatewayMetrics(), Admission(2)
        self.conductor = Conductor(
            bench.neighbours,
            self.admission,
            Rejections(lambda rejection: None),
            "",
            Profile(),
            Observer(self.metrics.ended, self.metrics.turned_away),
        )

    async def ask(self, text: str = "hello", **question: str) -> None:
        asked = Question((Message("user", text),), model="tiny", **question)
        life = self.conductor.start(asked, self.bench.caller, "0" * 32, 5.0)
        await self.bench.events(life)
        while self.admission.in_flight:
            await asyncio.sleep(0)


@pytest.fixture
def counted(bench) -> Counted:
    return Counted(bench)


async def test_every_metric_is_documented_and_every_documented_one_is_there(bench, as_documented) -> None:
    metrics = GatewayMetrics()
    queue = JobQueue("redis://127.0.0.1:1/0", QueueKeys(b"k" * 32), "boot")
    metrics.watch(Admission(1), bench.guard, bench.audit, queue)
    as_documented("gateway", metrics)


async def test_a_completed_request(counted, value_of) -> None:
    await counted.ask(priority="interactive")
    metrics = counted.metrics
    assert value_of(metrics, REQUESTS, end="COMPLETED", priority="interactive") == 1
    assert value_of(metrics, REQUESTS) == 1
    assert value_of(metrics, "strongroom_gateway_releases_total") == counted.bench.audit.kinds(
        counted.bench.audit.journal[0][1]
    ).count("RELEASE")
    assert value_of(metrics, "strongroom_gateway_released_bytes_total") == len("Hello world")
    assert value_of(metrics, "strongroom_gateway_verdicts_total", verdict="ALLOW") == 1
    for name in ("strongroom_gateway_time_to_first_release", "gen_ai_client_operation_time_to_first_chunk"):
        assert value_of(metrics, f"{name}_seconds_count") == 1
    assert value_of(metrics, "gen_ai_client_token_usage_sum", gen_ai_token_type="input") == 7
    assert value_of(metrics, "gen_ai_client_token_usage_sum", gen_ai_token_type="output") == 2
    ok = {"gen_ai_request_model": "tiny", "gen_ai_operation_name": "chat", "error_type": ""}
    assert value_of(metrics, "gen_ai_client_operation_duration_seconds_count", **ok) == 1


async def test_a_refused_prompt_and_a_withheld_answer_are_counted_with_their_rule(counted, value_of) -> None:
    allowed = counted.bench.guard.screening
    counted.bench.guard.screening = Screening(REFUSE, allowed.policy_digest, rule="violence/1", refusal_text="no")
    await counted.ask()
    counted.bench.guard.screening = allowed
    counted.bench.guard.filtering = lambda text, last: Filtered("", withheld=True, rule="secrets/2")
    await counted.ask()
    counted.bench.guard.filtering = lambda text, last: Filtered(text, rule="advice/3")
    await counted.ask()
    metrics = counted.metrics
    assert [value_of(metrics, REQUESTS, end=end) for end in ("REFUSED", "WITHHELD", "COMPLETED")] == [1, 1, 1]
    name = "strongroom_gateway_verdicts_total"
    assert value_of(metrics, name, verdict=REFUSE, rule="violence/1") == 1
    assert value_of(metrics, name, verdict=REFUSE, rule="secrets/2") == 1
    assert value_of(metrics, name, verdict=FLAG, rule="advice/3") == 1


async def test_failures_cancellations_and_what_was_never_accepted_are_told_apart(counted, value_of) -> None:
    bench = counted.bench
    bench.queue.script = [Step("", "FAILED", "OUT_OF_MEMORY")]
    await counted.ask()
    bench.queue.script = []  # a worker that says nothing
    life = counted.conductor.start(Question((Message("user", "hi"),), model="tiny"), bench.caller, "0" * 32, 5.0)
    while not bench.queue.submitted[1:]:
        await asyncio.sleep(0)
    life.cancel(End(CANCELLED))
    while counted.admission.in_flight:
        await asyncio.sleep(0)
    bench.guard.require = lambda: None  # away only once the request has begun
    bench.guard.screen = _away
    await counted.ask()
    metrics = counted.metrics
    assert [value_of(metrics, REQUESTS, end=end) for end in ("FAILED", "CANCELLED", "NOT_ACCEPTED")] == [1, 1, 1]
    duration = "gen_ai_client_operation_duration_seconds_count"
    for reason in ("OUT_OF_MEMORY", "CANCELLED", "GUARD_UNAVAILABLE"):
        assert value_of(metrics, duration, error_type=reason) == 1


async def _away(*asked: object) -> Screening:
    raise Unavailable("guard is away", reason="GUARD_UNAVAILABLE")


async def test_what_admission_refuses_is_counted_by_its_reason(counted, value_of) -> None:
    counted.bench.audit.away = True
    for question in (
        Question((Message("user", "hi"),), model="tiny"),
        Question((Message("user", "hi"),), model="canary"),
        Question((), model="tiny"),
    ):
        with pytest.raises(ServiceError):
            counted.conductor.start(question, counted.bench.caller, "0" * 32, 5.0)
    name = "strongroom_gateway_turned_away_total"
    assert value_of(counted.metrics, name, reason="AUDIT_UNAVAILABLE") == 1
    assert value_of(counted.metrics, name, reason="MODEL_NOT_FOUND") == 1
    assert value_of(counted.metrics, name) == 3
    assert b"canary" not in generate_latest(counted.metrics.registry)
