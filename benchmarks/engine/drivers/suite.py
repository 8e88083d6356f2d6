"""The whole suite before the same engine: gateway, guard, audit and queue, asked over the gateway's gRPC stream.

The guard's policy is the shipped one with the model's own system prompt, so that the model reads what it reads in every
other row.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import grpc
from strongroom.gateway.v1 import gateway_pb2 as pb
from strongroom.gateway.v1 import gateway_pb2_grpc as rpc

from benchmarks.engine.drivers.worker import worker_environment
from benchmarks.engine.driving import Answer, drive, in_closed_loop
from benchmarks.engine.workload import Ask
from benchmarks.local_stack import LocalStack, local_stack

POLICY = Path(__file__).parents[3] / "services" / "guard" / "policies" / "default.yaml"
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
ANSWER_SECONDS = 600.0

MASKED_SHARE = 0.05  # of a prompt's tokens, at most


class Callers:
    def __init__(self, stack: LocalStack) -> None:
        self._metadata = [("authorization", f"Bearer {stack.api_key}")]
        self._address = stack.gateway

    def play(self, asks: Sequence[Ask], callers: int) -> list[Answer]:
        return asyncio.run(self._play(asks, callers))

    async def _play(self, asks: Sequence[Ask], callers: int) -> list[Answer]:
        async with grpc.aio.insecure_channel(self._address) as channel:
            await channel.channel_ready()
            return await in_closed_loop(asks, callers, partial(self._asked, rpc.GatewayServiceStub(channel)))

    async def _asked(self, stub: rpc.GatewayServiceStub, ask: Ask) -> Answer:
        answer = Answer(ask.id, time.perf_counter())
        async for event in stub.StreamGenerate(_request(ask), metadata=self._metadata, timeout=ANSWER_SECONDS):
            if answer.first is None and event.WhichOneof("event") == "delta":
                answer.first = time.perf_counter()
        answer.ended, usage = time.perf_counter(), event.outcome.usage
        # The guard masks what it takes for names in these prompts: a mask has other tokens than what it covers.
        if abs(usage.input_tokens - len(ask.prompt)) > MASKED_SHARE * len(ask.prompt):
            reason = pb.FinishReason.Name(event.outcome.finish_reason)
            raise RuntimeError(
                f"request {ask.id}: read as {usage.input_tokens} tokens, not {len(ask.prompt)}; {reason}"
            )
        answer.count = usage.output_tokens
        return answer


def _request(ask: Ask) -> pb.StreamGenerateRequest:
    messages = [pb.Message(role=turn["role"], content=turn["content"]) for turn in ask.messages]
    sampling = pb.Sampling(temperature=0, max_tokens=ask.tokens)
    return pb.StreamGenerateRequest(prompt=pb.Prompt(messages=messages, sampling=sampling))


def policy(folder: Path) -> Path:
    text, changed = re.subn(
        r"(system_prompt:\n  text: )\|\n(?:    .*\n)+", rf"\1{SYSTEM}\n", POLICY.read_text(), count=1
    )
    if not changed:
        raise RuntimeError(f"{POLICY} has no system prompt where it was")
    path = folder / "policy.yaml"
    path.write_text(text)
    return path


def main() -> None:
    model, *settings = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **worker_environment(model, settings),
            "STRONGROOM_GUARD_POLICY_FILE": str(policy(Path(folder))),
        }
        with local_stack(environment=environment) as stack:
            drive(Callers(stack).play, list(stack.pids().values()))


if __name__ == "__main__":
    main()
