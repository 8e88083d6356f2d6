"""The doors of the gateway as a caller uses them: one channel or one kept-alive connection, one question."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from strongroom.gateway.v1 import gateway_pb2 as pb
from strongroom.gateway.v1 import gateway_pb2_grpc as rpc

from benchmarks.edges.contenders import chat_completion
from benchmarks.edges.load import Line
from benchmarks.local_stack import LocalStack

Ask = Callable[[], Awaitable[Any]]

QUESTION = "What is the difference between a forward contract and a futures contract?"
STREAMED_TOKENS = 64
# The echo engine says the question's words, one a step; each is one token.
SIXTY_FOUR_WORDS = " ".join(f"word{n:02d}" for n in range(STREAMED_TOKENS))


@asynccontextmanager
async def grpc_unary(stack: LocalStack) -> AsyncIterator[Ask]:
    """Generate."""
    async with grpc.aio.insecure_channel(stack.gateway) as channel:
        stub, request = rpc.GatewayServiceStub(channel), pb.GenerateRequest(prompt=_prompt(QUESTION, 16))
        metadata = [("authorization", f"Bearer {stack.api_key}")]
        yield lambda: stub.Generate(request, metadata=metadata, timeout=60)


@asynccontextmanager
async def grpc_stream(stack: LocalStack) -> AsyncIterator[Ask]:
    """StreamGenerate, read to its last message. Each answer says in how many pieces it came."""
    async with grpc.aio.insecure_channel(stack.gateway) as channel:
        stub = rpc.GatewayServiceStub(channel)
        request = pb.StreamGenerateRequest(prompt=_prompt(SIXTY_FOUR_WORDS, STREAMED_TOKENS))
        metadata = [("authorization", f"Bearer {stack.api_key}")]

        async def ask() -> int:
            pieces = 0
            async for message in stub.StreamGenerate(request, metadata=metadata, timeout=60):
                pieces += message.WhichOneof("event") == "delta"
            return pieces

        yield ask


@asynccontextmanager
async def http_unary(stack: LocalStack) -> AsyncIterator[Ask]:
    """POST /v1/chat/completions."""
    headers = {"authorization": f"Bearer {stack.api_key}"}
    async with posting(
        stack.port_base + 10, chat_completion(QUESTION, headers, max_completion_tokens=16, temperature=0)
    ) as ask:
        yield ask


@asynccontextmanager
async def posting(port: int, request: bytes) -> AsyncIterator[Ask]:
    """One request again and again, on as many kept-alive connections as there are callers at a time."""
    free: list[Line] = []

    async def ask() -> None:
        line = free.pop() if free else await Line.open(port)
        answer = await line.ask(request)
        assert answer.startswith(b"HTTP/1.1 200"), answer[:400]
        free.append(line)

    try:
        yield ask
    finally:
        for line in free:
            line.close()


def _prompt(text: str, tokens: int) -> pb.Prompt:
    sampling = pb.Sampling(temperature=0, max_tokens=tokens)
    return pb.Prompt(messages=[pb.Message(role="user", content=text)], sampling=sampling)
