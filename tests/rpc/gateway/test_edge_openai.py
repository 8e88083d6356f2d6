"""The edge as the `openai` package sees it: whole and streamed, sync and async, failing, retried, left alone."""

from __future__ import annotations

import asyncio
import json

import openai
import pytest
from strongroom.guard.v1 import guard_pb2

from services.gateway.requests.outcome import Step
from services.gateway.requests.question import Adapter

MESSAGES = [{"role": "user", "content": "hello"}]
ASK = {"model": "tiny", "messages": MESSAGES}


@pytest.fixture
async def client(door):
    url = f"http://127.0.0.1:{door.http_port}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="key", max_retries=0, timeout=10) as client:
        yield client


async def test_a_whole_answer(client):
    answer = await client.chat.completions.create(**ASK)
    assert answer.choices[0].message.content == "Hello world" and answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == 9
    assert answer.strongroom["request_id"] == answer._request_id


async def test_a_stream_with_usage(client):
    stream = await client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "Hello world"
    assert chunks[-1].usage.completion_tokens == 2 and chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-2].strongroom["guard"]["verdict"] == "ALLOW"


async def test_the_clients_own_accumulator_of_streams(client):
    async with client.chat.completions.stream(**ASK) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.content == "Hello world"


async def test_the_synchronous_client(door):
    url = f"http://127.0.0.1:{door.http_port}/v1"

    def ask():
        with openai.OpenAI(base_url=url, api_key="key", max_retries=0, timeout=10) as client:
            whole = client.chat.completions.create(**ASK).choices[0].message.content
            streamed = client.chat.completions.create(**ASK, stream=True)
            return whole, "".join(chunk.choices[0].delta.content or "" for chunk in streamed)

    assert await asyncio.to_thread(ask) == ("Hello world", "Hello world")


async def test_models(client):
    assert [model.id async for model in client.models.list()] == ["tiny"]
    assert (await client.models.retrieve("tiny")).owned_by == "strongroom"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt")


async def test_an_adapter_is_a_model_of_its_own_name(door, client):
    """Fails if `addressed` leaves the word as it came, or the answer names the model alone."""
    door.queue.adapters = {"tone": b"d" * 32}
    listed = [model async for model in client.models.list()]
    assert [model.id for model in listed] == ["tiny", "tiny:tone"]
    shown = await client.models.retrieve("tiny:tone")
    assert (shown.parent, shown.strongroom["adapter_digest"]) == ("tiny", "64" * 32)
    answer = await client.chat.completions.create(model=listed[1].id, messages=MESSAGES)
    chunks = [chunk async for chunk in await client.chat.completions.create(**ASK | {"model": shown.id}, stream=True)]
    assert {answer.model, *(chunk.model for chunk in chunks)} == {"tiny:tone"}
    assert all(repr(Adapter("tone", b"d" * 32)).encode() in job.body for job in door.queue.jobs)
    accepted = next(item.accept for item in door.audit.entries if item.HasField("accept"))
    received = next(json.loads(field.content) for field in accepted.fields if field.name == "request_received")
    assert (received["model"], received["adapter"]) == ("tiny", "tone")


async def test_a_model_may_have_the_sign_of_an_adapter_in_its_name(door, client):
    served = door.queue.models()["tiny"]
    door.queue.models = lambda: {"tiny": served, "tiny:7b": served}
    answer = await client.chat.completions.create(model="tiny:7b", messages=MESSAGES)
    assert (answer.model, door.queue.jobs[0].model) == ("tiny:7b", "tiny:7b")


async def test_our_own_members_go_in_extra_body(door, client):
    await client.chat.completions.create(**ASK, extra_body={"strongroom": {"priority": "batch"}})
    assert door.queue.jobs[0].priority == "batch"


async def test_a_refusal_is_an_answer(door, client):
    door.guard.verdict = guard_pb2.VERDICT_REFUSE
    answer = await client.chat.completions.create(**ASK)
    assert answer.choices[0].finish_reason == "content_filter"
    assert answer.choices[0].message.content == "此内容违反使用政策"


@pytest.mark.parametrize(
    ("asked", "kind", "code", "param"),
    [
        ({"temperature": 9}, openai.BadRequestError, "INVALID_ARGUMENT", "temperature"),
        ({"n": 9}, openai.BadRequestError, "INVALID_ARGUMENT", "n"),
        ({"model": "gpt"}, openai.NotFoundError, "MODEL_NOT_FOUND", "model"),
        ({"model": "gpt:tone"}, openai.NotFoundError, "MODEL_NOT_FOUND", "model"),
        ({"model": "tiny:tone"}, openai.NotFoundError, "ADAPTER_NOT_FOUND", "model"),
        ({"model": "tiny:" + "a" * 129}, openai.BadRequestError, "INVALID_ARGUMENT", "model"),
    ],
)
async def test_errors_are_the_clients_own(client, asked, kind, code, param):
    with pytest.raises(kind) as caught:
        await client.chat.completions.create(**{**ASK, **asked})
    assert (caught.value.code, caught.value.param) == (code, param)


async def test_a_wrong_key_is_an_authentication_error(client):
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="wrong").chat.completions.create(**ASK)


