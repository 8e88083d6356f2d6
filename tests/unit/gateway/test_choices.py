"""Several answers to one prompt: a job, a ticket, a filter and a finish each; one record."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chassis.failures import Cancelled, InvalidArgument
from services.gateway.requests.neighbours import KeyHeld
from services.gateway.requests.outcome import CANCELLED, Broken, Delta, End, Filtered, Outcome, Step
from services.gateway.requests.question import Message, Question
from services.gateway.requests.read_back import StoredOutcome, read_back
from services.gateway.requests.sampling import MAX_SEED, Able, Profile, Sampling, check_sampling

WORDS = {index: [Step(f"{index}a "), Step(f"{index}b", "STOP", "", 7, 2)] for index in range(3)}


def asking(bench, n, **sampling):
    bench.question = Question((Message("user", "hello"),), model="tiny", sampling=Sampling(n=n, **sampling))
    return bench


async def run(bench, **kwargs):
    life = bench.life(**kwargs)
    task = asyncio.create_task(life.run())
    events = await bench.events(life)
    return events, await task


def texts(events):
    deltas = [event for event in events if isinstance(event, Delta)]
    said = {delta.choice: "" for delta in deltas}
    for delta in deltas:
        said[delta.choice] += delta.text
    return said


def end_of(bench):
    [(end, fields)] = [detail for kind, _, detail in bench.audit.journal if kind == "END"]
    return end, {name: json.loads(value) for name, value in fields.items()}


async def test_invariant_1_every_choice_is_declared_in_accepted_and_has_a_ticket_of_its_own(bench):
    """Fails if `_accept` names the digest of the first job alone. That `submit` gets the ticket of the very job the
    queue in memory checks."""
    await run(asking(bench, 3))
    [declared] = [detail for kind, _, detail in bench.audit.journal if kind == "ACCEPTED"]
    assert declared == [hashlib.sha256(job.body).digest() for job in bench.queue.submitted] and len(set(declared)) == 3
    assert [job.job_id for job in bench.queue.submitted] == ["0190-test", "0190-test.1", "0190-test.2"]
    assert bench.queue.forgotten == [job.job_id for job in bench.queue.submitted]


async def test_each_choice_is_the_answer_of_a_request_of_its_own_under_the_next_seed(bench):
    await run(asking(bench, 3, seed=MAX_SEED - 1))
    assert [asked.seed for asked in bench.queue.asked] == [MAX_SEED - 1, MAX_SEED, 0]
    alone = Profile().resolve(Sampling(seed=MAX_SEED - 1), 0)
    assert bench.queue.asked[0] == alone, "the first is what the request is answered that asks for one"


@pytest.mark.parametrize("streamed", [True, False])
async def test_all_choices_are_one_record_with_usage_counted_once_for_the_prompt(bench, streamed):
    asking(bench, 3).queue.scripts = WORDS
    events, _ = await run(bench, streamed=streamed)
    assert texts(events) == {0: "0a 0b", 1: "1a 1b", 2: "2a 2b"}
    outcome = events[-1]
    assert [ended.finish_reason for ended in outcome.choices] == ["STOP"] * 3
    assert (outcome.input_tokens, outcome.output_tokens) == (7, 6)
    end, fields = end_of(bench)
    assert end.state == "COMPLETED"
    assert [choice["content"] for choice in fields["answer_released"]] == ["0a 0b", "1a 1b", "2a 2b"]
    releases = [json.loads(content) for kind, _, content in bench.audit.journal if kind == "RELEASE"]
    assert [len(pieces) for pieces in releases] == ([1] * 6 if streamed else [3])
    assert {piece["choice"] for pieces in releases for piece in pieces} == {0, 1, 2}


async def test_invariant_2_no_choice_is_emitted_before_its_release_is_durable(bench):
    """Fails if `_make_durable` emits before it awaits."""
    asking(bench, 3).queue.scripts = WORDS
    life = bench.life()
    task = asyncio.create_task(life.run())
    await life.next_event()
    bench.audit.gate.opened.clear()
    waiting = asyncio.create_task(life.next_event())
    async with asyncio.timeout(5):
        while bench.audit.sent.count("RELEASE") < 3:
            await asyncio.sleep(0)
    assert not waiting.done() and "RELEASE" not in bench.audit.kinds("0190-test")
    bench.audit.gate.opened.set()
    events = [await waiting, *await bench.events(life)]
    await task
    assert len(texts(events)) == 3


async def test_what_is_withheld_of_one_choice_leaves_the_others_whole_and_stops_its_worker_alone(bench):
    asking(bench, 3).queue.scripts = {**WORDS, 1: [Step("fine "), Step("bad"), Step(" more", "STOP")]}
    bench.guard.filtering = lambda text, last: (
        Filtered("", withheld=True, rule="violence") if "bad" in text else Filtered(text)
    )
    events, account = await run(bench)
    assert texts(events) == {0: "0a 0b", 1: "fine ", 2: "2a 2b"}
    assert [ended.finish_reason for ended in events[-1].choices] == ["STOP", "WITHHELD", "STOP"]
    assert (events[-1].verdict, events[-1].rule) == ("REFUSE", "violence") and account.end == "WITHHELD"
    end, fields = end_of(bench)
    assert (end.state, end.reason, end.finish_reason) == ("WITHHELD", "violence", "WITHHELD")
    assert [choice["finish_reason"] for choice in fields["answer_released"]] == ["STOP", "WITHHELD", "STOP"]
    assert bench.queue.cancelled == ["0190-test.1"]


@pytest.mark.parametrize("streamed", [True, False])
async def test_one_choice_that_fails_ends_all_of_them(bench, streamed):
    asking(bench, 3).queue.scripts = {0: [Step("0 ")], 1: [Step("1"), Step("", "FAILED", "BROKE")], 2: WORDS[2]}
    events, _ = await run(bench, streamed=streamed)
    assert isinstance(events[-1], Broken) and events[-1].error.reason == "BROKE"
    end, fields = end_of(bench)
    assert (end.state, end.reason) == ("FAILED", "BROKE")
    assert [choice["finish_reason"] for choice in fields["answer_released"]] == [""] * 3
    assert [choice["content"] for choice in fields["answer_generated"]][:2] == ["0 ", "1"]
    assert streamed or not texts(events), "of a whole answer that fails nothing leaves"
    assert bench.queue.cancelled == ["0190-test", "0190-test.1", "0190-test.2"]


async def test_invariant_9_cancelling_stops_every_choice(bench):
    """Fails if `_close` cancels the first job alone."""
    asking(bench, 2).queue.script = [Step("on and on ")]
    life = bench.life()
    task = asyncio.create_task(life.run())
    while not isinstance(await life.next_event(), Delta):
        pass
    assert life.cancel(End(CANCELLED))
    events = await bench.events(life)
    await task
    assert isinstance(events[-1].error, Cancelled) and end_of(bench)[0].state == "CANCELLED"
    assert bench.queue.cancelled == ["0190-test", "0190-test.1"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=st.integers(0, 60), broken=st.booleans(), streamed=st.booleans())
def test_invariant_4_a_request_for_several_answers_ends_once_wherever_its_caller_leaves(bench, turns, broken, streamed):
    """Fails if a choice that is cut off is not waited for: its RELEASE would come behind the END."""

    async def leave() -> None:
        fresh = asking(type(bench)(), 3)
        fresh.queue.scripts = {**WORDS, 1: [Step("1a"), Step("", "FAILED", "BROKE")]} if broken else WORDS
        life = fresh.life(streamed=streamed)
        task = asyncio.create_task(life.run())
        for _ in range(turns):
            await asyncio.sleep(0)
        life.detach()
        async with asyncio.timeout(5):
            await task
        kinds = fresh.audit.kinds("0190-test")
        assert kinds.count("END") == kinds.count("ACCEPTED")
        released = [
            piece["text"] for kind, _, body in fresh.audit.journal if kind == "RELEASE" for piece in json.loads(body)
        ]
        if "END" in kinds:
            recorded = "".join(choice["content"] for choice in end_of(fresh)[1]["answer_released"])
            assert sorted("".join(released)) == sorted(recorded), "the END says what the RELEASEs hold"

    asyncio.run(leave())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    said=st.lists(st.lists(st.text("<think>/ab ", max_size=9), min_size=1, max_size=6), min_size=2, max_size=4),
    streamed=st.booleans(),
)
def test_choices_side_by_side_say_what_each_says_alone(bench, said, streamed):
    """However their steps fall between each other: no filter, split or text is shared."""

    async def asked(scripts):
        fresh = asking(type(bench)(), len(scripts))
        fresh.queue.scripts = {n: [*map(Step, pieces), Step("", "STOP")] for n, pieces in enumerate(scripts)}
        await run(fresh, streamed=streamed)
        return end_of(fresh)[1]["answer_released"]

    async def both() -> None:
        assert await asked(said) == [choice for pieces in said for choice in await asked([pieces])]

    asyncio.run(both())


async def test_invariant_5_all_choices_are_read_back(bench):
    """Fails if `read_back` takes the first choice alone."""
    choices = [
        {"content": f"answer {n}", "finish_reason": finish, "reasoning": "", "tool_calls": []}
        for n, finish in enumerate(("STOP", "LENGTH"))
    ]
    fields = {"answer_released": choices, "findings": [], "parameters": {"policy_digest": "ab"}}
    stored = {name: json.dumps(value).encode() for name, value in fields.items()}
    bench.audit.held = KeyHeld("first", same_request=True)
    bench.audit.kept = read_back(StoredOutcome("first", "COMPLETED", "", "STOP", "m", "c" * 32, (7, 4), stored, "{}"))
    events, _ = await run(asking(bench, 2))
    assert texts(events) == {0: "answer 0", 1: "answer 1"} and isinstance(events[-1], Outcome)
    assert [ended.finish_reason for ended in events[-1].choices] == ["STOP", "LENGTH"]
    assert bench.queue.submitted == []


def test_invariant_3_what_is_found_in_a_choice_says_in_which(bench):
    """Fails if findings of one choice are told as another's: offsets would point into the wrong text."""
    asking(bench, 2).queue.scripts = {0: [Step("one", "STOP")], 1: [Step("two", "STOP")]}
    asyncio.run(run(bench))
    assert sorted(zip(bench.guard.choices, (text for _, text, _ in bench.guard.fed))) == [(0, "one"), (1, "two")]


@pytest.mark.parametrize("n", [0, 9, 3])
def test_n_outside_its_bounds_is_named(n):
    with pytest.raises(InvalidArgument, match=r"prompt.sampling.n is out of range: it must be 1 to [28]") as refused:
        check_sampling(Sampling(n=n), Able(choices=2 if n == 3 else 8), Profile())
    assert refused.value.field == "prompt.sampling.n"
