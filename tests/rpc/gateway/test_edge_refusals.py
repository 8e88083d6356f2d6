"""What the HTTP edge refuses and how: the status, the field, a time to come back; and what fails on the way."""

from __future__ import annotations

import asyncio
import json

import pytest

from services.gateway.requests.outcome import Step
from tests.rpc.gateway.edge import ask, events, question

CANARY = "卡号4111111111111111"


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/v1/embeddings", "POST", 404), ("/v1/chat/completions", "GET", 405), ("/v1/models", "DELETE", 405)],
)
async def test_other_routes_are_refused_in_openais_shape(http, path, method, status):
    reply = await http.request(method, path)
    assert reply.status_code == status and reply.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("key", ["", "Bearer", "Bearer wrong", "Basic key", "Bearer \xff"])
async def test_a_bad_key_is_unauthenticated_and_leaves_no_entry(door, http, key):
    reply = await ask(http, headers={"authorization": key.encode("latin-1")})
    assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
    assert reply.json()["error"]["type"] == "authentication_error" and door.audit.entries == []


async def test_a_service_is_no_caller(door, http):
    reply = await ask(http, headers={"authorization": "Bearer gateway"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "METHOD_NOT_ALLOWED")


BAD = [
    ({}, "messages", 400),
    (question(model="gpt"), "model", 404),
    (question(model=7), "model", 400),
    (question(messages="hi"), "messages", 400),
    (question(messages=[7]), "messages[0]", 400),
    (question(messages=[{"role": "wizard", "content": "x"}]), "messages[0].role", 400),
    (question(messages=[{"role": "user", "content": 7}]), "messages[0].content", 400),
    (question(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), "messages[0].content[0].type", 400),
    (question(messages=[{"role": "user", "content": "\ud800"}]), "messages[0].content", 400),
    (question(messages=[{"role": "user", "content": "x", "tool_calls": [{}]}]), "messages[0].tool_calls", 400),
    (
        question(messages=[{"role": "user", "content": "x", "reasoning_content": "y"}]),
        "messages[0].reasoning_content",
        400,
    ),
    (question(messages=[{"role": "user", "content": "x"}] * 257), "messages", 400),
    (question(temperature="hot"), "temperature", 400),
    (question(temperature=9), "temperature", 400),
    (question(temperature=10**400), "temperature", 400),
    (question(top_p=0), "top_p", 400),
    (question(seed=True), "seed", 400),
    (question(seed=10**400), "seed", 400),
    (question(seed=-1), "seed", 400),
    (question(max_tokens=999), "max_tokens", 400),
    (question(max_completion_tokens=999), "max_completion_tokens", 400),
    (question(max_completion_tokens=9, max_tokens=8), "max_tokens", 400),
    (question(stop=["a", 7]), "stop[1]", 400),
    (question(stop=["a"] * 5), "stop", 400),
    (question(stop={}), "stop", 400),
    (question(stream="yes"), "stream", 400),
    (question(stream_options={"include_usage": True}), "stream_options.include_usage", 400),
    (question(stream_options={"other": True}), "stream_options.other", 400),
    (question(user="u" * 200), "user", 400),
    (question(n=9), "n", 400),
    (question(n=True), "n", 400),
    (question(logprobs=1), "logprobs", 400),
    (question(top_logprobs=1), "top_logprobs", 400),
    (question(logprobs=True, top_logprobs=21), "top_logprobs", 400),
    (question(logit_bias={"01": 1}), "logit_bias", 400),
    (question(logit_bias={"4294967296": 1}), "logit_bias", 400),
    (question(logit_bias={"1": "much"}), "logit_bias", 400),
    (question(logit_bias={str(n): 1 for n in range(301)}), "logit_bias", 400),
    (question(logit_bias=[]), "logit_bias", 400),
    (question(stop_token_ids=[-1]), "stop_token_ids", 400),
    (question(presence_penalty=3), "presence_penalty", 400),
    (question(repetition_penalty=0), "repetition_penalty", 400),
    (question(stop="s" * 10_000), "stop", 400),
    (question(top_k=3, strongroom={"top_k": 3}), "top_k", 400),
    (question(tools=[{"type": "function"}]), "tools", 400),
    (question(response_format={"type": "xml"}), "response_format.type", 400),
    (question(response_format={"type": "json_schema"}), "response_format.json_schema.schema", 400),
    (
        question(response_format={"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}),
        "response_format",
        400,
    ),
    (question(strongroom={"regex": "[a-z"}), "strongroom.regex", 400),
    (question(audio={}), "audio", 400),
    (question(colour="red"), "colour", 400),
    (question(strongroom={"priority": "now"}), "strongroom.priority", 400),
    (question(strongroom={"top_k": -1}), "strongroom.top_k", 400),
    (question(strongroom={"timeout_seconds": 0}), "strongroom.timeout_seconds", 400),
    (question(strongroom={"colour": 1}), "strongroom.colour", 400),
    (question(strongroom=[]), "strongroom", 400),
]


@pytest.mark.parametrize(("bad", "param", "status"), BAD, ids=lambda value: value if isinstance(value, str) else "")
async def test_bad_input_names_the_field_and_leaves_a_rejected_entry(door, http, until, bad, param, status):
    reply = await http.post("/v1/chat/completions", content=json.dumps(bad))
    error = reply.json()["error"]
    assert (reply.status_code, error["param"], error["type"]) == (status, param, "invalid_request_error")
    assert param in error["message"] and "prompt." not in error["message"]
    await until(lambda: door.audit.kinds() == ["reject"])
    assert (await ask(http)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"\xef\xbb\xbf{}", b"[" * 7_000,
        b'{"temperature": NaN}', b'{"temperature": -Infinity}', b'{"model": "a", "model": "b"}',
        b'{"seed": ' + b"9" * 5_000 + b"}",
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)  # fmt: skip
async def test_what_is_not_one_clear_json_object_is_refused(http, body):
    reply = await http.post("/v1/chat/completions", content=body)
    assert (reply.status_code, reply.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_an_infinite_number_written_with_digits_is_refused(http):
    reply = await http.post("/v1/chat/completions", content=b'{"temperature": 1e999}')
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "temperature")


async def test_a_field_name_that_may_be_content_is_not_said_back(door, http, until):
    reply = await ask(http, question(**{CANARY: 1}))
    assert reply.status_code == 400 and "4111" not in reply.text and reply.json()["error"]["param"] is None
    await until(lambda: door.audit.kinds() == ["reject"])
    assert door.audit.entries[0].reject.field == "" and "4111" not in str(door.audit.entries[0])


async def test_above_the_bound_in_flight_the_answer_is_429_with_a_time_to_come_back(door, http, until):
    door.queue.script = []
    running = [asyncio.create_task(ask(http)) for _ in range(4)]
    await until(lambda: len(door.queue.jobs) == 4)
    reply = await ask(http)
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "TOO_MANY_IN_FLIGHT")
    assert reply.headers["retry-after"] == "1" and reply.headers["retry-after-ms"] == "1000"
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_a_gateway_that_stops_answers_503_with_a_time_to_come_back(door, http):
    await door.conductor.drain(0)
    reply = await ask(http)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "GATEWAY_STOPPING")
    assert int(reply.headers["retry-after"]) >= 1 and door.audit.entries == []


async def test_a_deadline_is_504_and_recorded(door, http, until):
    door.queue.script = []
    reply = await ask(http, question(strongroom={"timeout_seconds": 0.3}))
    assert (reply.status_code, reply.json()["error"]["code"]) == (504, "DEADLINE_EXCEEDED")
    await until(lambda: door.audit.kinds() == ["accept", "end"])
    assert door.audit.entries[-1].end.state == 4


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("failure", "status"), [("OUT_OF_MEMORY", 429), ("PROMPT_TOO_LONG", 400), ("BROKE", 500)])
async def test_what_fails_before_any_text_has_a_status_of_its_own(door, http, stream, failure, status):
    door.queue.script = [Step("", "FAILED", failure)]
    reply = await ask(http, question(stream=stream))
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, failure)


async def test_what_fails_after_some_text_is_the_streams_last_event(door, http):
    door.queue.script = [Step("Hello"), Step("", "FAILED", "BROKE")]
    reply = await ask(http, question(stream=True))
    last = json.loads(events(reply.text)[-1])
    assert reply.status_code == 200 and "Hello" in reply.text and "[DONE]" not in reply.text
    assert (last["error"]["code"], last["error"]["type"]) == ("BROKE", "server_error")
    assert last["error"]["strongroom"]["request_id"] == reply.headers["x-request-id"]
