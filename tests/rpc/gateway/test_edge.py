"""The HTTP edge over the wire: what is answered, whole and streamed, and what the neighbours are told."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from opentelemetry import trace
from strongroom.guard.v1 import guard_pb2

from services.gateway.requests.outcome import Step
from tests.rpc.gateway.edge import ask, events, question

CANARY = "卡号4111111111111111"


async def test_a_whole_answer_is_openais_completion_with_our_additions(door, http):
    reply = await ask(http)
    answer = reply.json()
    [choice] = answer["choices"]
    assert (reply.status_code, answer["object"], answer["model"]) == (200, "chat.completion", "tiny")
    assert choice["message"] == {"role": "assistant", "content": "Hello world", "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert answer["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    ours = answer["strongroom"]
    assert ours["guard"] == {"verdict": "ALLOW", "rule": "", "findings": []} and ours["receipt"] == {}
    assert answer["id"] == f"chatcmpl-{ours['request_id']}" and reply.headers["x-request-id"] == ours["request_id"]
    assert len(ours["trace_id"]) == 32
    assert door.audit.kinds() == ["accept", "release", "end"]


async def test_a_stream_is_role_content_finish_usage_and_done(http):
    body = question(stream=True, stream_options={"include_usage": True})
    reply = await ask(http, body)
    *chunks, done = events(reply.text)
    chunks = [json.loads(chunk) for chunk in chunks]
    assert reply.headers["content-type"].startswith("text/event-stream") and done == "[DONE]"
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert deltas[0]["role"] == "assistant" and deltas[-1] == {}
    assert "".join(delta.get("content", "") for delta in deltas) == "Hello world"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None, None, None, "stop"]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["total_tokens"] == 9
    assert chunks[0]["strongroom"]["request_id"] == chunks[-2]["strongroom"]["request_id"]
    assert chunks[-2]["strongroom"]["guard"]["verdict"] == "ALLOW"
    assert len({chunk["id"] for chunk in chunks}) == 1


async def test_reasoning_comes_apart_from_the_answer_whole_and_streamed(door, http):
    door.queue.script = [Step("<think>so it"), Step(" is</think>\n\nyes", "STOP", "", 7, 9)]
    [choice] = (await ask(http)).json()["choices"]
    message = {"role": "assistant", "content": "yes", "refusal": None, "reasoning_content": "so it is"}
    assert choice["message"] == message
    chunks = [json.loads(chunk) for chunk in events((await ask(http, question(stream=True))).text)[:-1]]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[1:] == [
        {"reasoning_content": "so it"}, {"reasoning_content": " is"}, {"content": "yes"}, {},
    ]  # fmt: skip
    again = question()
    again["messages"] = [{"role": "user", "content": "why?"}, message, {"role": "user", "content": "sure?"}]
    assert (await ask(http, again)).status_code == 200
    screens = [item.screen for item in door.guard.items if item.HasField("screen")]
    screened = [(message.role, message.content) for message in screens[-1].messages]
    assert screened == [("user", "why?"), ("assistant", "yes"), ("user", "sure?")]


async def test_an_answer_without_a_word_after_its_reasoning_says_why(door, http):
    door.queue.script = [Step("<think>so it", "LENGTH")]
    answer = (await ask(http)).json()
    assert (answer["choices"][0]["message"]["content"], answer["choices"][0]["finish_reason"]) == ("", "length")
    assert answer["strongroom"]["reasoning_unfinished"] is True


async def test_no_usage_chunk_comes_unasked(http):
    chunks = [json.loads(chunk) for chunk in events((await ask(http, question(stream=True))).text)[:-1]]
    assert all("usage" not in chunk and chunk["choices"] for chunk in chunks)


async def test_every_parameter_reaches_the_job(door, http):
    body = {
        "model": "tiny",
        "messages": [
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
        ],
        "stop": "END", "seed": 7, "temperature": 0, "top_p": 0.5, "max_completion_tokens": 9, "user": "u-1",
        "strongroom": {"priority": "batch", "top_k": 3, "timeout_seconds": 5},
        "n": 1, "logprobs": True, "top_logprobs": 2, "response_format": {"type": "json_object"}, "tools": None,
        "frequency_penalty": 0, "presence_penalty": -0.5, "logit_bias": {"17": -100, "4": 1.5}, "min_p": 0.1,
        "repetition_penalty": 1.1, "min_tokens": 0, "stop_token_ids": [5],
    }  # fmt: skip
    assert (await ask(http, body, headers={"Idempotency-Key": "k-1"})).status_code == 200
    [job] = door.queue.jobs
    sampling = (
        "temperature=0.0, top_p=0.5, top_k=3, seed=7, max_tokens=9, stop=('END',), min_p=0.1, repetition_penalty=1.1, "
        "presence_penalty=-0.5, frequency_penalty=0.0, logit_bias=((4, 1.5), (17, -100.0)), stop_ids=(5,), "
        """min_tokens=0, logprobs=2, json_schema='{"type":"object"}', regex=None, n=None)"""
    )
    assert sampling in job.body.decode() and job.priority == "batch"
    messages = [(m.role, m.content) for m in door.guard.items[0].screen.messages]
    assert messages == [("system", "be brief"), ("user", "one\ntwo")]
    accept = door.audit.entries[0].accept
    assert (accept.party.subject, accept.idempotency_key) == ("u-1", "k-1")


async def test_a_refused_prompt_is_an_answer_with_the_refusal_text(door, http):
    door.guard.verdict = guard_pb2.VERDICT_REFUSE
    answer = (await ask(http)).json()
    choice = answer["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("content_filter", "此内容违反使用政策")
    assert answer["strongroom"]["finish_reason"] == "REFUSED" and answer["strongroom"]["guard"]["verdict"] == "REFUSE"
    streamed = await ask(http, question(stream=True))
    assert "此内容违反使用政策" in streamed.text and '"content_filter"' in streamed.text
    assert door.audit.kinds() == ["refuse", "refuse"] and door.queue.jobs == []


async def test_invariant_2_an_edge_stream_sends_nothing_that_audit_does_not_hold(door, http):
    """Fails if `_stream` writes a Delta that did not come from the life's mailbox, or `_release` emits before audit."""
    door.queue.script = [Step("one "), Step("two ")]
    async with http.stream("POST", "/v1/chat/completions", json=question(stream=True)) as reply:
        seen = ""
        async for line in reply.aiter_lines():
            if line.startswith("data: "):
                seen += json.loads(line[6:])["choices"][0]["delta"].get("content", "")
                held = [json.loads(item.release.content) for item in door.audit.entries if item.HasField("release")]
                assert "".join(pieces[0]["text"] for pieces in held).startswith(seen)
            if seen == "one two ":
                break


