"""Several answers to one prompt, at both doors."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict

import openai
import pytest
from strongroom.gateway.v1 import gateway_pb2 as pb

from services.gateway.requests.outcome import Step, TokenLogprob

TOLD = (TokenLogprob(b"one", -0.5, (), 3),)
SCRIPTS = {
    0: [Step("on", "", "", 7, 1), Step("e", "STOP", "", 7, 2, logprobs=TOLD)],
    1: [Step("<think>so</think>two", "STOP", "", 7, 4)],
    2: [Step("three and on", "LENGTH", "", 7, 3)],
}
SAID = {0: "one", 1: "two", 2: "three and on"}
ASK = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "n": 3, "seed": 5}


@pytest.fixture
async def client(door):
    door.queue.scripts = SCRIPTS
    url = f"http://127.0.0.1:{door.http_port}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="key", max_retries=0, timeout=10) as client:
        yield client


async def test_a_whole_answer_has_all_choices_in_order(client, door):
    answer = await client.chat.completions.create(**ASK, logprobs=True)
    assert {choice.index: choice.message.content for choice in answer.choices} == SAID
    assert [choice.finish_reason for choice in answer.choices] == ["stop", "stop", "length"]
    assert answer.choices[1].message.reasoning_content == "so"
    assert [len(choice.logprobs.content) for choice in answer.choices] == [1, 0, 0]
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 9)
    assert answer.strongroom["finish_reasons"] == ["STOP", "STOP", "LENGTH"]
    [accepted] = [item.accept for item in door.audit.entries if item.HasField("accept")]
    received = json.loads(next(field.content for field in accepted.fields if field.name == "request_received"))
    assert received["parameters"]["n"] == 3 and len(accepted.job_digests) == 3


async def test_a_streams_chunks_say_which_choice_they_are_of(client):
    stream = await client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True})
    *chunks, last = [chunk async for chunk in stream]
    said, roles, finishes = defaultdict(str), [], {}
    for chunk in chunks:
        [choice] = chunk.choices
        said[choice.index] += choice.delta.content or ""
        roles += [choice.index] if choice.delta.role else []
        finishes |= {choice.index: choice.finish_reason} if choice.finish_reason else {}
    assert said == SAID and roles == [0, 1, 2]
    assert finishes == {0: "stop", 1: "stop", 2: "length"} and last.usage.completion_tokens == 9
    assert chunks[-1].strongroom["receipt"] == {}


async def test_the_clients_own_accumulator_has_every_choice(client, door):
    """Fails if the choices' first chunks come in another order than their indexes."""
    door.queue.scripts = {**SCRIPTS, 2: [Step(SAID[2], "STOP", "", 7, 3)]}  # at a length it raises
    async with client.chat.completions.stream(**ASK) as stream:
        final = await stream.get_final_completion()
    assert {choice.index: choice.message.content for choice in final.choices} == SAID


def prompt(n=3):
    sampling = pb.Sampling(n=n)
    return pb.Prompt(messages=[pb.Message(role="user", content="hello")], sampling=sampling)


async def test_the_same_over_grpc(client, door):
    whole = await door.stub.Generate(pb.GenerateRequest(prompt=prompt()), metadata=door.key())
    assert [choice.text for choice in whole.choices] == list(SAID.values()) and whole.text == "one"
    assert whole.choices[1].reasoning == "so" and whole.choices[2].end.finish_reason == pb.FINISH_REASON_LENGTH
    said = defaultdict(str)
    async for event in door.stub.StreamGenerate(pb.StreamGenerateRequest(prompt=prompt()), metadata=door.key()):
        said[event.delta.choice] += event.delta.text
    assert said == SAID
    assert [end.finish_reason for end in event.outcome.choices] == [end.end.finish_reason for end in whole.choices]


async def test_one_answer_looks_as_it_did_before_there_could_be_several(door):
    whole = await door.stub.Generate(pb.GenerateRequest(prompt=prompt(1)), metadata=door.key())
    assert whole.text == "Hello world" and not whole.choices and not whole.outcome.choices


async def test_invariant_9_a_caller_who_leaves_stops_all_choices(door):
    """Fails if `_close` cancels the first job alone."""
    door.queue.script = [Step("on and on")]
    call = door.stub.StreamGenerate(pb.StreamGenerateRequest(prompt=prompt()), metadata=door.key())
    await call.read()
    call.cancel()
    async with asyncio.timeout(10):
        while len(door.queue.cancelled) < 3:
            await asyncio.sleep(0.01)
    assert door.queue.cancelled == [job.job_id for job in door.queue.jobs]
