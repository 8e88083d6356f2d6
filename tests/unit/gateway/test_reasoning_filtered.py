"""Reasoning through the shipped policy's output filters: the same however the answer came in pieces."""

from __future__ import annotations

import asyncio
import itertools
import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.gateway.requests.neighbours import FilterLost
from services.gateway.requests.outcome import Filtered, Finding, Step
from services.guard.policy import open_filters
from services.guard.policy.loading import load_bundle
from services.guard.policy.shelf import PolicyShelf
from services.guard.settings import SHIPPED_POLICY

MOBILE, CARD = "13812345678", "4111111111111111"
ANSWERS = [
    f"<think>他的电话{MOBILE}。</think>卡号{CARD}，再见",
    f"<think>call {MOBILE}</think>{MOBILE} is the number",
    f"<think>138</think>12345678 and card {CARD}",
    f"<think>card {CARD} is all I kn",
    "<think>the moon landing was faked</think>so they say",
    "<think>fine</think>the moon landing was faked, they say",
]


class Filters:
    """The guard's own filters in a guard's place; `losing` are the pieces, counted over all, at which one is lost."""

    def __init__(self, shelf, losing=frozenset()):
        self._filters = open_filters.OpenFilters(shelf, most=8, idle_seconds=60, clock=time.monotonic)
        self._digest, self._losing, self._taken = shelf.in_force.digest, losing, itertools.count()

    async def filter(self, request_id, policy, n, text, last, deadline, released=None, channel="content", choice=0):
        if released is None and next(self._taken) in self._losing:
            raise FilterLost
        key = open_filters.FilterKey(request_id, choice, {"content": 1, "reasoning": 2}[channel])
        piece = open_filters.Piece(n, text, last, released is not None, released or 0)
        try:
            out = self._filters.take(key, self._digest, piece)
        except open_filters.FilterLost:
            raise FilterLost from None
        found = tuple(Finding(f.entity, f.start, f.end, f.level, channel) for f in out.findings)
        return Filtered(out.released, found, out.withheld is not None, out.withheld or "")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    return PolicyShelf(load_bundle(SHIPPED_POLICY), tmp_path_factory.mktemp("shelf"), time.time)


@pytest.fixture
def answered(shelf, bench):
    """The END's fields for an answer that comes in these pieces."""

    async def live(pieces, losing):
        bench.audit.journal.clear()
        bench.queue.script = [*(Step(piece) for piece in pieces), Step("", "STOP")]
        bench.guard.filter = Filters(shelf, losing).filter
        life = bench.life()
        task = asyncio.create_task(life.run())
        await bench.events(life)
        await task
        [(end, fields)] = [detail for kind, _, detail in bench.audit.journal if kind == "END"]
        return end.state, {name: json.loads(value) for name, value in fields.items()}

    return lambda pieces, losing=frozenset(): asyncio.run(live(pieces, losing))


def test_personal_data_is_masked_in_either_channel_and_found_where_it_stood(answered):
    _, fields = answered([ANSWERS[0]])
    [released] = fields["answer_released"]
    assert (released["reasoning"], released["content"]) == ("他的电话[REDACTED]。", "卡号[REDACTED]，再见")
    assert MOBILE in fields["answer_generated"][0]["reasoning"]
    found = [(finding["type"], finding["side"], finding["start"]) for finding in fields["findings"]]
    assert found == [("MOBILE_NUMBER", "reasoning", 4), ("BANK_CARD", "content", 2)]


def test_a_number_that_the_mark_divides_is_none(answered):
    [released] = answered([ANSWERS[2]])[1]["answer_released"]
    assert (released["reasoning"], released["content"]) == ("138", "12345678 and card [REDACTED]")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answer=st.sampled_from(ANSWERS), data=st.data())
def test_invariant_3_reasoning_is_released_the_same_however_it_was_cut(answered, answer, data):
    """Fails if `Answer._release` filters content before the reasoning filter has let out what it held back."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=10)))
    losing = data.draw(st.frozensets(st.integers(0, 10), max_size=3))
    borders = [0, *cuts, len(answer)]
    state, fields = answered([answer[start:end] for start, end in itertools.pairwise(borders)], losing)
    whole_state, whole = answered([answer])
    assert (state, fields["answer_released"]) == (whole_state, whole["answer_released"])
    if state == "COMPLETED":
        assert fields["findings"] == whole["findings"] and fields["answer_generated"] == whole["answer_generated"]
