"""Reversible tokens through the whole suite: the model gets tokens, the caller gets back what they stand for."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from strongroom.gateway.v1 import gateway_pb2 as pb
from strongroom.gateway.v1 import gateway_pb2_grpc as rpc
from strongroom.guard.v1 import guard_pb2
from strongroom.verify import verify_receipt

from services.gateway.requests.conversation import conversation_of
from services.gateway.requests.question import Caller, Message, Question
from services.guard.wire import tokens_of

MOBILE, CARD, NAME = "139-1234-5678", "6222020897949459357", "曾晓琳"
TOLD = f"客户{NAME}的手机是{MOBILE}，卡号{CARD}。 Please call 13912345678 again"
SEEN = ("BANK_CARD", "MOBILE_NUMBER", "PERSON_NAME")


@pytest.fixture
async def suite(reversible):
    await reversible.ready()
    return reversible


def token_of(suite: Any, began: str, entity: str, value: str) -> str:
    """The token of a value in the conversation that began with a message: made with the guards' own key."""
    question = Question((Message("user", began),))
    conversation = conversation_of(Caller("development", "developer"), question)
    key = (suite.home / "keys" / "token").read_bytes()
    return tokens_of(key, guard_pb2.Screen(conversation=conversation)).token(entity, value)


async def asked(suite: Any, *turns: tuple[str, str]) -> pb.GenerateResponse:
    """The answer to several messages, in one piece."""
    messages = [pb.Message(role=role, content=content) for role, content in turns]
    prompt = pb.Prompt(messages=messages, sampling=pb.Sampling(temperature=0.0, max_tokens=200))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{suite.port_base}") as channel:
        return await rpc.GatewayServiceStub(channel).Generate(
            pb.GenerateRequest(prompt=prompt), metadata=suite.metadata, timeout=60
        )


def posted(suite: Any, text: str, stream: bool) -> list[dict[str, Any]]:
    """What the HTTP door says: one object, or those of a stream."""
    body = {"model": "echo", "messages": [{"role": "user", "content": text}], "max_tokens": 200, "stream": stream}
    request = urllib.request.Request(
        f"http://127.0.0.1:{suite.port_base + 10}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"authorization": suite.metadata[0][1], "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        said = reply.read().decode()
    lines = [line.removeprefix("data: ") for line in said.splitlines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines] if stream else [json.loads(said)]


def joined(parts: Sequence[dict[str, Any]], member: str) -> str:
    return "".join(part.get(member) or "" for part in parts)


async def test_the_model_sees_tokens_and_the_caller_reads_what_they_stand_for(suite):
    """Fails if the gateway restores before the filter, which would mask it again, or not at all."""
    answer = await suite.ask(TOLD, max_tokens=200)
    assert answer.text == TOLD.replace("13912345678", MOBILE), "a value comes back as it was first written"
    findings = answer.outcome.guard.findings
    assert {found.type for found in findings if found.side == "prompt"} == set(SEEN)
    began = f"{TOLD} stopped"
    token = token_of(suite, began, "MOBILE_NUMBER", "13912345678")
    cut = await suite.ask(began, max_tokens=200, stop=[token])
    assert cut.text == TOLD[: TOLD.index(MOBILE)], "the engine never came to the token: it saw something else"


async def test_reasoning_is_restored_and_the_receipt_is_of_what_the_caller_got(suite):
    text = f"<think>it is {NAME}，{MOBILE}</think> call {MOBILE} now"
    answer = await suite.ask(text, max_tokens=200)
    assert (answer.reasoning, answer.text) == (f"it is {NAME}，{MOBILE}", f"call {MOBILE} now")
    key = (suite.home / "audit" / "tlog" / "log.vkey").read_text().strip()
    parameters = {"max_tokens": 200, "temperature": 0.0}
    request = {"messages": [{"role": "user", "content": text}], "parameters": parameters}
    released = {"content": answer.text, "reasoning": answer.reasoning, "finish_reason": "STOP"}
    assert verify_receipt(request, released, json.loads(answer.outcome.receipt.document), key)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_http_door_restores_as_grpc_does(suite, stream):
    said = await asyncio.to_thread(posted, suite, f"<think>see {CARD}</think> {TOLD}", stream)
    parts = [choice["delta" if stream else "message"] for one in said for choice in one["choices"]]
    assert joined(parts, "reasoning_content") == f"see {CARD}"
    assert joined(parts, "content").strip() == TOLD.replace("13912345678", MOBILE)


async def test_another_conversations_tokens_are_never_restored(suite):
    """Fails if `tokens_of` leaves the conversation out of the key: then the later turn's token is this one's, too."""
    token = token_of(suite, TOLD, "MOBILE_NUMBER", "13912345678")
    again = await asked(suite, ("user", TOLD), ("assistant", "ok"), ("user", f"is it {token} or not"))
    assert again.text == f"is it {MOBILE} or not", "a later turn of the same conversation"
    for before in ("", f"{MOBILE} ", f"{TOLD} "):
        other = await asked(suite, ("user", f"{before}is it {token} or not"))
        assert other.text.endswith(f"is it {token} or not")
        assert other.text.startswith(before.partition(" ")[0])


async def test_nothing_of_it_is_left_where_the_record_is_not_sealed(suite):
    """The queue, the logs of all services and the journal's clear part. Fails if a job holds the caller's messages."""
    await suite.ask(TOLD, max_tokens=200)
    places = [
        path for folder in ("log", "redis", "audit") for path in suite.home.glob(f"{folder}/**/*") if path.is_file()
    ]
    assert len(places) > 5
    canary = re.compile("|".join(re.escape(value) for value in (MOBILE, "13912345678", CARD, NAME)).encode())
    assert [path.name for path in places if canary.search(path.read_bytes())] == []
