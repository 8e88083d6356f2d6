"""Where each service works: share of samples that hold the interpreter lock, by package."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from pathlib import Path

from benchmarks.local_stack import LocalStack
from benchmarks.path.doors import grpc_unary
from benchmarks.path.loops import closed

PROFILED = ("gateway", "audit", "guard", "inference")
CALLERS = 64


def profile(stack: LocalStack, seconds: float) -> dict[str, list[tuple[str, float]]]:
    shares = {}
    for service in PROFILED:
        output = stack.home / f"{service}.profile"
        pid = next(pid for name, pid in stack.pids().items() if name.startswith(service))
        options = ["-d", str(int(seconds)), "-r", "200", "-f", "raw", "--gil", "-o", str(output), "-p", str(pid)]
        spy = subprocess.Popen(
            [str(Path(sys.executable).parent / "py-spy"), "record", *options],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        asyncio.run(_load(stack, seconds + 1))
        spy.wait(30)
        shares[service] = _by_package(output.read_text()) if output.exists() else []
    return shares


async def _load(stack: LocalStack, seconds: float) -> None:
    async with grpc_unary(stack) as ask:
        await closed(ask, CALLERS, seconds)


def _by_package(raw: str) -> list[tuple[str, float]]:
    counts: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, samples = line.rpartition(" ")
        counts[_package(stack.split(";"))] += int(samples)
    total = sum(counts.values()) or 1
    return [(name, count / total) for name, count in counts.most_common(12)]


def _package(frames: list[str]) -> str:
    """Whose code the innermost Python frame is; native code counts to whoever called it."""
    place = frames[-1].partition("(")[2].rpartition(":")[0]
    parts = place.split("/")
    if parts[0] in ("services", "streams", "chassis"):
        return "/".join(parts[:2])
    return parts[0].removesuffix(".py") or "interpreter"
