"""Invariant 5 in the gateway: one answer an idempotency key, read back and never generated twice."""

from __future__ import annotations

import asyncio
import json

import pytest

from chassis.failures import AlreadyExists
from services.gateway.requests.neighbours import KeyHeld
from services.gateway.requests.outcome import REFUSE, Broken, Delta, Finding, Outcome, Screening, Started
from services.gateway.requests.read_back import StoredOutcome, read_back

FINDINGS = [
    {"type": "EMAIL", "start": 3, "end": 9, "level": "C2", "message_index": 0, "rule": "", "side": "prompt"},
]


def stored(state: str = "COMPLETED", rule: str = "", text: str = "The vault is closed.", reasoning: str = ""):
    choice = {"content": text, "finish_reason": "STOP", "reasoning": reasoning, "tool_calls": []}
    fields = {
        "answer_released": json.dumps([choice]).encode(),
        "findings": json.dumps(FINDINGS).encode(),
        "parameters": json.dumps({"policy_digest": "ab" * 32}).encode(),
    }
    return StoredOutcome("first", state, rule, "STOP", "tiny", "c" * 32, (7, 4), fields, '{"receipt":1}')


async def run(bench):
    life = bench.life()
    task = asyncio.create_task(life.run())
    events = await bench.events(life)
    return events, await task


@pytest.mark.parametrize("refused", [False, True])
async def test_invariant_5_the_same_request_hears_the_answer_it_was_given(bench, refused):
    """Fails if `_converse` lets KeyHeld pass as any other refusal, or submits the job before it is accepted."""
    if refused:
        bench.guard.screening = Screening(REFUSE, b"p" * 32, rule="weapons", refusal_text="no")
    bench.audit.held, bench.audit.kept = KeyHeld("first", same_request=True), read_back(stored())
    (started, delta, outcome), account = await run(bench)
    assert isinstance(started, Started) and started.request_id == "first"
    assert delta == Delta("The vault is closed.")
    assert isinstance(outcome, Outcome) and outcome.read_back and outcome.request_id == "first"
    assert (outcome.receipt, outcome.verdict, outcome.input_tokens, outcome.output_tokens) == (
        '{"receipt":1}', "ALLOW", 7, 4,
    )  # fmt: skip
    assert outcome.findings == (Finding("EMAIL", 3, 9, "C2", "prompt"),)
    assert bench.queue.submitted == [] and bench.audit.journal == [] and account.end == "READ_BACK"


@pytest.mark.parametrize(("same", "reason"), [(True, "REQUEST_STILL_RUNNING"), (False, "IDEMPOTENCY_CONFLICT")])
async def test_invariant_5_a_key_without_an_answer_for_this_request_is_refused(bench, same, reason):
    """Fails if `_answer_again` reads back whatever record holds the key."""
    bench.audit.held = KeyHeld("first", same_request=same)
    bench.audit.kept = None if same else read_back(stored())
    (broken,), account = await run(bench)
    assert isinstance(broken, Broken) and isinstance(broken.error, AlreadyExists)
    assert (broken.error.reason, broken.error.metadata["request_id"]) == (reason, "first")
    assert bench.queue.submitted == [] and bench.audit.journal == [] and account.end == "NOT_ACCEPTED"


@pytest.mark.parametrize(
    ("state", "rule", "verdict"),
    [
        ("COMPLETED", "", "ALLOW"),
        ("COMPLETED", "tone", "FLAG"),
        ("WITHHELD", "code", "REFUSE"),
        ("REFUSED", "x", "REFUSE"),
    ],
)
def test_the_verdict_is_the_one_that_was_given(state, rule, verdict):
    outcome = read_back(stored(state, rule)).outcome
    assert (outcome.verdict, outcome.rule, outcome.policy_digest) == (verdict, rule, b"\xab" * 32)


def test_an_answer_of_reasoning_alone_says_so_again():
    given = read_back(stored(text="", reasoning="so"))
    assert given.deltas == (Delta("", "so"),) and given.outcome.reasoning_unfinished
