"""Reasoning and answer of one life: each with its filter, both in one record."""

from __future__ import annotations

import json

import pytest

from services.gateway.requests.outcome import (
    Delta,
    Filtered,
    Step,
)
from tests.unit.gateway.lives import end_of, run, text

THOUGHT = [Step("<think>\nso"), Step(" it is</th"), Step("ink>\n\nyes"), Step("!", "STOP", "", 7, 25)]


async def test_reasoning_and_answer_have_each_its_filter_and_one_record(bench):
    bench.queue.script = list(THOUGHT)
    _, events = await run(bench)
    deltas = [event for event in events if isinstance(event, Delta)]
    assert [(delta.reasoning, delta.text) for delta in deltas] == [("so", ""), (" it is", ""), ("", "yes"), ("", "!")]
    assert events[-1].reasoning_unfinished is False
    _, fields = end_of(bench)
    [released] = json.loads(fields["answer_released"])
    assert (released["reasoning"], released["content"]) == ("so it is", "yes!")
    assert fields["answer_generated"] == fields["answer_released"]
    releases = [json.loads(content) for kind, _, content in bench.audit.journal if kind == "RELEASE"]
    assert [piece["channel"] for [piece] in releases] == ["reasoning", "reasoning", "content", "content"]
    fed = list(zip(bench.guard.channels, [n for n, _, _ in bench.guard.fed]))
    assert fed == [("reasoning", 0), ("reasoning", 1), ("reasoning", 2), ("content", 0), ("content", 1)]


async def test_where_reasoning_ends_and_the_answer_begins_both_leave_together(bench):
    bench.queue.script = [Step("<think>so</think>yes", "STOP")]
    _, events = await run(bench)
    assert [event for event in events if isinstance(event, Delta)] == [Delta("yes", "so")]
    assert bench.audit.kinds("0190-test") == ["ACCEPTED", "RELEASE", "END"]


async def test_an_answer_that_ends_within_its_reasoning_says_so(bench):
    bench.queue.script = [Step("<think>so it", "LENGTH")]
    _, events = await run(bench)
    assert text(events) == "" and events[-1].finish_reason == "LENGTH" and events[-1].reasoning_unfinished is True
    assert json.loads(end_of(bench)[1]["answer_released"])[0]["reasoning"] == "so it"


async def test_reasoning_that_is_withheld_ends_the_answer_before_its_content(bench):
    bench.queue.script = [Step("<think>fine "), Step("bad</think>yes", "STOP")]
    bench.guard.filtering = lambda text, last: (
        Filtered("", withheld=True, rule="violence") if "bad" in text else Filtered(text)
    )
    _, events = await run(bench)
    assert text(events) == "" and events[-1].finish_reason == "WITHHELD" and events[-1].rule == "violence"
    [released] = json.loads(end_of(bench)[1]["answer_released"])
    [generated] = json.loads(end_of(bench)[1]["answer_generated"])
    assert (released["reasoning"], released["content"]) == ("fine ", "")
    assert (generated["reasoning"], generated["content"]) == ("fine bad", "yes")


@pytest.mark.parametrize("lose_at", [0, 1, 2])
async def test_a_lost_filter_of_either_channel_is_fed_that_channel_again(bench, lose_at):
    bench.queue.script = [Step("<think>a "), Step("b"), Step("</think>c "), Step("d", "STOP")]
    bench.guard.lose_at = lose_at
    _, events = await run(bench)
    [released] = json.loads(end_of(bench)[1]["answer_released"])
    assert (released["reasoning"], released["content"]) == ("a b", "c d") and text(events) == "c d"
    assert ("reasoning", (lose_at, ["a ", "a b", "a b"][lose_at], [0, 2, 3][lose_at])) in zip(
        bench.guard.channels, bench.guard.fed
    )


async def test_what_a_broken_answer_generated_is_recorded_to_the_last_character(bench):
    bench.queue.script = [Step("<think>so</thi"), Step("", "FAILED", "BROKE")]
    await run(bench)
    [generated] = json.loads(end_of(bench)[1]["answer_generated"])
    assert generated["reasoning"] == "so</thi"
