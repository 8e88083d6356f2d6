"""Callers: in a closed loop, as fast as they are answered; or paced, whatever the answers take."""

from __future__ import annotations

import asyncio
import time

from benchmarks.path.doors import Ask


async def closed(ask: Ask, callers: int, seconds: float) -> list[float]:
    """Each caller asks again as soon as it is answered. Returns the latencies in milliseconds."""
    until, latencies = time.perf_counter() + seconds, []

    async def caller() -> None:
        while (began := time.perf_counter()) < until:
            await ask()
            latencies.append((time.perf_counter() - began) * 1000)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return latencies


async def paced(ask: Ask, callers: int, per_second: float, seconds: float) -> list[float]:
    """An open loop: each caller asks at its own times, evenly apart, and is late for none because of the one before.
    Latencies count from the time at which a question was due."""
    loop, latencies = asyncio.get_running_loop(), list[float]()
    start, apart = loop.time() + 0.1, callers / per_second

    async def one(due: float) -> None:
        await asyncio.sleep(due - loop.time())
        await ask()
        latencies.append((loop.time() - due) * 1000)

    due = [start + (n + caller / callers) * apart for n in range(int(seconds / apart)) for caller in range(callers)]
    await asyncio.gather(*map(one, due))
    return latencies


def summary(latencies: list[float], seconds: float) -> dict[str, float]:
    ordered = sorted(latencies)
    return {
        "requests_per_second": len(ordered) / seconds,
        "p50_ms": ordered[len(ordered) // 2],
        "p99_ms": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
    }
