"""Answers larger than what audit takes at once: the audit in memory refuses as the stream to it does."""

from __future__ import annotations

import asyncio
import json

import pytest

from chassis.exchange import MAX_ITEM_BYTES
from chassis.failures import Cancelled, DeadlineExceeded, InvalidArgument
from services.gateway.requests.answer import END_BYTES
from services.gateway.requests.outcome import CANCELLED, Broken, Delta, End, Filtered, Finding, Step
from services.gateway.requests.question import Message, Question
from services.gateway.requests.sampling import Sampling

ESCAPED = "\x01" * 400_000  # six times as long in JSON, which the bound on text does not count


def asking(bench, n):
    bench.question = Question((Message("user", "hello"),), model="tiny", sampling=Sampling(n=n))
    return bench


def end_of(bench):
    [(end, fields)] = [detail for kind, _, detail in bench.audit.journal if kind == "END"]
    return end, fields


@pytest.mark.parametrize(
    ("how", "told"), [("over", InvalidArgument), ("cancelled", Cancelled), ("expired", DeadlineExceeded)]
)
async def test_invariant_4_a_request_ends_whose_answers_audit_does_not_take(bench, how, told):
    """Fails if `Closing.end` gives up when audit refuses the END for its size: the record stays open then."""
    asking(bench, 2).queue.script = [Step(ESCAPED)] + ([Step("", "STOP")] if how == "over" else [])
    life = bench.life(seconds=1.0 if how == "expired" else 60.0)
    task = asyncio.create_task(life.run())
    if how == "cancelled":
        for _ in range(2):
            while not isinstance(await life.next_event(), Delta):
                pass
        assert life.cancel(End(CANCELLED))
    events = await bench.events(life)
    account = await task
    assert isinstance(events[-1], Broken) and isinstance(events[-1].error, told)
    end, fields = end_of(bench)
    assert (end.state, end.reason) == ("FAILED", "ANSWER_TOO_LARGE") and set(fields) == {"findings"}
    assert account.end == "FAILED" and account.error == events[-1].error.reason


async def test_invariant_4_a_request_ends_whose_findings_alone_audit_does_not_take(bench):
    """Fails if `_end_without_answer` insists on the findings."""
    found = (Finding("MOBILE_NUMBER", 0, 11, "C2", "answer", rule="r" * 100),) * 30_000
    bench.guard.filtering = lambda text, last: Filtered(text, found if last else ())
    life = bench.life()
    events, _ = await asyncio.gather(bench.events(life), life.run())
    assert events[-1].error.reason == "ANSWER_TOO_LARGE"
    assert end_of(bench)[0].reason == "ANSWER_TOO_LARGE" and end_of(bench)[1] == {}


@pytest.mark.parametrize("streamed", [True, False])
async def test_what_has_more_text_than_an_end_holds_stops_while_it_is_generated(bench, streamed):
    """Fails if `Answer` bounds each choice by itself, or none: what is generated then is lost at its END."""
    asking(bench, 3).queue.script = [Step("words " * 10_000)] * 1000
    life = bench.life(seconds=60, streamed=streamed)
    events, account = await asyncio.gather(bench.events(life), life.run())
    refused = events[-1].error
    assert isinstance(refused, InvalidArgument) and refused.field == "prompt.sampling.max_tokens"
    assert bench.queue.cancelled == ["0190-test", "0190-test.1", "0190-test.2"]
    end, fields = end_of(bench)
    assert (end.state, end.reason, account.end) == ("FAILED", "ANSWER_TOO_LARGE", "FAILED")
    assert sum(len(choice["content"]) for choice in json.loads(fields["answer_generated"])) > END_BYTES // 2
    assert END_BYTES < MAX_ITEM_BYTES
