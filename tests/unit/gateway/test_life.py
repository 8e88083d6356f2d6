"""The life of a request against its neighbours in memory, which assert the order of things."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chassis.failures import Cancelled, DeadlineExceeded, InvalidArgument, Unavailable
from chassis.tracing import begun, span
from services.gateway.requests.answer import TRACED_PIECES
from services.gateway.requests.outcome import (
    CANCELLED,
    REFUSE,
    Broken,
    Delta,
    End,
    Filtered,
    Finding,
    Outcome,
    Screening,
    Started,
    Step,
)
from services.gateway.requests.sampling import Sampling
from tests.unit.gateway.lives import end_of, run, text


async def test_an_answer_is_started_released_and_closed_with_a_receipt(bench):
    _, events = await run(bench)
    assert isinstance(events[0], Started) and isinstance(events[-1], Outcome)
    assert text(events) == "Hello world" and events[-1].finish_reason == "STOP" and events[-1].receipt == "receipt"
    assert (events[-1].input_tokens, events[-1].output_tokens) == (7, 2)
    end, fields = end_of(bench)
    assert end.state == "COMPLETED"
    assert json.loads(fields["answer_released"])[0]["content"] == "Hello world"


@pytest.mark.parametrize("streamed", [True, False])
async def test_what_a_request_said_is_let_go_of_without_the_garbage_collector(bench, streamed):
    """Fails if a choice is given a bound method of its answer: each then keeps the other, and prompt and answer stay
    in memory until the collector comes by."""
    gc.collect()
    gc.disable()
    try:
        life, _ = await run(bench, streamed=streamed)
        kept = [weakref.ref(life), weakref.ref(life._course.answer), weakref.ref(life._course.answer.choices[0])]
        del life
        await asyncio.sleep(0)
        assert [ref() for ref in kept] == [None] * len(kept)
    finally:
        gc.enable()


async def test_invariant_1_no_model_input_without_a_durable_accepted(bench):
    """Fails if `_converse` submits the job before it awaits `_accept`: MemoryQueue.submit then finds no ACCEPTED."""
    bench.audit.gate.opened.clear()
    life = bench.life()
    task = asyncio.create_task(life.run())
    await asyncio.sleep(0.05)
    assert bench.queue.submitted == []
    bench.audit.gate.opened.set()
    await bench.events(life)
    await task
    assert len(bench.queue.submitted) == 1


async def test_invariant_2_nothing_is_emitted_before_its_release_is_durable(bench):
    """Fails if `Answer._release` puts the Delta into the mailbox before it awaits `audit.release`."""
    life = bench.life()
    task = asyncio.create_task(life.run())
    assert isinstance(await life.next_event(), Started)
    bench.audit.gate.opened.clear()
    waiting = asyncio.create_task(life.next_event())
    await asyncio.sleep(0.05)
    assert not waiting.done(), "a piece of answer left before it was durable"
    bench.audit.gate.opened.set()
    assert isinstance(await waiting, Delta)
    await bench.events(life)
    await task


async def test_invariant_2_a_refusal_is_sent_after_its_refused_entry_is_durable(bench):
    """Fails if `_refuse` pushes the Delta before it awaits `audit.refuse`."""
    bench.guard.screening = Screening(REFUSE, b"p" * 32, rule="weapons", refusal_text="此内容违反使用政策")
    bench.audit.gate.opened.clear()
    life = bench.life()
    task = asyncio.create_task(life.run())
    waiting = asyncio.create_task(life.next_event())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    bench.audit.gate.opened.set()
    events = [await waiting, *await bench.events(life)]
    await task
    assert text(events) == "此内容违反使用政策" and events[-1].finish_reason == "REFUSED"
    assert bench.audit.kinds(life.terms.request_id) == ["REFUSED"] and bench.queue.submitted == []


async def test_invariant_7_a_guard_that_is_away_lets_nothing_through(bench):
    """Fails if `_converse` goes on with the caller's own messages when `screen` raises."""
    bench.guard.away = True
    _, events = await run(bench)
    assert isinstance(events[-1], Broken) and isinstance(events[-1].error, Unavailable)
    assert bench.audit.journal == [] and bench.queue.submitted == []


async def test_a_withheld_answer_keeps_what_was_released_and_stops_the_worker(bench):
    bench.queue.script = [Step("fine "), *[Step("bad ") for _ in range(4)]]
    bench.guard.filtering = lambda text, last: (
        Filtered("", withheld=True, rule="violence") if "bad" in text else Filtered(text)
    )
    life, events = await run(bench)
    assert text(events) == "fine " and events[-1].finish_reason == "WITHHELD" and events[-1].verdict == "REFUSE"
    end, fields = end_of(bench)
    assert (end.state, end.reason) == ("WITHHELD", "violence")
    assert json.loads(fields["answer_released"])[0]["content"] == "fine "
    assert "bad" in json.loads(fields["answer_generated"])[0]["content"]
    assert bench.queue.cancelled == [life.terms.request_id]


async def test_a_lost_filter_is_fed_the_whole_answer_again(bench):
    bench.queue.script = [Step("one "), Step("two "), Step("three", "STOP")]
    bench.guard.lose_at = 1
    _, events = await run(bench)
    assert text(events) == "one two three"
    assert (1, "one two ", 4) in bench.guard.fed


async def test_of_a_long_answer_only_the_first_releases_leave_spans(bench, spans):
    """Fails if `Answer._follow` traces every piece."""
    bench.queue.script = [Step(f"{n} ") for n in range(60)] + [Step("over", "STOP", "", 7, 61)]
    with span("call", begun("")):
        await run(bench)
    assert bench.audit.kinds("0190-test").count("RELEASE") == 61
    assert [one.name for one in spans()].count("release") == TRACED_PIECES


