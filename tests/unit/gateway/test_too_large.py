"""Answers larger than what audit takes at once: the audit in memory refuses as the stream to it does."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.exchange import MAX_ITEM_BYTES
from chassis.failures import Cancelled, DeadlineExceeded, InvalidArgument
from services.gateway.edge.chat_answer import Chunks
from services.gateway.requests import fields as recorded
from services.gateway.requests.answer import END_BYTES
from services.gateway.requests.outcome import (
    CANCELLED,
    Broken,
    Delta,
    End,
    Filtered,
    Finding,
    Outcome,
    Started,
    Step,
    TokenLogprob,
)
from services.gateway.requests.portions import portions
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


LIKELY = TokenLogprob(b"token", -0.12345678901234567, tuple((b"token%d" % n, -1.2345678901234567) for n in range(20)))
_TOLD = tuple(TokenLogprob(LIKELY.token, LIKELY.logprob, LIKELY.top, 5 * n + 5) for n in range(750))
LONG = [Step("token" * 750, "STOP", "", 7, 750, logprobs=_TOLD)]  # eight times, more than one RELEASE


async def test_invariant_2_a_whole_answer_too_large_for_one_release_leaves_when_all_of_them_are_durable(bench):
    """Fails if `_make_durable` sends one RELEASE whatever its size, which audit refuses."""
    asking(bench, 8).queue.script = LONG
    life = bench.life(seconds=60, streamed=False)
    task = asyncio.create_task(life.run())
    assert isinstance(await life.next_event(), Started)
    bench.audit.gate.opened.clear()
    waiting = asyncio.create_task(life.next_event())
    async with asyncio.timeout(60):
        while "END" not in bench.audit.sent:
            await asyncio.sleep(0)
    await asyncio.sleep(0)  # the END waits at the gate, too, behind the RELEASEs
    assert not waiting.done() and bench.audit.sent.count("RELEASE") > 1
    bench.audit.gate.opened.set()
    events = [await waiting, *await bench.events(life)]
    account = await task
    assert isinstance(events[-1], Outcome) and account.releases == bench.audit.kinds("0190-test").count("RELEASE")
    heard, tokens = Counter(), Counter()
    for delta in events[:-1]:
        heard[delta.choice] += len(delta.text)
        tokens[delta.choice] += len(delta.logprobs)
    assert heard == dict.fromkeys(range(8), 3750) and tokens == dict.fromkeys(range(8), 750)


async def test_invariant_2_of_a_whole_answer_in_several_releases_nothing_leaves_when_one_is_refused(bench):
    """Fails if `part` awaits the first of them alone."""
    asking(bench, 8).queue.script = LONG
    bench.audit.refuses_releases, bench.audit.refuses_from = True, 1
    life = bench.life(seconds=60, streamed=False)
    events, _ = await asyncio.gather(bench.events(life), life.run())
    assert bench.audit.kinds("0190-test") == ["ACCEPTED", "RELEASE", "END"] and end_of(bench)[0].state == "FAILED"
    assert [type(event) for event in events] == [Started, Broken]


TEXT = st.builds(lambda text, times: text * times, st.text(max_size=5), st.integers(0, 400))
LOGPROB = st.builds(
    lambda token, value, top: TokenLogprob(token, value, tuple((token, value) for _ in range(top))),
    st.binary(max_size=8),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(0, 20),
)
DELTAS = st.lists(
    st.builds(Delta, TEXT, TEXT, st.lists(LOGPROB, max_size=30).map(tuple), st.integers(0, 2)), min_size=1, max_size=4
)


def joined(deltas):
    """What each choice says, in the order in which it is said."""
    said = {delta.choice: [] for delta in deltas}
    for delta in deltas:
        said[delta.choice] += [("reasoning", sign) for sign in delta.reasoning]
        said[delta.choice] += [("text", sign) for sign in delta.text]
        said[delta.choice] += delta.logprobs
    return said


@settings(max_examples=60, deadline=None)
@given(deltas=DELTAS)
def test_portions_say_what_was_to_be_said_and_each_fits(deltas):
    cut = list(portions(deltas, 16_000))
    assert joined([part for portion in cut for part in portion]) == joined(deltas)
    assert all(len(recorded.release(portion)) <= 16_000 for portion in cut)


def test_log_probabilities_behind_a_long_text_reach_a_stream():
    """Fails if `Chunks.delta` tells them only beside text."""
    chunk = Chunks(Started("0190-test", "tiny", "0" * 32), "tiny", 0, False).delta(Delta("", logprobs=(LIKELY,)))
    assert json.loads(chunk.split("data: ")[-1])["choices"][0]["logprobs"]["content"][0]["token"] == "token"