async def test_an_error_in_the_middle_of_a_stream_is_raised(door, client):
    door.queue.script = [Step("Hello"), Step("", "FAILED", "BROKE")]
    stream = await client.chat.completions.create(**ASK, stream=True)
    said = ""
    with pytest.raises(openai.APIError) as caught:
        async for chunk in stream:
            said += chunk.choices[0].delta.content or ""
    assert said == "Hello" and caught.value.code == "BROKE"


async def test_keep_alive_comments_are_not_seen(door, client):
    """Two of them at least: the fixture's edge writes one each 0.1 s."""
    door.queue.script = [Step("Hello")]
    limited = {"strongroom": {"timeout_seconds": 0.5}}
    stream = await client.chat.completions.create(**ASK, stream=True, extra_body=limited)
    with pytest.raises(openai.APIError) as caught:
        [chunk async for chunk in stream]
    assert caught.value.code == "DEADLINE_EXCEEDED"


async def test_a_full_gateway_is_tried_again_when_it_said(door, client, until):
    door.queue.script = []
    blocked = [asyncio.create_task(client.chat.completions.create(**ASK)) for _ in range(4)]
    await until(lambda: len(door.queue.jobs) == 4)
    with pytest.raises(openai.RateLimitError) as caught:
        await client.chat.completions.create(**ASK)
    assert caught.value.response.headers["retry-after"] == "1"
    patient = asyncio.create_task(client.with_options(max_retries=3).chat.completions.create(**ASK))
    rejected = lambda: len([item for item in door.audit.entries if item.HasField("reject")])
    await until(lambda: rejected() >= 1)
    door.queue.script = [Step("now", "STOP", "", 1, 1)]
    for task in blocked:
        task.cancel()
    assert (await patient).choices[0].message.content == "now"


async def test_what_is_pointless_is_not_tried_again(door, client):
    door.audit.refusing = "IDEMPOTENCY_CONFLICT"
    insistent = client.with_options(max_retries=3)
    with pytest.raises(openai.ConflictError) as caught:
        await insistent.chat.completions.create(**ASK, extra_headers={"Idempotency-Key": "k"})
    assert caught.value.body["strongroom"]["request_id"] == "other"
    assert door.audit.kinds() == ["accept"]


async def test_a_retry_under_a_key_waits_for_its_first_attempt_and_gets_that_answer(door, client, until, told_before):
    """What the client does by itself after a timeout: it sends the same request with the same key."""
    door.audit.refusing, door.audit.told = "IDEMPOTENCY_CONFLICT", told_before
    door.audit.running = True
    patient = client.with_options(max_retries=5).chat.completions
    waiting = asyncio.create_task(patient.create(**ASK, extra_headers={"Idempotency-Key": "k"}))
    await until(lambda: len(door.audit.kinds()) >= 1)
    door.audit.running = False
    answer = await waiting
    assert answer.choices[0].message.content == "told before" and answer.strongroom["request_id"] == "other"
    assert door.queue.jobs == []


async def test_reasoning_is_where_clients_look_for_it(door, client):
    door.queue.script = [Step("<think>so</think>yes", "STOP", "", 1, 1)]
    message = (await client.chat.completions.create(**ASK)).choices[0].message
    assert (message.content, message.reasoning_content) == ("yes", "so")
    stream = await client.chat.completions.create(**ASK, stream=True)
    deltas = [chunk.choices[0].delta async for chunk in stream]
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == "so"
    assert "".join(delta.content or "" for delta in deltas) == "yes"
    history = [*MESSAGES, message.model_dump(), {"role": "user", "content": "sure?"}]
    assert await client.chat.completions.create(model="tiny", messages=history)


async def test_a_gateway_that_stops_is_an_internal_server_error_with_a_time(door, client):
    await door.conductor.drain(0)
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(**ASK)
    assert caught.value.status_code == 503 and caught.value.response.headers["retry-after"]


async def test_a_client_that_times_out_cancels(door, client, until):
    door.queue.script = []
    with pytest.raises(openai.APITimeoutError):
        await client.with_options(timeout=0.5).chat.completions.create(**ASK)
    await until(lambda: door.audit.kinds()[-1:] == ["end"])
    assert door.audit.entries[-1].end.state == 3


async def test_a_stream_that_is_closed_cancels(door, client, until):
    door.queue.script = [Step("Hello")]
    stream = await client.chat.completions.create(**ASK, stream=True)
    await anext(aiter(stream))
    await stream.close()
    await until(lambda: door.audit.kinds()[-1:] == ["end"])
    assert door.audit.entries[-1].end.state == 3 and len(door.queue.cancelled) == 1


async def test_a_synchronous_stream_that_is_closed_cancels(door, until):
    door.queue.script = [Step("Hello")]
    url = f"http://127.0.0.1:{door.http_port}/v1"

    def leave_early():
        with (
            openai.OpenAI(base_url=url, api_key="key", timeout=10) as client,
            client.chat.completions.create(**ASK, stream=True) as stream,
        ):
            next(iter(stream))

    await asyncio.to_thread(leave_early)
    await until(lambda: door.audit.kinds()[-1:] == ["end"])
    assert door.audit.entries[-1].end.state == 3