async def test_a_deadline_expires_the_request_and_its_record(bench):
    bench.queue.script = [Step("Hello")]
    _, events = await run(bench, seconds=0.1)
    assert isinstance(events[-1].error, DeadlineExceeded) and end_of(bench)[0].state == "EXPIRED"
    assert bench.queue.cancelled


async def test_a_prompt_that_does_not_fit_names_the_field_and_the_remedy(bench):
    bench.queue.script = [Step("", "FAILED", "PROMPT_TOO_LONG", 900)]
    _, events = await run(bench)
    assert isinstance(events[-1].error, InvalidArgument) and events[-1].error.field == "prompt.messages"
    assert "900" in str(events[-1].error) and "512" in str(events[-1].error), "1024 of context, 512 of answer"
    assert (end_of(bench)[0].state, end_of(bench)[0].reason) == ("FAILED", "PROMPT_TOO_LONG")


async def test_a_record_that_audit_ended_ends_the_stream(bench):
    bench.audit.reaped.add("0190-test")
    _, events = await run(bench)
    assert isinstance(events[-1].error, Unavailable) and events[-1].error.reason == "GATEWAY_LOST"
    assert bench.audit.kinds("0190-test") == ["ACCEPTED"]


async def test_the_last_release_and_the_end_travel_together(bench):
    bench.queue.script = [Step("Hello world", "STOP", "", 7, 2)]
    life = bench.life(seconds=60)
    task = asyncio.create_task(life.run())
    assert isinstance(await life.next_event(), Started)
    bench.audit.gate.opened.clear()
    async with asyncio.timeout(5):
        while "END" not in bench.audit.sent:
            await asyncio.sleep(0)
    assert bench.audit.kinds(life.terms.request_id)[-1] != "END", "nothing is durable yet"
    bench.audit.gate.opened.set()
    events = await bench.events(life)
    await task
    assert text(events) == "Hello world" and bench.audit.kinds(life.terms.request_id)[-1] == "END"


async def test_an_answer_whose_last_release_is_refused_does_not_end_as_complete(bench):
    """Fails if `_end` sends the END of a whole answer without the number of its releases."""
    bench.queue.script = [Step("Hello world", "STOP", "", 7, 2)]
    bench.audit.refuses_releases = True
    life, events = await run(bench)
    assert text(events) == "" and isinstance(events[-1], Broken)
    [end] = [detail for kind, _, detail in bench.audit.journal if kind == "END"]
    assert (end[0].state, end[0].reason) == ("FAILED", "AUDIT_UNAVAILABLE")
    assert "RELEASE" not in bench.audit.kinds(life.terms.request_id)


async def test_invariant_6_a_caller_who_does_not_read_holds_its_own_request_only(bench):
    """Fails if `Mailbox.put` adds without waiting for room."""
    bench.queue.script = [Step(f"{n} ") for n in range(500)]
    life = bench.life(seconds=0.5)
    task = asyncio.create_task(life.run())
    await asyncio.sleep(0.2)
    assert bench.audit.kinds(life.terms.request_id).count("RELEASE") < 100
    life.detach()
    await task
    assert end_of(bench)[0].state == CANCELLED


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=st.integers(0, 60), late=st.booleans(), refused=st.booleans())
def test_invariant_4_every_accepted_request_ends_wherever_its_caller_leaves(bench, turns, late, refused):
    """Fails if `_close` skips the END when the conversation was cancelled while ACCEPTED was on its way."""

    async def leave() -> None:
        fresh = type(bench)()
        if refused:
            fresh.guard.screening = Screening(REFUSE, b"p" * 32, rule="r", refusal_text="no")
        if late:
            fresh.audit.gate.opened.clear()
        life = fresh.life()
        task = asyncio.create_task(life.run())
        for _ in range(turns):
            await asyncio.sleep(0)
        life.detach()
        fresh.audit.gate.opened.set()
        async with asyncio.timeout(5):
            await task
        kinds = fresh.audit.kinds(life.terms.request_id)
        assert kinds.count("END") == kinds.count("ACCEPTED")

    asyncio.run(leave())


async def test_invariant_9_a_caller_who_left_before_the_first_step_is_not_worked_for(bench):
    """Fails if `Life.cancel` needs a task that runs already."""
    life = bench.life()
    life.detach()
    account = await life.run()
    assert account.error == "CANCELLED" and bench.audit.sent == [] and not bench.queue.submitted


async def test_cancelling_twice_or_after_the_end_changes_nothing(bench):
    life = bench.life()
    task = asyncio.create_task(life.run())
    await life.next_event()
    assert life.cancel(End(CANCELLED)) and not life.cancel(End(CANCELLED))
    await task
    assert not life.cancel(End(CANCELLED))
    assert end_of(bench)[0].state == CANCELLED
    events = await bench.events(life)
    assert isinstance(events[-1].error, Cancelled)


async def test_invariant_3_what_cannot_be_masked_is_not_accepted(bench):
    """Fails if `_ask` does not look at what the guard found beside the messages."""
    found = Finding("MOBILE_NUMBER", 0, 11, "C2", "prompt")
    bench.guard.screening = replace(bench.guard.screening, unmasked=(found,))
    bench.question = replace(bench.question, sampling=Sampling(stop=("13912345678",)))
    life, events = await run(bench)
    (broken,) = events
    assert isinstance(broken.error, InvalidArgument) and broken.error.field == "prompt.sampling.stop"
    assert bench.guard.texts == ("13912345678",)
    assert [kind for kind, *_ in bench.audit.journal] == [] and bench.queue.submitted == []
    assert life.rejection is broken.error
