"""What breaks: each fault strikes a running stack, and is mended on the way out."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import redis

from benchmarks.gameday.callers import flood, trickle
from benchmarks.local_stack import LocalStack
from services.guard.settings import SHIPPED_POLICY
from streams import keys

REDIS_PORT = 9
MIB = 1024 * 1024
DISK_MIB = 2_304  # of memory, when it is full
SPARE_MEMORY_MIB = 2 * DISK_MIB

Strike = Callable[[LocalStack], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """`rules`: the alerts that must come, within the seconds. What else comes is reported too."""

    name: str
    strike: Strike
    rules: tuple[str, ...]
    seconds: float = 60.0


def stopped(service: str) -> Strike:
    """SIGSTOP: the process is there, its connections too, and it does nothing."""

    @asynccontextmanager
    async def strike(stack: LocalStack) -> AsyncIterator[None]:
        pid = stack.pids()[service]
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    return strike


def killed(service: str) -> Strike:
    """kill -9; the supervisor starts another."""

    @asynccontextmanager
    async def strike(stack: LocalStack) -> AsyncIterator[None]:
        os.kill(stack.pids()[service], signal.SIGKILL)
        yield

    return strike


def working(words: int, callers: int) -> Strike:
    """Long requests, more than there are slots."""

    @asynccontextmanager
    async def strike(stack: LocalStack) -> AsyncIterator[None]:
        async with flood(stack, callers, words):
            yield

    return strike


@asynccontextmanager
async def forged(stack: LocalStack) -> AsyncIterator[None]:
    """An entry among the jobs that no gateway sealed."""
    client = redis.Redis(port=stack.port_base + REDIS_PORT)
    entry = {"id": "forged", "k": "0" * 8, "job": b"not sealed by anybody", "deadline": "99999999999999"}
    client.xadd(keys.work("echo", "interactive", 0), entry)  # type: ignore[arg-type]
    client.close()
    yield


def bad_policy(file: Path) -> Strike:
    """The policy file is spoilt, and the guard told to read it."""

    @asynccontextmanager
    async def strike(stack: LocalStack) -> AsyncIterator[None]:
        guard = stack.pids()["guard"]
        await asyncio.to_thread(file.write_text, "name: [broken\n")
        os.kill(guard, signal.SIGHUP)
        try:
            yield
        finally:
            await asyncio.to_thread(shutil.copy, SHIPPED_POLICY, file)
            os.kill(guard, signal.SIGHUP)

    return strike


def small_disk(home: Path) -> list[str]:
    """Runs a command where `home/audit` is a file system of its own in memory; needs no root where the kernel lets
    users have namespaces."""
    (home / "audit").mkdir()
    mount = f'mount -t tmpfs -o size={DISK_MIB}m tmpfs "{home}/audit" && exec "$@"'
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]


def small_disk_problem() -> str:
    """Why there can be none here; empty if there can."""
    spare = psutil.virtual_memory().available // MIB
    if spare < SPARE_MEMORY_MIB:
        return f"{spare} MiB of memory are free, and a full disk in memory wants {SPARE_MEMORY_MIB}"
    return "" if shutil.which("unshare") else "there is no unshare(1)"


@asynccontextmanager
async def filling_disk(stack: LocalStack) -> AsyncIterator[None]:
    """Fills audit's disk in three steps, under a trickle of requests: under 2 GiB, under 512 MiB, nothing."""
    ballast = Path(f"/proc/{stack.pids()['audit']}/root{stack.home}/audit/ballast")
    file = os.open(ballast, os.O_CREAT | os.O_WRONLY)

    async def fill() -> None:
        for left_mib in (1_900, 400, 0):
            disk = os.fstatvfs(file)
            more = disk.f_bavail * disk.f_frsize - left_mib * MIB
            await asyncio.to_thread(os.posix_fallocate, file, os.fstat(file).st_size, more)
            await asyncio.sleep(20)

    filled = asyncio.create_task(fill())
    try:
        async with trickle(stack, 20, 200):
            yield
    finally:
        filled.cancel()
        await asyncio.gather(filled, return_exceptions=True)
        os.ftruncate(file, 0)
        os.close(file)
