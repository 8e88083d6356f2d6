"""Requests in the background, so many at once or so many a second."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from strongroom.gateway.v1 import gateway_pb2 as pb
from strongroom.gateway.v1 import gateway_pb2_grpc as rpc

from benchmarks.local_stack import LocalStack

DEADLINE_SECONDS = 300.0


@asynccontextmanager
async def flood(stack: LocalStack, count: int, words: int) -> AsyncIterator[Counter[str]]:
    """So many long requests at once; who is refused does not come again. Ends them all on the way out."""
    async with _asking(stack) as (ask, seen):
        tasks = [asyncio.create_task(ask(words)) for _ in range(count)]
        yield seen
        await _end(tasks)


@asynccontextmanager
async def trickle(stack: LocalStack, a_second: float, words: int) -> AsyncIterator[Counter[str]]:
    """So many a second, whatever becomes of the others."""
    tasks: list[asyncio.Task[None]] = []

    async def go_on() -> None:
        while a_second:
            tasks.append(asyncio.create_task(ask(words)))
            await asyncio.sleep(1 / a_second)

    async with _asking(stack) as (ask, seen):
        going = asyncio.create_task(go_on())
        yield seen
        await _end([going, *tasks])


@asynccontextmanager
async def _asking(stack: LocalStack) -> AsyncIterator[tuple[_Ask, Counter[str]]]:
    seen: Counter[str] = Counter()
    async with grpc.aio.insecure_channel(stack.gateway) as channel:
        yield _Ask(rpc.GatewayServiceStub(channel), stack.api_key, seen), seen


class _Ask:
    """One question of so many words; the echo engine answers with as many, one a step."""

    def __init__(self, gateway: rpc.GatewayServiceStub, key: str, seen: Counter[str]) -> None:
        self._gateway, self._key, self._seen = gateway, [("authorization", f"Bearer {key}")], seen

    async def __call__(self, words: int) -> None:
        question = " ".join(f"word{n}" for n in range(words))
        prompt = pb.Prompt(
            messages=[pb.Message(role="user", content=question)],
            sampling=pb.Sampling(max_tokens=words),
            priority=pb.PRIORITY_INTERACTIVE,
        )
        request = pb.StreamGenerateRequest(prompt=prompt)
        try:
            async for _ in self._gateway.StreamGenerate(request, metadata=self._key, timeout=DEADLINE_SECONDS):
                pass
            self._seen["OK"] += 1
        except grpc.aio.AioRpcError as error:
            self._seen[error.code().name] += 1


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
