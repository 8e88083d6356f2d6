"""Both halves of the queue on one Redis, without a gateway and without an engine."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from strongroom.inference.v1 import inference_pb2 as pb

from streams import keys
from streams.gateway import JobQueue
from streams.items import ItemSealer
from streams.jobs import OpenedJob, open_job
from streams.seal import QueueKeys
from streams.worker import Advance, Claim, WorkQueue


class Seat:
    """A worker without an engine: claims and publishes words when the test says so."""

    def __init__(self, queue: WorkQueue, queue_keys: QueueKeys, ticket_key: bytes) -> None:
        self.queue, self._keys, self._ticket_key = queue, queue_keys, ticket_key

    async def ready(self, count: int = 10) -> list[OpenedJob]:
        """At most so many of each bucket."""
        streams = self.queue.work
        waiting = await streams.heads(keys.CLASSES, 1)
        places = [(name, bucket) for name, buckets in waiting.items() for bucket in buckets]
        return self.opened(await streams.read(dict.fromkeys(places, count)))

    async def claim(self, job: OpenedJob) -> Claim:
        [claim] = await self.queue.claim([job])
        return claim

    def opened(self, entries: list[Any]) -> list[OpenedJob]:
        return [open_job(entry, self._keys, self._ticket_key, int(time.time() * 1000)) for entry in entries]

    def advance(self, job: OpenedJob, claim: Claim, words: list[str], *, first: int = 0, last: bool = False) -> Advance:
        """Items `first`, `first` + 1, …: one word each, its token id the item's number."""
        sealer = ItemSealer(self._keys, job.body.request_id, claim.epoch)
        deltas = [
            pb.StepDelta(token_ids=[first + n], text=word, output_tokens=first + n + 1) for n, word in enumerate(words)
        ]
        if last:
            deltas[-1].finish = pb.FINISH_STOP
        return Advance(
            request_id=job.body.request_id,
            epoch=claim.epoch,
            gateway=job.body.gateway_boot_id,
            first=first,
            items=[sealer.seal(first + n, delta) for n, delta in enumerate(deltas)],
            last=last,
        )


@pytest.fixture
def queue_keys(queue_key: bytes) -> QueueKeys:
    return QueueKeys(queue_key)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture
def seated(stack: AsyncExitStack, queue_keys: QueueKeys, ticket_key: bytes) -> Callable[..., Any]:
    async def sit(url: str, seat: str = "worker-0", boot: str = "boot-0", *, buckets: int = keys.BUCKETS) -> Seat:
        queue = WorkQueue(url, "echo", seat, boot, buckets=buckets)
        stack.push_async_callback(queue.aclose)
        await queue.work.open()
        return Seat(queue, queue_keys, ticket_key)

    return sit


@pytest.fixture
def gateway(queue_keys: QueueKeys) -> Callable[..., Any]:
    @asynccontextmanager
    async def running(url: str, boot: str = "gateway-boot", **settings: Any) -> AsyncIterator[JobQueue]:
        async with JobQueue(url, queue_keys, boot, **settings) as queue:
            yield queue

    return running