async def test_models_are_listed_and_shown(http):
    listed = (await http.get("/v1/models")).json()
    assert listed["object"] == "list" and [model["id"] for model in listed["data"]] == ["tiny"]
    assert (await http.get("/v1/models/tiny")).json() == listed["data"][0]
    assert listed["data"][0]["strongroom"]["context_tokens"] == 256
    missing = await http.get("/v1/models/gpt")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "MODEL_NOT_FOUND")


async def test_cancelled_through_the_other_door_is_499(door, http, until):
    from strongroom.gateway.v1 import gateway_pb2 as pb

    door.queue.script = []
    running = asyncio.create_task(ask(http))
    await until(lambda: door.queue.jobs)
    request = pb.CancelRequest(request_id=door.queue.jobs[0].job_id)
    assert (await door.stub.Cancel(request, metadata=door.key())).cancelled
    assert (await running).status_code == 499


async def test_a_slow_stream_shows_that_it_lives(door, http):
    door.queue.script = [Step("Hello")]
    reply = await ask(http, question(stream=True, strongroom={"timeout_seconds": 0.8}))
    assert ": keep-alive" in events(reply.text) and "DEADLINE_EXCEEDED" in events(reply.text)[-1]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_who_hangs_up_cancels_and_the_record_ends(door, http, until, stream):
    door.queue.script = [Step("Hello")] if stream else []
    if stream:
        async with http.stream("POST", "/v1/chat/completions", json=question(stream=True)) as reply:
            await anext(reply.aiter_lines())
    else:
        running = asyncio.create_task(ask(http))
        await until(lambda: door.queue.jobs)
        running.cancel()
    await until(lambda: door.audit.kinds()[-1:] == ["end"])
    assert door.audit.entries[-1].end.state == 3 and len(door.queue.cancelled) == 1


async def test_a_trace_goes_on_from_the_callers(http, spans):
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    reply = await ask(http, headers={"traceparent": parent})
    assert reply.json()["strongroom"]["trace_id"] == "a" * 32
    [server] = [span for span in spans() if span.name == "POST /v1/chat/completions"]
    assert server.kind is trace.SpanKind.SERVER and server.parent.span_id == int("b" * 16, 16)
    assert server.attributes["http.response.status_code"] == 200
    odd = await ask(http, headers={"traceparent": "nonsense"})
    assert odd.status_code == 200


async def test_no_content_reaches_a_log_or_a_span(door, http, spans, caplog):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    door.queue.script = [Step(CANARY), Step("", "FAILED", "BROKE")]
    await ask(http, question(CANARY, stream=True))
    await ask(http, question(CANARY, colour=CANARY))
    await http.post("/v1/chat/completions", content=f'{{"model": "{CANARY}", ')
    told = caplog.text + str([(span.name, dict(span.attributes), span.events) for span in spans()])
    assert "4111" not in told


async def test_characters_at_which_some_readers_break_lines_arrive_whole(door, http):
    door.queue.script = [Step("a\u2028b\u2029c\x85d\r\ne", "STOP", "", 1, 1)]
    chunks = (await ask(http, question(stream=True))).text
    assert len(chunks.splitlines()) == chunks.count("\n")
    contents = [json.loads(chunk)["choices"][0]["delta"].get("content", "") for chunk in events(chunks)[:-1]]
    assert "".join(contents) == "a\u2028b\u2029c\x85d\r\ne"
