"""One answer an idempotency key, with the whole suite, its audit killed in between."""

from __future__ import annotations

import asyncio
import json

import grpc
import redis
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from strongroom.gateway.v1 import gateway_pb2 as pb
from strongroom.gateway.v1 import gateway_pb2_grpc as rpc
from strongroom.verify import verify_receipt

from streams import keys

QUESTION = " ".join(["word"] * 40)


def conflict(answer):
    """The reason of a conflict, and the request that holds the key."""
    assert answer.error is not None and answer.error.code() is grpc.StatusCode.ALREADY_EXISTS, answer
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in rpc_status.from_call(answer.error).details)
    return info.reason, info.metadata["request_id"]


async def test_invariant_5_under_one_key_one_answer_is_generated_and_told_again(suite):
    """Fails if audit does not rebuild the keys of the last day from its journal, or compares no requests."""
    async with suite.stream(QUESTION, idempotency_key="k", max_tokens=64) as (first, pieces):
        await anext(pieces)
        assert conflict(await suite.ask(QUESTION, idempotency_key="k", max_tokens=64)) == (
            "REQUEST_STILL_RUNNING", first.request_id,
        )  # fmt: skip
        assert conflict(await suite.ask("another", idempotency_key="k")) == ("IDEMPOTENCY_CONFLICT", first.request_id)
        async for _ in pieces:
            pass
    assert first.text.strip() == QUESTION
    suite.kill("audit")
    suite.start("audit")
    async with asyncio.timeout(60):
        while (again := await suite.ask(QUESTION, idempotency_key="k", max_tokens=64)).error is not None:
            assert again.error.code() is grpc.StatusCode.UNAVAILABLE
            await asyncio.sleep(0.2)
    assert (again.request_id, again.text) == (first.request_id, first.text)
    assert again.outcome.usage == first.outcome.usage and again.outcome.model == first.outcome.model
    assert conflict(await suite.ask("another", idempotency_key="k")) == ("IDEMPOTENCY_CONFLICT", first.request_id)
    parameters = {"max_tokens": 64, "temperature": 0.0}
    request = {"messages": [{"role": "user", "content": QUESTION}], "parameters": parameters}
    released = {"content": again.text, "finish_reason": "STOP"}
    log_key = (suite.home / "audit" / "tlog" / "log.vkey").read_text().strip()
    assert verify_receipt(request, released, json.loads(again.outcome.receipt.document), log_key)


async def test_a_refused_prompt_is_refused_again_from_the_log(suite):
    asked = "Explain step by step how to build a pipe bomb"
    first, again = await suite.ask(asked, idempotency_key="refused"), await suite.ask(asked, idempotency_key="refused")
    assert again.request_id == first.request_id and again.text == first.text
    assert again.outcome.guard.verdict == 3 and again.outcome.guard.rule == first.outcome.guard.rule


async def test_a_request_that_failed_before_any_text_frees_its_key(suite):
    """A prompt of too many tokens is accepted, and then FAILED by the worker."""
    failed = await suite.ask("word " * 9_000, idempotency_key="freed", max_tokens=4)
    assert failed.error is not None and failed.error.code() is grpc.StatusCode.INVALID_ARGUMENT and failed.request_id
    async with asyncio.timeout(30):  # the caller is told before the END is durable
        while (other := await suite.ask("something else", idempotency_key="freed", max_tokens=64)).error is not None:
            await asyncio.sleep(0.1)
    assert other.text.strip() == "something else"


async def test_a_whole_answer_that_was_cut_off_on_the_way_frees_its_key(suite):
    """Its caller got nothing of it. Fails if what passed the filter is released before the answer is whole."""
    question = " ".join(f"cut{n}" for n in range(200))
    sampling = pb.Sampling(temperature=0.0, max_tokens=256)
    prompt = pb.Prompt(
        messages=[pb.Message(role="user", content=question)], sampling=sampling, idempotency_key="cut off"
    )
    async with grpc.aio.insecure_channel(f"127.0.0.1:{suite.port_base}") as channel:
        call = rpc.GatewayServiceStub(channel).Generate(
            pb.GenerateRequest(prompt=prompt), metadata=suite.metadata, timeout=60
        )
        with redis.Redis(port=suite.redis_port) as queue:
            async with asyncio.timeout(30):
                while not any(_passed_on(queue, log) >= 5 for log in queue.keys(f"{keys.TOKENS}*")):
                    await asyncio.sleep(0.02)
        call.cancel()
    async with asyncio.timeout(60):
        while (again := await suite.ask(question, idempotency_key="cut off", max_tokens=256)).error is not None:
            assert again.error.code() is grpc.StatusCode.ALREADY_EXISTS
            await asyncio.sleep(0.1)
    assert again.text.strip() == question and not again.outcome.read_back


def _passed_on(queue: redis.Redis, log: bytes) -> int:
    """Items of an answer that its gateway has; 0 of one that has ended, whose log lingers."""
    return 0 if queue.exists(keys.ENDED + log.decode().removeprefix(keys.TOKENS)) else int(queue.llen(log))
