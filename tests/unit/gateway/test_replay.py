"""A recorded request run once more: by the gateway's own path, with the model's very input, and nothing leaves."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.failures import ResourceExhausted, Unavailable
from services.gateway.requests import fields
from services.gateway.requests.admission import Admission
from services.gateway.requests.conductor import Conductor
from services.gateway.requests.outcome import Broken, Delta, Made, Outcome, Step
from services.gateway.requests.question import Caller, Message, Profile
from services.gateway.requests.recorded import recorded, sampling_of
from services.gateway.requests.rejections import Rejections
from services.gateway.requests.sampling import Sampling

FLOATS = st.floats(-2, 2, allow_nan=False).map(lambda value: value or 0.0)  # of -0 JSON has no sign
SAMPLINGS = st.builds(
    Sampling,
    temperature=st.none() | FLOATS,
    top_p=st.none() | FLOATS,
    top_k=st.none() | st.integers(0, 1000),
    seed=st.none() | st.integers(0, 2**53 - 1),
    max_tokens=st.none() | st.integers(1, 4096),
    stop=st.lists(st.text(min_size=1), max_size=4).map(tuple),
    min_p=st.none() | FLOATS,
    repetition_penalty=st.none() | FLOATS,
    presence_penalty=st.none() | FLOATS,
    frequency_penalty=st.none() | FLOATS,
    logit_bias=st.dictionaries(st.integers(0, 50_000), FLOATS, max_size=12).map(lambda all: tuple(sorted(all.items()))),
    stop_ids=st.lists(st.integers(0, 50_000), max_size=4).map(tuple),
    min_tokens=st.none() | st.integers(0, 100),
    logprobs=st.none() | st.integers(0, 20),
    json_schema=st.none() | st.text(),
    n=st.none() | st.integers(1, 8),
)
MESSAGES = (Message("system", "ours"), Message("user", "call [MOBILE_NUMBER]"))
CHOSEN = Sampling(temperature=0.7, top_p=0.9, top_k=0, seed=11, max_tokens=64)


@given(SAMPLINGS)
def test_the_parameters_of_a_record_are_read_back_as_the_very_ones_that_were_written(sampling):
    """Fails if a field of Sampling is forgotten, or the order of biases is that of their names."""
    assert sampling_of(json.loads(json.dumps(fields.parameters(sampling)))) == sampling


def of_record(sampling=CHOSEN):
    sent = fields.request(MESSAGES, "tiny", sampling)
    told = json.dumps({"policy_digest": "70" * 32}).encode()
    return recorded("r1", "key-1", Caller("bank", "auditor"), sent, told)


def conductor(bench, bound=4):
    rejections = Rejections(lambda rejection: pytest.fail("a replay is nobody's bad input"))
    return Conductor(bench.neighbours, Admission(bound), rejections, "", Profile())


async def run(bench, record):
    life, ended = conductor(bench).replay(record, "0" * 32, 5.0)
    events, _ = await asyncio.gather(bench.events(life), ended)
    return life, events


async def test_a_replay_takes_every_step_of_a_request_and_lets_nothing_out(bench):
    """Fails if NothingOut passes what is generated on."""
    bench.queue.made = Made([1], [5, 6], [{"engine": "torch"}])
    life, events = await run(bench, of_record())
    assert isinstance(events[-1], Outcome) and not any(isinstance(event, Delta) for event in events)
    assert bench.audit.kinds(life.terms.request_id) == ["ACCEPTED", "END"]
    [job] = bench.queue.submitted
    assert (job.priority, job.model) == ("batch", "tiny")
    assert bench.queue.asked == [CHOSEN], "the recorded seed, and all else"
    [(end, kept)] = [detail for kind, _, detail in bench.audit.journal if kind == "END"]
    assert end.state == "COMPLETED"
    assert json.loads(kept["answer_released"])[0]["content"] == ""
    assert json.loads(kept["answer_generated"])[0]["content"] == "Hello world"
    assert json.loads(kept["generation"])["choices"][0]["token_ids"] == [5, 6]


async def test_the_guard_is_asked_nothing_and_its_record_says_whose_replay_it_is(bench):
    """Its messages were redacted before: redacted again they would be another prompt."""
    bench.guard.away = True
    await run(bench, of_record())
    [accepted] = bench.audit.accepted
    assert "request_received" not in accepted, "no caller sent anything"
    assert accepted["request_sent"] == fields.request(MESSAGES, "tiny", CHOSEN)
    told = json.loads(accepted["parameters"])
    assert (told["replay_of"], told["policy_digest"], told["seed"]) == ("r1", "70" * 32, 11)
    assert bench.audit.policies == set() and bench.guard.fed == []
    [party] = bench.audit.parties
    assert (party.sealed_with, party.caller, party.subject) == ("key-1", Caller("bank", "auditor"), "")


async def test_all_answers_of_a_request_are_made_again(bench):
    await run(bench, of_record(Sampling(seed=11, max_tokens=64, n=2)))
    assert [asked.seed for asked in bench.queue.asked] == [11, 12]


async def test_a_replay_waits_for_its_place_like_anybody(bench):
    with pytest.raises(ResourceExhausted):
        conductor(bench, bound=1).replay(of_record(Sampling(seed=1, n=2)), "0" * 32, 5.0)
    bench.audit.away = True
    with pytest.raises(Unavailable):
        conductor(bench).replay(of_record(), "0" * 32, 5.0)
    assert bench.audit.journal == []


async def test_one_that_is_left_ends_and_so_does_its_record(bench):
    bench.queue.script = [Step("Hello")]
    life, ended = conductor(bench).replay(of_record(), "0" * 32, 5.0)
    while not bench.queue.submitted:
        await asyncio.sleep(0)
    life.detach()
    await ended
    assert life.accepted and isinstance((await life.all_events())[-1], Broken)
    assert bench.audit.kinds(life.terms.request_id) == ["ACCEPTED", "END"]
