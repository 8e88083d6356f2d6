"""An answer that nobody reads on the way: filtered as it comes, released once, whole or not at all."""

from __future__ import annotations

import json

from services.gateway.requests.outcome import (
    Broken,
    Delta,
    Filtered,
    Outcome,
    Started,
    Step,
)
from tests.unit.gateway.lives import end_of, run, text


async def test_an_answer_that_is_not_streamed_is_one_release_and_filtered_on_the_way(bench):
    words = [f"word{n:03d} " for n in range(100)]
    bench.queue.script = [*[Step(word) for word in words], Step("end", "STOP")]
    _, events = await run(bench, streamed=False)
    assert [type(event) for event in events] == [Started, Delta, Outcome] and text(events) == "".join(words) + "end"
    assert bench.audit.kinds("0190-test") == ["ACCEPTED", "RELEASE", "END"]
    assert 3 < len(bench.guard.fed) < 10
    assert events[-1].timings_ms["first_release"] < events[-1].timings_ms["total"]


async def test_of_a_whole_answer_that_fails_on_the_way_nothing_is_released(bench):
    """Its caller gets nothing of it, so the record must not say that anything was authorised."""
    bench.queue.script = [Step("some "), Step("text "), Step("", "FAILED", "BROKE")]
    _, events = await run(bench, streamed=False)
    assert isinstance(events[-1], Broken)
    assert bench.audit.kinds("0190-test") == ["ACCEPTED", "END"]
    _, fields = end_of(bench)
    assert json.loads(fields["answer_released"])[0]["content"] == ""
    assert json.loads(fields["answer_generated"])[0]["content"] == "some text "


async def test_a_whole_answer_that_is_withheld_gives_what_the_filter_had_cleared(bench):
    bench.queue.script = [Step("fine "), Step("bad " * 100), Step("more", "STOP")]
    bench.guard.filtering = lambda text, last: (
        Filtered("", withheld=True, rule="violence") if "bad" in text else Filtered(text)
    )
    _, events = await run(bench, streamed=False)
    assert text(events) == "fine " and events[-1].finish_reason == "WITHHELD"
    assert bench.audit.kinds("0190-test") == ["ACCEPTED", "RELEASE", "END"]


async def test_a_filter_lost_in_a_whole_answer_goes_on_after_what_it_had_cleared(bench):
    """Fails if the filter is told only what was released."""
    bench.queue.script = [Step("one " * 64), Step("two " * 64), Step("three", "STOP")]
    bench.guard.lose_at = 1
    _, events = await run(bench, streamed=False)
    assert text(events) == "one " * 64 + "two " * 64 + "three"
    assert (1, "one " * 64 + "two " * 64, 256) in bench.guard.fed
