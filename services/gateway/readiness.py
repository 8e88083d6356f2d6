"""Whether the gateway takes work: only while guard, audit and queue answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from chassis.failures import Unavailable
from chassis.server import Health

CHECK_SECONDS = 0.1


class _Neighbour(Protocol):
    def require(self) -> None: ...


class _Queue(Protocol):
    @property
    def available(self) -> bool: ...


@asynccontextmanager
async def watching(health: Health, guard: _Neighbour, audit: _Neighbour, queue: _Queue) -> AsyncIterator[None]:
    """Keeps the health answer true while the context is open."""

    async def watch() -> None:
        while True:
            await health.set(_missing(guard, audit, queue))
            await asyncio.sleep(CHECK_SECONDS)

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()


def _missing(guard: _Neighbour, audit: _Neighbour, queue: _Queue) -> str:
    for neighbour in (guard, audit):
        try:
            neighbour.require()
        except Unavailable as away:
            return str(away)
    return "" if queue.available else "the queue is away"
