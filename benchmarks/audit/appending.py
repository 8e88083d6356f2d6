"""64 callers over two append streams to audit as a process, with the index that follows; and one caller alone."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strongroom.audit.v1 import audit_pb2_grpc as rpc

from benchmarks.audit.processes import child_of
from benchmarks.audit.texts import Texts
from benchmarks.backup import TimedAppending
from benchmarks.journal import Bare
from benchmarks.journal_load import Appending, Fields
from benchmarks.local_service import LocalService, local_service
from benchmarks.local_stack import cpu_seconds
from chassis.client import connect
from chassis.settings import HTTP_OFFSET

STREAMS, CALLERS = 2, 64
LONE_RECORDS, TEXTS, WORDS = 150, 512, 16
SYNCS = 400  # of the bare file
CATCH_UP_SECONDS = 600.0


def texts(seed: int) -> Callable[[], tuple[Fields, Fields]]:
    """Made beforehand, so that the callers' own work is small; two entries of about 1 KiB, sealed."""
    made = Texts(seed)
    pairs = itertools.cycle([(made.request(WORDS), made.answer(WORDS)) for _ in range(TEXTS)])
    return lambda: next(pairs)


async def measure(seconds: float, seed: int) -> dict[str, Any]:
    with local_service("audit") as service:
        async with AsyncExitStack() as opened:
            streams = [await stream(opened, service, seed + n) for n in range(STREAMS)]
            await loaded(streams, 0.5)  # warm
            lone = await _lone(opened, service, seed)
            found = await _under_load(service, streams, seconds)
    found["lone_p50_ms"] = 1000 * statistics.median(lone)
    return {**found, **floor(round(found["entries_a_group"]), round(found["bytes_an_entry"]))}


async def stream(opened: AsyncExitStack, service: LocalService, seed: int) -> Appending:
    channel = await opened.enter_async_context(connect(service.address, service.gateway_token))
    return await opened.enter_async_context(Appending(rpc.AuditServiceStub(channel), texts=texts(seed)).running())


async def _lone(opened: AsyncExitStack, service: LocalService, seed: int) -> list[float]:
    channel = await opened.enter_async_context(connect(service.address, service.gateway_token))
    caller = TimedAppending(rpc.AuditServiceStub(channel), texts=texts(seed))
    async with caller.running():
        return await caller.lone(LONE_RECORDS)


async def loaded(streams: list[Appending], seconds: float) -> int:
    """Records."""
    return sum(await asyncio.gather(*(each.load(CALLERS // len(streams), 0, seconds) for each in streams)))


async def _under_load(service: LocalService, streams: list[Appending], seconds: float) -> dict[str, Any]:
    index = child_of(service.pid)
    before, cpu, index_cpu = service.counters("strongroom_audit_"), service.cpu_seconds(), cpu_seconds(index)
    behind = gauge(service, "strongroom_audit_index_lag_entries")
    began = time.perf_counter()
    await loaded(streams, seconds)
    wall, cpu = time.perf_counter() - began, service.cpu_seconds() - cpu
    after, lag = service.counters("strongroom_audit_"), gauge(service, "strongroom_audit_index_lag_entries")
    age = gauge(service, "strongroom_audit_index_lag_seconds")
    entries = after["entries"] - before["entries"]
    caught = await caught_up(service, lag)
    indexed = entries + behind  # what was before the load is indexed with it
    return {
        "entries": entries,
        "entries_a_second": entries / wall,
        "cpu_ms_an_entry": cpu * 1000 / entries,
        "entries_a_group": entries / (after["commit_groups"] - before["commit_groups"]),
        "bytes_an_entry": (after["journal_bytes"] - before["journal_bytes"]) / entries,
        "index_lag_entries": lag,
        "index_lag_seconds": age,
        "index_catch_up_seconds": caught,
        "index_catch_up_entries_a_second": lag / caught if caught else 0.0,
        "index_cpu_ms_an_entry": (cpu_seconds(index) - index_cpu) * 1000 / indexed,
    }


async def caught_up(service: LocalService, lag: float) -> float:
    """Seconds until nothing is lacking."""
    began = time.perf_counter()
    while lag and time.perf_counter() < began + CATCH_UP_SECONDS:
        await asyncio.sleep(0.2)
        lag = gauge(service, "strongroom_audit_index_lag_entries")
    return time.perf_counter() - began


def gauge(service: LocalService, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port + HTTP_OFFSET}/metrics", timeout=30) as reply:
        lines = reply.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


@dataclass
class _Floor:
    bare: Bare
    size: int

    def p50(self) -> float:
        times = []
        for _ in range(SYNCS):
            began = time.perf_counter()
            self.bare.append(self.size)
            times.append(time.perf_counter() - began)
        return statistics.median(times)


def floor(group: int, size: int) -> dict[str, float]:
    """One thread, one write and fdatasync a group, the same bytes; and of one entry alone."""
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as folder:
        bare = Bare(Path(folder) / "bare")
        try:
            grouped, single = _Floor(bare, group * size).p50(), _Floor(bare, size).p50()
        finally:
            bare.close()
    return {"floor_entries_a_second": group / grouped, "floor_sync_p50_ms": 1000 * single}
