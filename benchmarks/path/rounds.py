"""Rounds of one kind of load against a stack, with what they cost its processes and its journal."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from benchmarks.local_service import counters
from benchmarks.local_stack import LocalStack
from benchmarks.path.doors import Ask
from benchmarks.path.floors import Syncing
from benchmarks.path.loops import closed, paced, summary
from chassis.settings import HTTP_OFFSET, PORT_OFFSETS

Door = Callable[[LocalStack], AbstractAsyncContextManager[Ask]]

WARM_SECONDS = 0.5


async def closed_round(stack: LocalStack, door: Door, callers: int, seconds: float) -> dict[str, Any]:
    """As many requests as the callers get answered."""
    async with door(stack) as ask:
        await closed(ask, callers, WARM_SECONDS)
        cost = Cost(stack)
        latencies = await closed(ask, callers, seconds)
        return {**summary(latencies, seconds), **cost.of(len(latencies))}


async def paced_round(stack: LocalStack, door: Door, callers: int, per_second: float, seconds: float) -> dict[str, Any]:
    """So many requests a second, and meanwhile now and again an fdatasync of as many bytes as a journal group has."""
    async with door(stack) as ask:
        await paced(ask, callers, per_second, 1.0)
        cost = Cost(stack)
        size = int(cost.bytes_a_group() or 1024)
        with Syncing(stack.home, size) as syncing:
            latencies = await paced(ask, callers, per_second, seconds)
        told = {**summary(latencies, seconds), **cost.of(len(latencies))}
    return {**told, "fdatasync_bytes": size, "fdatasync_p50_ms": syncing.p50}


class Cost:
    """What a stack has spent since this was made, a request."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack, self._cpu, self._journal = stack, stack.cpu_seconds(), journal_counters(stack)

    def of(self, requests: int) -> dict[str, Any]:
        cpu, journal = self._stack.cpu_seconds(), journal_counters(self._stack)
        by_process = {name: (cpu[name] - self._cpu[name]) * 1000 / requests for name in cpu}
        return {
            "cpu_ms": sum(by_process.values()),
            "cpu_ms_by_process": by_process,
            "per_request": {name: (journal[name] - self._journal[name]) / requests for name in journal},
        }

    def bytes_a_group(self) -> float:
        return self._journal["journal_bytes"] / max(self._journal["commit_groups"], 1)


def journal_counters(stack: LocalStack) -> Counter[str]:
    """Entries, commit groups and fsyncs since audit's start, from its /metrics."""
    return counters(stack.port_base + PORT_OFFSETS["audit"] + HTTP_OFFSET, "strongroom_audit_")


def medians(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure over the rounds."""
    first = rounds[0]
    return {
        name: medians([one[name] for one in rounds])
        if isinstance(first[name], dict)
        else statistics.median(one[name] for one in rounds)
        for name in first
    }
